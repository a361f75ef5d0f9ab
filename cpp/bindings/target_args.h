// Targets from Python: checked for a loss, and what goes along with them, the weights of rows, classes and columns.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "bindings/array_args.h"
#include "bindings/loss_handle.h"
#include "core/data_set.h"

namespace fastmlp::bindings {

// Targets of a batch or a data set, and what keeps them alive. All of it is the host's.
template <class T>
struct TargetArg {
  TargetArg() = default;
  TargetArg(TargetArg&&) = default;
  TargetArg& operator=(TargetArg&&) = default;

  Targets<T> targets;
  py::object array;
  std::vector<Index> classes;  // where rows are ignored: those have weight 0
  std::vector<T> weights, column_weights, column_params;
  // What target_rows finds in files, in the place of those in `targets`, with all that is behind it.
  RowSources<T> sources;
  std::vector<std::shared_ptr<const void>> owners;
  std::optional<double> all_shares;  // the sum of those of all rows, then

  bool are_classes() const { return targets.classes || sources.classes; }
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
// The same for an array, whose dtype has to fit, too, and for a loss, whose options have to.
bool are_classes(const py::array& targets, const char* name, const LossHandle& loss, Index rows, Index columns,
                 bool one_row);
// In what follows, the rows are those from number `first` on.
// ValueError unless each is one of 0 to columns - 1, or ignored. Returns whether one is ignored.
bool check_classes(const Index* classes, Index rows, const char* name, Index columns, const LossHandle& loss,
                   Index first = 0);
// ValueError where the loss has no value for such targets, of so many columns.
template <class T>
void check_dense(const T* targets, Index rows, Index width, const char* name, LossKind kind, bool allow_nan,
                 Index first = 0);
// Each target for all outputs that share it: from `given` columns to `columns`.
template <class T>
void spread(const T* targets, Index rows, Index given, Index columns, T* to);
// ValueError unless they are finite numbers of at least 0, of a weight for each row, with a finite sum above 0.
template <class V>
void check_weights(const V* weights, Index rows, const char* name, Index first = 0);
void check_weight_shape(const py::array& weights, const char* name, Index rows, bool one_row);
void check_weight_sum(double sum, const char* name);
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
// What targets may hold besides numbers; ValueError for others.
struct Allowed {
  bool nan, infinite;
};
// The same for a data set: what is a large part of a file stays there, and is looked at by parts; Ctrl-C ends that.
template <class T>
TargetArg<T> target_rows(py::handle object, py::handle sample_weight, const TargetNames& names, const LossHandle& loss,
                         Index rows, Index columns, const Allowed& allowed);

}  // namespace fastmlp::bindings
