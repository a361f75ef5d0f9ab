// THE LIST of the operations that work element by element or row by row: how each runs forward and backward. A new one is
// a row here, a kernel in each backend, and what `program.h` must know of its options.
#pragma once

#include "core/program.h"

namespace fastmlp {

// What such an operation computes with: values of rows x columns.
template <class T>
struct PointwiseArgs {
  const Operation<T>& operation;
  Index number;  // of the operation in the program
  Index rows, columns;
  const DropoutState* dropout;  // null: evaluation mode
  const Device& device;
  const Backend<T>& kernels;
  const Context& context;
  T* kept = nullptr;                           // the rule's memory, from the forward pass to the backward one
  GradientSink<T> weight_sink{}, bias_sink{};  // backward

  const T* weight() const { return operation.weight ? operation.weight->value.data() : nullptr; }
  const T* bias() const { return operation.bias ? operation.bias->value.data() : nullptr; }
  bool training() const { return dropout != nullptr; }
  Index size() const { return rows * columns; }
  void copy(const T* from, T* to) const {
    const std::size_t bytes = static_cast<std::size_t>(size()) * sizeof(T);
    if (from != to) check(device.copy(to, from, bytes, context.stream));
  }
  // Dropout, forward and backward alike.
  void drop(const T* from, T* to) const {
    if (!dropout) return copy(from, to);
    kernels.dropout(*dropout, number, operation.p, dropout->row * columns, size(), from, to, context);
  }
};

// What a rule keeps from the forward pass for the backward one: so many vectors of a value for each row, then so many of a
// value for each column.
struct Kept {
  int of_rows = 0, of_columns = 0;

  Index size(Index rows, Index columns) const { return of_rows * rows + of_columns * columns; }
};

template <class T>
struct PointwiseRule {
  // y of x, and of x2 where it takes two values.
  void (*forward)(const PointwiseArgs<T>&, const T* x, const T* x2, T* y);
  // dx of dy and of x or y; null where nobody wants it, but the parameters' gradients. Without: a sum, whose gradient is
  // that of each input.
  void (*backward)(const PointwiseArgs<T>&, const T* dy, const T* x, const T* y, T* dx);
  Kept kept = {};
};

// Of any kind but Affine.
template <class T>
const PointwiseRule<T>& pointwise_rule(OperationKind kind);

}  // namespace fastmlp
