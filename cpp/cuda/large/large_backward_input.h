// dx = (dz W^T) act'(saved): dz is row-major as A, and W^T is column-major as B. C is `saved`. A variant gives the column
// sums of dx, too, for the bias gradient of the layer below: beside dx's copy.
#pragma once

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

#include "cuda/large/large_operands.h"
#include "cuda/large/large_product.h"

namespace fastmlp::cuda::large {

using SummedUp = fusion::Sm90EVT<SumColumns, Differentiate>;

template <class Result>
using InputGradient =
    Product<RowMajor, ColumnMajor, Cooperative, float, fusion::Sm90EVT<Store<Cooperative, float, Half>, Result>>;

template <bool kSums>
bool backward_input(const AffineBackwardInput<float>& a, const Context& context) {
  using Product = InputGradient<std::conditional_t<kSums, SummedUp, Differentiate>>;
  if (!suits(a.M, a.N, a.K, context) || !aligned({a.dz, a.weight, a.saved, a.dx}, {a.lddz, a.lddx})) return false;
  const Moment now = moment(context);
  Table table;
  const Matrix dz_matrix{a.dz, a.M, a.N, a.lddz}, w_matrix{a.weight, a.K, a.N, a.N}, dx_matrix{a.dx, a.M, a.K, a.lddx};
  Copy* const dz = table.operand(dz_matrix, context);
  Copy* const w = table.operand(w_matrix, context);
  if (!dz || !w) return false;
  const bool dz_fresh = dz->fresh(now);
  if (!dz_fresh) convert(dz_matrix, *dz, context);
  if (!w->kept(now)) convert(w_matrix, *w, context);
  Copy* const dx = now.recording ? table.find(dx_matrix) : nullptr;

  auto arguments = Product::arguments(a.M, a.K, a.N);
  Product::operands(arguments, dz->memory, a.N, w->memory, a.N);
  // Without `saved`, C is not read, but must be an address.
  Product::results(arguments, a.saved ? a.saved : a.dx, a.saved ? a.K : a.lddx, a.dx, a.lddx);
  auto& store = arguments.epilogue.thread;  // op_0: its child; op_1: itself
  const ActivationArguments activation(a.saved ? a.activation : Activation{});
  if constexpr (kSums) {
    store.op_0.op_0 = activation;
    store.op_0.op_1 = {dx ? column_sums(dx_matrix, *dx) : nullptr, a.K};
  } else {
    store.op_0 = activation;
  }
  store.op_1.ptr_aux = dx ? static_cast<Half*>(dx->memory) : nullptr;
  cute::get<0>(store.op_1.dAux) = a.K;
  if (!Product::run(arguments, context.stream)) return false;

  if (!dz_fresh) dz->made(now);
  w->keep(now);
  if (dx) dx->made(now, kSums);
  return true;
}

bool backward_input_with_sums(const AffineBackwardInput<float>&, const Context&);

}  // namespace fastmlp::cuda::large

#endif
