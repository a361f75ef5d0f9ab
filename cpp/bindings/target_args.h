// Targets from Python: checked for a loss, and what goes along with them, the weights of rows, classes and columns.
#pragma once

#include <vector>

#include "bindings/array_args.h"
#include "bindings/loss_handle.h"

namespace fastmlp::bindings {

// Targets of a batch, and what keeps them alive. All of it is the host's.
template <class T>
struct TargetArg {
  TargetArg() = default;
  TargetArg(TargetArg&&) = default;
  TargetArg& operator=(TargetArg&&) = default;

  Targets<T> targets;
  py::object array;
  std::vector<Index> classes;  // where rows are ignored: those have weight 0
  std::vector<T> weights, column_weights, column_params;

  // Of each of so many rows, unless all are 1: Targets::share.
  std::vector<double> shares(Index rows) const;
  // Adds what the loss has for classes and columns; ValueError where it does not fit to so many.
  void take_columns(const LossHandle& loss, Index columns);
  // Adds the weights of the rows, unless they are null or None. ValueError unless they are finite numbers of at least 0,
  // with a sum above 0.
  void take_weights(py::handle sample_weight, const char* name, Index rows, bool one_row);
  // Ignored rows get the weight 0, and class 0.
  void take_ignored(const LossHandle& loss, Index rows);
};

// What errors call the targets and their weights.
struct TargetNames {
  const char *targets, *weights;
};
inline constexpr TargetNames kTargetNames = {"t", "sample_weight"};

// Columns of the targets of an output: fewer where several outputs share a target.
Index target_columns(LossKind loss, Index columns);

// Whether targets of this shape are class indices, one for each row, and not as many values as the output has.
// ValueError unless they are either.
bool are_classes(std::span<const py::ssize_t> shape, const char* name, LossKind loss, Index rows, Index columns,
                 bool one_row);
// ValueError unless each is one of 0 to columns - 1, or ignored. Returns whether one is ignored.
bool check_classes(const Index* classes, Index rows, const char* name, Index columns, const LossHandle& loss);
// ValueError where a loss cannot work on so many outputs.
void check_outputs(const LossHandle& loss, Index columns);

// ValueError where one of the outputs that GaussianNLLLoss takes for variances is negative.
template <class T>
void check_variances(const T* y, Index rows, Index columns);

// The loss of each row or element of an output in the host's memory, times its weight, and their gradients, none of them
// divided by anything; dy may be null.
template <class T>
void loss_values(const LossSpec& spec, Index rows, Index columns, const T* y, const Targets<T>& targets, T* values,
                 T* dy);
// The gradient of the loss itself of such an output.
template <class T>
void loss_gradient(const LossSpec& spec, Index rows, Index columns, const T* y, const Targets<T>& targets, T* dy);

// The shape of the values of a loss that are not reduced, for outputs of so many columns and `shape` itself.
inline std::vector<py::ssize_t> values_shape(LossKind kind, std::span<const py::ssize_t> shape, bool one_row,
                                             Index columns) {
  std::vector<py::ssize_t> values(shape.begin(), shape.end());
  if (is_class_loss(kind)) values.resize(one_row ? 0 : 1);
  if (is_pair_loss(kind)) values.back() = columns / 2;
  return values;
}

template <class T>
TargetArg<T> target_arg(py::handle object, py::handle sample_weight, const TargetNames& names, const LossHandle& loss,
                        Index rows, Index columns, bool one_row, bool allow_nan = false);

}  // namespace fastmlp::bindings
