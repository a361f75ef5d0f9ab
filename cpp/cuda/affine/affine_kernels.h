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
  BatchRows a_rows;  // of a
};

template <class T>
auto product_of(const AffineForward<T>& a, const Context& context) {
  using Epilogue = ForwardEpilogue<T>;
  return Product<T, Along::Sum, Along::Result, Epilogue>{
      {a.x, a.ldx, a.M}, {a.weight, a.N, a.N}, a.K, Epilogue(a), BatchRows(a.x_chosen, a.x_ids, a.M, context)};
}
template <class T>
auto product_of(const AffineBackwardInput<T>& a, const Context&) {
  using Epilogue = BackwardInputEpilogue<T>;
  return Product<T, Along::Sum, Along::Sum, Epilogue>{{a.dz, a.lddz, a.M}, {a.weight, a.N, a.K}, a.N, Epilogue(a), {}};
}
template <class T>
auto product_of(const AffineBackwardWeight<T>& a, const Context& context) {
  using Epilogue = BackwardWeightEpilogue<T>;
  return Product<T, Along::Result, Along::Result, Epilogue>{
      {a.x, a.ldx, a.K}, {a.dz, a.lddz, a.N}, a.M, Epilogue(a, context), BatchRows(a.x_chosen, a.x_ids, a.M, context)};
}

// The kernel's arguments; `shared` has counters and memory for the plan's parts.
template <class Kernel, class T, Along kA, Along kB, class Epilogue>
typename Kernel::Params params_of(const Product<T, kA, kB, Epilogue>& product, const TilePlan& plan,
                                  const SharedSums& shared) {
  return {product.a,
          product.b,
          product.a_rows,
          static_cast<int>(product.depth),
          plan.tiles_across,
          plan.parts,
          static_cast<int>(plan.part),
          shared,
          product.epilogue};
}

template <class Format, class Size, class T, Along kA, Along kB, class Epilogue>
void launch_tiles(const Product<T, kA, kB, Epilogue>& product, const TilePlan& plan, const Context& context) {
  using Kernel = Gemm<T, Format, Size, kA, kB, Epilogue>;
  static_assert(Kernel::kSharedBytes <= Size::kSharedBytes);
  launch<Kernel>({plan.tiles * plan.parts, 1, 1}, Kernel::kSharedBytes,
                 params_of<Kernel>(product, plan, SharedSums(context.scratch)), context.stream);
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

template <class T, int kM, int kV>
FewRowsPlan plan_few_rows(Index columns, Index depth) {
  using Kernel = FewRows<T, kM, kV>;
  return plan_few_rows(columns, depth, kV, Kernel::kThreads, Kernel::kBatch,
                       Kernel::kOutputs * static_cast<int>(sizeof(T)), multiprocessors());
}

template <int kM, int kV, class T>
typename FewRows<T, kM, kV>::Params few_rows_params(const AffineForward<T>& a, const FewRowsPlan& plan,
                                                    const Context& context) {
  return {a.M,
          a.N,
          a.K,
          a.x,
          a.ldx,
          a.weight,
          plan.across,
          plan.parts,
          plan.part,
          SharedSums(context.scratch),
          ForwardEpilogue<T>(a)};
}

template <int kM, int kV, class T>
void launch_few_rows(const AffineForward<T>& a, const Context& context) {
  using Kernel = FewRows<T, kM, kV>;
  const FewRowsPlan plan = plan_few_rows<T, kM, kV>(a.N, a.K);
  launch<Kernel>({plan.blocks_across * plan.parts, 1, 1}, Kernel::kSharedBytes,
                 few_rows_params<kM, kV>(a, plan, context), context.stream);
}

template <int kV, class T>
void multiply_few_rows(const AffineForward<T>& a, const Context& context) {
  if (a.M == 1) return launch_few_rows<1, kV>(a, context);
  if (a.M <= 4) return launch_few_rows<4, kV>(a, context);
  launch_few_rows<kFewRows, kV>(a, context);
}

template <int kV, class T>
void sum_columns(const AffineBackwardWeight<T>& a, const Context& context) {
  using Kernel = ColumnSums<T, kV>;
  const ColumnSumsPlan plan = plan_column_sums(a.M, a.N, kV, Kernel::kMostAcross, Kernel::kThreads, Kernel::kBatch,
                                               sizeof(T), multiprocessors());
  launch<Kernel>({plan.strips * plan.parts, 1, 1}, Kernel::kSharedBytes,
                 {a.M, a.N, a.lddz, a.dz, plan.across, plan.parts, plan.part, SharedSums(context.scratch),
                  Sink<T>(a.bias, 1), Step(context)},
                 context.stream);
}

// db alone.
template <class T>
void sum_columns(const AffineBackwardWeight<T>& a, const Context& context) {
  constexpr int kLanes = Vector<T>::kLanes;
  if (takes_vectors(a.dz, a.lddz) && a.N % kLanes == 0) return sum_columns<kLanes>(a, context);
  sum_columns<1>(a, context);
}

}  // namespace fastmlp::cuda
