#include "cuda/large/large.h"
#include "cuda/large/large_operands.h"
#include "cuda/large/large_product.h"

namespace fastmlp::cuda {

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

namespace {

// dW = x^T dz: x^T is column-major as A, and dz row-major as B. C and D are the gradient, or the weight; what is stored
// in bfloat16 is the new weight.
using Schedule = large::Pingpong;
using Visitor = large::fusion::Sm90EVT<large::Store<Schedule, float, large::Half>, large::UseGradient>;
using Product = large::Product<large::ColumnMajor, large::RowMajor, Schedule, float, Visitor>;

}  // namespace

bool large_backward_weight(const AffineBackwardWeight<float>& a, const Context& context) {
  const GradientSink<float>& sink = a.weight;
  float* const result = sink.update ? sink.target.value : sink.grad;
  const auto& state = sink.target.state;
  if (!result || !large::suits(a.M, a.N, a.K, context) ||
      !large::aligned({a.x, a.dz, result, state[0], state[1], state[2]}, {a.ldx, a.lddz}))
    return false;
  const Moment now = large::moment(context);
  large::Table table;
  const BatchRows batch(a.x_chosen, a.x_ids, a.M, context);
  const Matrix x_matrix{a.x, a.M, a.K, a.ldx, batch.chosen}, dz_matrix{a.dz, a.M, a.N, a.lddz};
  Copy* const x = table.operand(x_matrix, context);
  Copy* const dz = table.operand(dz_matrix, context);
  if (!x || !dz) return false;
  if (!x->kept(now)) large::convert(x_matrix, *x, context, batch);
  if (!dz->fresh(now)) large::convert(dz_matrix, *dz, context);
  Copy* const w = now.recording && sink.update ? table.find({result, a.K, a.N, a.N}) : nullptr;

  auto arguments = Product::arguments(a.K, a.N, a.M);
  Product::operands(arguments, x->memory, a.K, dz->memory, a.N);
  Product::results(arguments, result, a.N, result, a.N);
  auto& store = arguments.epilogue.thread;  // op_0: its child; op_1: itself
  large::GradientArguments& use = store.op_0;
  use.accumulate = sink.accumulate;
  use.ld = a.N;
  if (sink.update) {
    use.update = true;
    use.own = *sink.update;
    use.step = Step(context);
    for (int s = 0; s < 3; ++s) use.state[s] = state[s];
  }
  store.op_1.ptr_aux = w ? static_cast<large::Half*>(w->memory) : nullptr;
  cute::get<0>(store.op_1.dAux) = a.N;
  if (!Product::run(arguments, context.stream)) return false;

  if (w) w->keep({now.recording, now.step + 1, now.enqueued});
  return true;
}

#else

bool large_backward_weight(const AffineBackwardWeight<float>&, const Context&) { return false; }

#endif

}  // namespace fastmlp::cuda
