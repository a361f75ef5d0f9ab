#include "cuda/large/large.h"
#include "cuda/large/large_operands.h"
#include "cuda/large/large_product.h"

namespace fastmlp::cuda {

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

namespace {

// y = act(z), z = x W + b: x is row-major as A, and W as B. The tree, from its root: store y in bfloat16; activate;
// store z; add the bias, a row, to the product.
using Schedule = large::Cooperative;
template <class Element>
using Store = large::Store<Schedule, void, Element>;
using WithBias = large::fusion::Sm90EVT<
    large::fusion::Sm90Compute<cutlass::plus, float, float, cutlass::FloatRoundStyle::round_to_nearest>,
    large::fusion::Sm90AccFetch, large::fusion::Sm90RowBroadcast<0, large::Tile, float>>;
using Visitor =
    large::fusion::Sm90EVT<Store<large::Half>,
                           large::fusion::Sm90EVT<large::Activate, large::fusion::Sm90EVT<Store<float>, WithBias>>>;
using Product = large::Product<large::RowMajor, large::RowMajor, Schedule, void, Visitor>;

}  // namespace

bool large_forward(const AffineForward<float>& a, const Context& context) {
  if (!large::suits(a.M, a.N, a.K, context) || !large::aligned({a.x, a.weight, a.bias, a.y, a.z}, {a.ldx, a.ldy}))
    return false;
  const Moment now = large::moment(context);
  large::Table table;
  const BatchRows batch(a.x_chosen, a.x_ids, a.M, context);
  const Matrix x_matrix{a.x, a.M, a.K, a.ldx, batch.chosen}, w_matrix{a.weight, a.K, a.N, a.N};
  Copy* const x = table.operand(x_matrix, context);
  Copy* const w = table.operand(w_matrix, context);
  if (!x || !w) return false;
  if (!x->fresh(now)) large::convert(x_matrix, *x, context, batch);
  const Source source = large::source(a.weight_state, context);
  if (!w->kept(now) && !w->holds(source)) large::convert(w_matrix, *w, context);
  // A matrix that was an operand before will be one again.
  Copy* const y = now.recording ? table.find({a.y, a.M, a.N, a.ldy}) : nullptr;

  auto arguments = Product::arguments(a.M, a.N, a.K);
  Product::operands(arguments, x->memory, a.K, w->memory, a.N);
  Product::results(arguments, nullptr, a.ldy, a.y, a.ldy);
  auto& store_y = arguments.epilogue.thread;  // children first: op_0, then the node itself: op_1
  auto& activate = store_y.op_0;
  auto& store_z = activate.op_0;
  auto& with_bias = store_z.op_0;
  with_bias.op_1.ptr_row = a.bias;  // null: zeros
  store_z.op_1.ptr_aux = a.z;
  cute::get<0>(store_z.op_1.dAux) = a.N;
  activate.op_1 = large::ActivationArguments(a.activation);
  store_y.op_1.ptr_aux = y ? static_cast<large::Half*>(y->memory) : nullptr;
  cute::get<0>(store_y.op_1.dAux) = a.N;
  if (!Product::run(arguments, context.stream)) return false;

  x->keep(now);
  w->keep(now);
  w->hold(source);
  if (y) y->made(now);
  return true;
}

#else

bool large_forward(const AffineForward<float>&, const Context&) { return false; }

#endif

}  // namespace fastmlp::cuda
