// The end of a training step's forward pass, where the backend takes the last affine operation together with the loss.
#include "core/strategies/dense/dense_runner.h"

namespace fastmlp {

template <class T>
int DenseRunner<T>::head_of(LossKind loss) const {
  const int end = program_.size();
  if (!kernels().takes_head || end == 0) return end;
  const bool by_row = operation(end - 1).kind == OperationKind::RowActivation;
  const int last = by_row ? end - 2 : end - 1;
  if (last < 0 || operation(last).kind != OperationKind::Affine) return end;
  // What lies between the two is not written: nobody else may want it.
  if (by_row && (operation(end - 1).inputs[0] != last + 1 || program_.uses(last + 1) > 1 || is_pair_loss(loss) ||
                 operation(last).activation.kind != ActivationKind::Identity))
    return end;
  return kernels().takes_head(rows_, width(last + 1), width(operation(last).inputs[0])) ? last : end;
}

template <class T>
void DenseRunner<T>::head_forward(int i, const LossSpec& spec, const Batch<T>& batch, const Context& context) {
  const Operation<T>& op = operation(i);
  const int in = op.inputs[0];
  HeadForward<T> args{};
  args.M = rows_;
  args.N = width(i + 1);
  args.K = args.ldx = width(in);
  args.x = value(in);
  args.weight = op.weight->value.data();
  if (op.bias) args.bias = op.bias->value.data();
  args.activation = op.activation;
  args.has_row_activation = i + 1 < program_.size();
  if (args.has_row_activation) args.row_activation = operation(i + 1).row_activation;
  args.loss = spec;
  args.targets = batch.targets;
  args.chosen = batch.targets_chosen;
  args.ids = batch.ids;
  args.logits = program_.logits_for(spec.kind);
  args.dz = memory_.data() + result_;
  args.partial = this->loss_args(spec).partial;
  kernels().head_forward(args, context);
}

#define FASTMLP_INSTANTIATE(T)                          \
  template int DenseRunner<T>::head_of(LossKind) const; \
  template void DenseRunner<T>::head_forward(int, const LossSpec&, const Batch<T>&, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
