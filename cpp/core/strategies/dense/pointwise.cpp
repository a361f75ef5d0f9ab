#include "core/strategies/dense/pointwise.h"

namespace fastmlp {

namespace {

template <class T>
void batch_norm(const PointwiseArgs<T>& a, const T* x, const T*, T* y) {
  const BatchNormOptions<T>& options = a.operation.batch;
  BatchNormForward<T> args{};
  args.rows = a.rows;
  args.columns = a.columns;
  args.x = x;
  args.weight = a.weight();
  args.bias = a.bias();
  args.eps = a.operation.eps;
  args.from_batch = a.operation.from_batch(a.training());
  args.deviations = options.deviations;
  if (options.mean) {
    // A mean over all batches so far, of which this is one more.
    args.momentum = options.momentum ? *options.momentum : 1.0 / static_cast<double>(*options.batches + 1);
    args.running_mean = options.mean->value.data();
    args.running_variance = options.variance->value.data();
  }
  args.statistics = NormStatistics<T>::in(a.kept, a.columns);
  args.y = y;
  a.kernels.batch_norm_forward(args, a.context);
}

template <class T>
constexpr PointwiseRule<T> kRules[] = {
    // Affine: a product of matrices, not a rule.
    {},
    // Activation
    {[](const PointwiseArgs<T>& a, const T* x, const T*, T* y) {
       a.kernels.activation_forward(a.operation.activation, a.size(), x, y, a.context);
     },
     [](const PointwiseArgs<T>& a, const T* dy, const T* x, const T* y, T* dx) {
       const T* saved = a.operation.saves_input() ? x : y;
       a.kernels.activation_backward(a.operation.activation, a.size(), dy, saved, dx, a.context);
     }},
    // RowActivation
    {[](const PointwiseArgs<T>& a, const T* x, const T*, T* y) {
       a.kernels.row_forward(a.operation.row_activation, a.rows, a.columns, x, y, a.context);
     },
     [](const PointwiseArgs<T>& a, const T* dy, const T*, const T* y, T* dx) {
       a.kernels.row_backward(a.operation.row_activation, a.rows, a.columns, dy, y, dx, a.context);
     }},
    // Dropout
    {[](const PointwiseArgs<T>& a, const T* x, const T*, T* y) { a.drop(x, y); },
     [](const PointwiseArgs<T>& a, const T* dy, const T*, const T*, T* dx) { a.drop(dy, dx); }},
    // Add
    {[](const PointwiseArgs<T>& a, const T* x, const T* x2, T* y) { a.kernels.add(a.size(), x, x2, y, a.context); },
     nullptr},
    // LayerNorm
    {[](const PointwiseArgs<T>& a, const T* x, const T*, T* y) {
       a.kernels.layer_norm_forward(
           {a.rows, a.columns, x, a.weight(), a.bias(), a.operation.eps, NormStatistics<T>::in(a.kept, a.rows), y},
           a.context);
     },
     [](const PointwiseArgs<T>& a, const T* dy, const T* x, const T*, T* dx) {
       a.kernels.layer_norm_backward({a.rows, a.columns, x, dy, a.weight(), NormStatistics<T>::in(a.kept, a.rows), dx,
                                      a.weight_sink, a.bias_sink},
                                     a.context);
     },
     {.of_rows = NormStatistics<T>::kVectors}},
    // BatchNorm
    {batch_norm<T>,
     [](const PointwiseArgs<T>& a, const T* dy, const T* x, const T*, T* dx) {
       a.kernels.batch_norm_backward({a.rows, a.columns, x, dy, a.weight(), a.operation.from_batch(a.training()),
                                      NormStatistics<T>::in(a.kept, a.columns), dx, a.weight_sink, a.bias_sink},
                                     a.context);
     },
     {.of_columns = NormStatistics<T>::kVectors}},
    // PReLU
    {[](const PointwiseArgs<T>& a, const T* x, const T*, T* y) {
       a.kernels.prelu_forward({a.rows, a.columns, x, a.weight(), a.operation.weight->size() == 1, y}, a.context);
     },
     [](const PointwiseArgs<T>& a, const T* dy, const T* x, const T*, T* dx) {
       a.kernels.prelu_backward(
           {a.rows, a.columns, x, dy, a.weight(), a.operation.weight->size() == 1, a.kept, dx, a.weight_sink},
           a.context);
     },
     {.of_columns = 1}},
};

}  // namespace

template <class T>
const PointwiseRule<T>& pointwise_rule(OperationKind kind) {
  return kRules<T>[static_cast<int>(kind)];
}

template const PointwiseRule<float>& pointwise_rule(OperationKind);
template const PointwiseRule<double>& pointwise_rule(OperationKind);

}  // namespace fastmlp
