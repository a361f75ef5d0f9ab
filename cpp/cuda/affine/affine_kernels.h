// Products of tiles and of few rows, started as a plan of affine_strategy.h says.
#pragma once

#include <type_traits>

#include "cuda/affine/affine_strategy.h"
#include "cuda/affine/few_rows.h"
#include "cuda/affine/gemm.h"

namespace fastmlp::cuda {

// A B, the rows and columns of the result being the operands' extents.
template <class T, Along kA, Along kB, class Epilogue>
struct Product {
  Operand<T> a, b;
  Index depth;
  Epilogue epilogue;
  int column_blocks = 0;  // blocks beside those of the tiles
  bool wanted = true;     // whether the tiles are
};

template <class T>
auto product_of(const AffineForward<T>& a) {
  using Epilogue = ForwardEpilogue<T>;
  return Product<T, Along::Sum, Along::Result, Epilogue>{{a.x, a.ldx, a.M}, {a.weight, a.N, a.N}, a.K, Epilogue(a)};
}
template <class T>
auto product_of(const AffineBackwardInput<T>& a) {
  using Epilogue = BackwardInputEpilogue<T>;
  return Product<T, Along::Sum, Along::Sum, Epilogue>{{a.dz, a.lddz, a.M}, {a.weight, a.N, a.K}, a.N, Epilogue(a)};
}
template <class T>
auto product_of(const AffineBackwardWeight<T>& a, const Context& context) {
  using Epilogue = BackwardWeightEpilogue<T>;
  const Epilogue epilogue(a, context);
  return Product<T, Along::Result, Along::Result, Epilogue>{
      {a.x, a.ldx, a.K}, {a.dz, a.lddz, a.N}, a.M, epilogue, epilogue.column_sums.blocks, a.weight.wanted()};
}

template <class Format, class Shape, class T, Along kA, Along kB, class Epilogue>
void launch_tiles(const Product<T, kA, kB, Epilogue>& product, const TilePlan& plan, const Context& context) {
  using Kernel = Gemm<T, Format, Shape, kA, kB, Epilogue>;
  const int blocks = product.column_blocks + (product.wanted ? plan.tiles * plan.parts : 0);
  launch<Kernel>({blocks, 1, 1}, Kernel::kSharedBytes,
                 {product.a, product.b, static_cast<int>(product.depth), plan.tiles_across, plan.parts,
                  static_cast<int>(plan.part), context.scratch, product.epilogue},
                 context.stream);
}

template <class Format, class T, Along kA, Along kB, class Epilogue>
void multiply_tiles(const Product<T, kA, kB, Epilogue>& product, const TilePlan& plan, const Context& context) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (plan.tile == TileKind::Large) return launch_tiles<Format, LargeTile>(product, plan, context);
  }
  if (plan.tile == TileKind::Medium) return launch_tiles<Format, MediumTile>(product, plan, context);
  launch_tiles<Format, SmallTile>(product, plan, context);
}

// In the context's precision.
template <class T, Along kA, Along kB, class Epilogue>
void multiply(const Product<T, kA, kB, Epilogue>& product, const TilePlan& plan, const Context& context) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (context.precision == Precision::TF32) return multiply_tiles<TF32>(product, plan, context);
    if (context.precision == Precision::BF16) return multiply_tiles<BF16>(product, plan, context);
    if (context.precision == Precision::Float32x3) return multiply_tiles<SplitFloat>(product, plan, context);
  }
  multiply_tiles<void>(product, plan, context);
}

template <int kM, int kV, class T>
void launch_few_rows(const AffineForward<T>& a, const Context& context) {
  using Kernel = FewRows<T, kM, kV>;
  const FewRowsPlan plan = plan_few_rows(a.N, a.K, kV, Kernel::kThreads, Kernel::kBatch,
                                         Kernel::kOutputs * static_cast<int>(sizeof(T)), multiprocessors());
  launch<Kernel>(
      {plan.blocks_across * plan.parts, 1, 1}, Kernel::kSharedBytes,
      {a.M, a.N, a.K, a.x, a.ldx, a.weight, plan.across, plan.parts, plan.part, context.scratch, ForwardEpilogue<T>(a)},
      context.stream);
}

template <int kV, class T>
void multiply_few_rows(const AffineForward<T>& a, const Context& context) {
  if (a.M == 1) return launch_few_rows<1, kV>(a, context);
  if (a.M <= 4) return launch_few_rows<4, kV>(a, context);
  launch_few_rows<kFewRows, kV>(a, context);
}

}  // namespace fastmlp::cuda
