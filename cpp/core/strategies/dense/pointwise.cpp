#include "core/strategies/dense/pointwise.h"

namespace fastmlp {

namespace {

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
    {[](const PointwiseArgs<T>& a, const T* x, const T*, T* y) {
       if (!a.dropout) return a.copy(x, y);
       a.kernels.dropout(*a.dropout, a.number, a.operation.p, a.size(), x, y, a.context);
     },
     [](const PointwiseArgs<T>& a, const T* dy, const T*, const T*, T* dx) {
       if (!a.dropout) return a.copy(dy, dx);
       a.kernels.dropout(*a.dropout, a.number, a.operation.p, a.size(), dy, dx, a.context);
     }},
    // Add
    {[](const PointwiseArgs<T>& a, const T* x, const T* x2, T* y) { a.kernels.add(a.size(), x, x2, y, a.context); },
     nullptr},
};

}  // namespace

template <class T>
const PointwiseRule<T>& pointwise_rule(OperationKind kind) {
  return kRules<T>[static_cast<int>(kind)];
}

template const PointwiseRule<float>& pointwise_rule(OperationKind);
template const PointwiseRule<double>& pointwise_rule(OperationKind);

}  // namespace fastmlp
