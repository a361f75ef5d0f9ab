// The three products of an affine layer by gemm, of operands as they are or, given `bf16`, rounded: which epilogue they take.
#pragma once

#include "cpu/long_products.h"

namespace fastmlp::FASTMLP_ISA_NS {

// How many blocks of rows a weight's gradient is summed in. One up to kMostDepth rows: storing and loading partial sums of
// all of dW costs more than a sliver that leaves L1.
template <class T>
FASTMLP_INLINE Index weight_blocks(Index M) {
  return ceil_div(M, Blocking<T>::kMostDepth);
}

template <class T>
void forward_product(const AffineForward<T>& a, const Context& context, const Bf16Instructions* bf16 = nullptr) {
  Gemm<T> product{a.M, a.N, a.K, {a.x, a.ldx, 1}, {a.weight, a.N, 1}, a.y, a.ldy, {forward_epilogue<T>, &a}, {a.bias}};
  product.bf16 = bf16;
  product.slivers = bf16 ? nullptr : a.weight_slivers;  // which are values
  if (a.activation.kind == ActivationKind::Identity && !a.z) product.fused = Fused::Store;
  if (a.activation.kind == ActivationKind::ReLU) product.fused = Fused::ReLU;
  gemm(product, context, k_blocks<T>(a.K));
}

template <class T>
void backward_input_product(const AffineBackwardInput<T>& a, const Context& context,
                            const Bf16Instructions* bf16 = nullptr) {
  Gemm<T> product{a.M, a.K, a.N, {a.dz, a.lddz, 1}, {a.weight, 1, a.N}, a.dx, a.lddx, {backward_input_epilogue<T>, &a}};
  product.bf16 = bf16;
  if (!a.saved) product.fused = Fused::Store;
  if (a.saved && a.activation.kind == ActivationKind::ReLU) product.fused = Fused::ReLUDerivative;
  gemm(product, context, k_blocks<T>(a.N));
}

// What a weight's tiles do in registers. The other rules, and steps that are not plain, follow each tile while it is in L1.
template <class T>
Fused fused_update(const AffineBackwardWeight<T>& a) {
  const Update* const update = a.weight.update;
  if (!update) return Fused::Store;
  if (!update->constants.plain()) return Fused::None;
  if (update->kind == UpdateKind::SGD) return Fused::SGD;
  // With AVX2, whose registers a tile's sums fill, the work on the tile before costs short sums more than it hides, unless
  // weights and states come from afar: then it pays that they are asked for row by row.
  const bool afar = a.N * a.K > 2 * processor::caches().l2 / Index{sizeof(T)};
  if (a.M < 96 && !afar && !Blocking<T>::kManyRegisters) return Fused::None;
  if (update->kind == UpdateKind::SGDMomentum) return Fused::SGDMomentum;
  return update->kind == UpdateKind::Adam ? Fused::Adam : Fused::None;
}

// dW alone.
template <class T>
void backward_weight_product(const AffineBackwardWeight<T>& a, const Context& context,
                             const Bf16Instructions* bf16 = nullptr) {
  if (a.M > LongProduct<T>::kShortest) return long_weight_gradient<T>(a, context, bf16);
  // Blocks of rows are summed in the gradient itself, so that the product, not the epilogue, has to add to what is there.
  AffineBackwardWeight<T> overwriting = a;
  overwriting.weight.accumulate = false;
  const Gemm<T> product{a.K,
                        a.N,
                        a.M,
                        {a.x, 1, a.ldx},
                        {a.dz, a.lddz, 1},
                        a.weight.grad,
                        a.N,
                        {weight_epilogue<T>, &overwriting, weight_prefetch<T>},
                        {},
                        fused_update(a),
                        a.weight.accumulate,
                        true,
                        bf16};
  gemm(product, context, weight_blocks<T>(a.M));
}

}  // namespace fastmlp::FASTMLP_ISA_NS
