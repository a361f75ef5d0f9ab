#include "cuda/large/large.h"
#include "cuda/large/large_operands.h"
#include "cuda/large/large_product.h"

namespace fastmlp::cuda {

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

namespace {

// dx = (dz W^T) act'(saved): dz is row-major as A, and W^T is column-major as B. C is `saved`.
using Schedule = large::Cooperative;
using Visitor = large::fusion::Sm90EVT<large::Store<Schedule, float, large::Half>, large::Differentiate>;
using Product = large::Product<large::RowMajor, large::ColumnMajor, Schedule, float, Visitor>;

}  // namespace

bool large_backward_input(const AffineBackwardInput<float>& a, const Context& context) {
  if (!large::suits(a.M, a.N, a.K, context) || !large::aligned({a.dz, a.weight, a.saved, a.dx}, {a.lddz, a.lddx}))
    return false;
  const Moment now = large::moment(context);
  large::Table table;
  const Matrix dz_matrix{a.dz, a.M, a.N, a.lddz}, w_matrix{a.weight, a.K, a.N, a.N};
  Copy* const dz = table.operand(dz_matrix, context);
  Copy* const w = table.operand(w_matrix, context);
  if (!dz || !w) return false;
  const bool dz_fresh = dz->fresh(now);
  if (!dz_fresh) large::convert(dz_matrix, *dz, context);
  if (!w->kept(now)) large::convert(w_matrix, *w, context);
  Copy* const dx = now.recording ? table.find({a.dx, a.M, a.K, a.lddx}) : nullptr;

  auto arguments = Product::arguments(a.M, a.K, a.N);
  Product::operands(arguments, dz->memory, a.N, w->memory, a.N);
  // Without `saved`, C is not read, but must be an address.
  Product::results(arguments, a.saved ? a.saved : a.dx, a.saved ? a.K : a.lddx, a.dx, a.lddx);
  auto& store = arguments.epilogue.thread;  // op_0: its child; op_1: itself
  store.op_0 = large::ActivationArguments(a.saved ? a.activation : Activation{});
  store.op_1.ptr_aux = dx ? static_cast<large::Half*>(dx->memory) : nullptr;
  cute::get<0>(store.op_1.dAux) = a.K;
  if (!Product::run(arguments, context.stream)) return false;

  if (!dz_fresh) dz->made(now);
  w->keep(now);
  if (dx) dx->made(now);
  return true;
}

#else

bool large_backward_input(const AffineBackwardInput<float>&, const Context&) { return false; }

#endif

}  // namespace fastmlp::cuda
