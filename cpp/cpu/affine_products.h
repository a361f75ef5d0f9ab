// The three products of an affine layer by gemm, for operands in any form (see gemm/terms.h): which epilogue they take.
#pragma once

#include "cpu/affine_epilogues.h"
#include "cpu/long_products.h"

namespace fastmlp::FASTMLP_ISA_NS {

// How many blocks of rows a weight's gradient is summed in. One up to kMostDepth rows: storing and loading partial sums of
// all of dW costs more than a sliver that leaves L1.
template <class T>
FASTMLP_INLINE Index weight_blocks(Index M) {
  return ceil_div(M, Blocking<T>::kMostDepth);
}

template <class Form, class T>
void forward_product(const AffineForward<T>& a, const Context& context) {
  const Gemm<T, Form> product{
      a.M, a.N, a.K, {a.x, a.ldx, 1}, {a.weight, a.N, 1}, a.y, a.ldy, {forward_epilogue<T>, &a}, {a.bias}};
  const Index blocks = k_blocks<T>(a.K);
  switch (a.activation.kind) {
    case ActivationKind::Identity:
      return gemm(product, context, blocks, Forward<T, ops::Identity>{a});
    case ActivationKind::ReLU:
      return gemm(product, context, blocks, Forward<T, ops::ReLU>{a});
    default:
      gemm(product, context, blocks);
  }
}

template <class Form, class T>
void backward_input_product(const AffineBackwardInput<T>& a, const Context& context) {
  const Gemm<T, Form> product{
      a.M, a.K, a.N, {a.dz, a.lddz, 1}, {a.weight, 1, a.N}, a.dx, a.lddx, {backward_input_epilogue<T>, &a}};
  const Index blocks = k_blocks<T>(a.N);
  if (!a.saved) return gemm(product, context, blocks, Store<T>{a.dx, a.lddx});
  if (a.activation.kind == ActivationKind::ReLU) return gemm(product, context, blocks, BackwardInput<T, ops::ReLU>{a});
  gemm(product, context, blocks);
}

// dW alone.
template <class Form, class T>
void backward_weight_product(const AffineBackwardWeight<T>& a, const Context& context) {
  if (a.M > LongProduct<T>::kShortest) return long_weight_gradient<T, Form>(a, context);
  // Blocks of rows are summed in the gradient itself, so that the product, not the epilogue, has to add to what is there.
  AffineBackwardWeight<T> overwriting = a;
  overwriting.weight.accumulate = false;
  const Gemm<T, Form> product{a.K,
                              a.N,
                              a.M,
                              {a.x, 1, a.ldx},
                              {a.dz, a.lddz, 1},
                              a.weight.grad,
                              a.N,
                              {weight_epilogue<T>, &overwriting, weight_prefetch<T>},
                              {},
                              a.weight.accumulate,
                              true};
  const Index blocks = weight_blocks<T>(a.M);
  const Update* const update = a.weight.update;
  if (!update) return gemm(product, context, blocks, Store<T>{a.weight.grad, a.N});
  // Short sums end before the divider has done its part.
  constexpr Index kShort = 48;
  if (!update->constants.plain()) return gemm(product, context, blocks);
  if (update->kind == UpdateKind::SGD) return gemm(product, context, blocks, ApplySGD<T>(a));
  if (a.M < kShort) return gemm(product, context, blocks);
  const auto later = [&](auto rule) {
    using Body = ApplyRule<T, decltype(rule)>;
    gemm(product, context, blocks, DeferredEpilogue<T, Body>{Body(a), nullptr});
  };
  switch (update->kind) {
    case UpdateKind::SGDMomentum:
      return later(ops::SGDMomentum{});
    case UpdateKind::Adam:
      return later(ops::Adam{});
    case UpdateKind::RMSprop:
      return later(ops::RMSprop{});
    default:  // the others follow each tile, while it is in L1
      return gemm(product, context, blocks);
  }
}

}  // namespace fastmlp::FASTMLP_ISA_NS
