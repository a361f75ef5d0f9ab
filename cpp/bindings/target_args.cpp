#include "bindings/target_args.h"

#include "bindings/gil.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fastmlp::bindings {

namespace {

bool is_integer(const py::array& array) {
  const char kind = array.dtype().kind();
  return kind == 'i' || kind == 'u' || kind == 'b';
}

// The targets that a loss has a value for.
struct Domain {
  double low, high;
  const char* text;
};
Domain domain_of(LossKind loss) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  switch (loss) {
    case LossKind::BCE:
    case LossKind::BCEWithLogits:
      return {0, 1, "values from 0 to 1"};
    case LossKind::PoissonNLL:
    case LossKind::PoissonNLLLog:
    case LossKind::KLDiv:
      return {0, kInfinity, "values of at least 0"};
    default:
      return {-kInfinity, kInfinity, "numbers"};
  }
}

template <class T>
void check_values(const T* t, Index n, Index columns, const char* name, LossKind loss, bool allow_nan, Index first) {
  const Domain domain = domain_of(loss);
  const T low = static_cast<T>(domain.low), high = static_cast<T>(domain.high);
  if (!any_of(t, n, [low, high](T v) { return !((v >= low) & (v <= high)); })) return;
  for (Index i = 0; i < n; ++i) {
    if (std::isnan(t[i]) && !allow_nan)
      throw py::value_error(std::string(name) + ": expected numbers, got NaN" + place_of(first * columns + i, columns));
    if (t[i] < low || t[i] > high)
      throw py::value_error(std::string(name) + ": expected " + domain.text + ", got " + std::to_string(t[i]) +
                            place_of(first * columns + i, columns));
  }
}

// Each row of targets that are no class indices holds the probabilities of the classes.
template <class T>
void check_distributions(const T* t, Index rows, Index columns, const char* name, bool allow_nan, Index first) {
  constexpr double kRounding = 1e-3;  // of float16's sums, and of those who print three digits
  for (Index r = 0; r < rows; ++r) {
    double sum = 0;
    for (Index c = 0; c < columns; ++c) {
      const T value = t[r * columns + c];
      if (!(value >= 0 && value <= 1) && !(allow_nan && std::isnan(value)))
        throw py::value_error(std::string(name) + ": expected class probabilities from 0 to 1, or class indices, got " +
                              std::to_string(value) + " in row " + std::to_string(first + r));
      sum += static_cast<double>(value);
    }
    if (std::abs(sum - 1) > kRounding)
      throw py::value_error(std::string(name) +
                            ": expected class probabilities that sum to 1 in each row, got a sum of " +
                            std::to_string(sum) + " in row " + std::to_string(first + r));
  }
}

// One-hot rows may be integers; class indices are 1-D, and of a single row 0-D.
bool mean_classes(std::span<const py::ssize_t> shape, LossKind loss, Index columns, bool one_row) {
  if (loss != LossKind::CrossEntropy) return loss == LossKind::NLL;
  return shape.empty() || (shape.size() == 1 && (!one_row || shape[0] != columns));
}

const char* name_of_params(LossKind loss) { return loss == LossKind::Quantile ? "quantiles" : "pos_weight"; }

}  // namespace

Index target_columns(LossKind loss, Index columns) {
  return loss == LossKind::Quantile ? 1 : is_pair_loss(loss) ? columns / 2 : columns;
}

bool are_classes(std::span<const py::ssize_t> shape, const char* name, LossKind loss, Index rows, Index columns,
                 bool one_row) {
  const std::size_t n = shape.size();
  const auto single = [&] {
    const bool column = n == 2 && shape[1] == 1 && shape[0] == rows;
    return column ? std::string("; if these are class indices, write ") + name + "[:, 0]" : std::string();
  };
  if (mean_classes(shape, loss, columns, one_row)) {
    if (!(n == 1 && shape[0] == rows) && !(n == 0 && one_row))
      throw py::value_error(std::string(name) + ": expected shape (" + std::to_string(rows) +
                            ",) with a class index for each row, got " + shape_text(shape) + single());
    return true;
  }
  const Index width = target_columns(loss, columns);
  const bool fits = (n == 2 && shape[0] == rows && shape[1] == width) || (n == 1 && shape[0] == rows && width == 1) ||
                    (n == 1 && one_row && shape[0] == width) || (n == 0 && one_row && width == 1 && width < columns);
  if (!fits)
    throw py::value_error(
        std::string(name) + ": expected shape (" + std::to_string(rows) + ", " + std::to_string(width) + ") " +
        (width < columns ? "for a model of " + std::to_string(columns) + " outputs" : "like the model's output") +
        ", got " + shape_text(shape) + (is_class_loss(loss) ? single() : ""));
  return false;
}

bool are_classes(const py::array& targets, const char* name, const LossHandle& loss, Index rows, Index columns,
                 bool one_row) {
  const LossKind kind = loss.spec.kind;
  check_outputs(loss, columns);
  const auto shape = shape_of(targets);
  if (mean_classes(shape, kind, columns, one_row) && !is_integer(targets))
    throw py::type_error(std::string(name) + ": expected integer class indices, got dtype " + dtype_text(targets) +
                         "; write " + name + ".astype(int) if they are whole numbers, or use MSELoss for real values");
  const bool classes = are_classes(shape, name, kind, rows, columns, one_row);
  if (!classes && kind == LossKind::CrossEntropy && loss.ignore_index.value_or(-1) >= 0)
    throw py::value_error("ignore_index: expected class indices as targets with it, got probabilities");
  return classes;
}

template <class T>
void check_dense(const T* targets, Index rows, Index width, const char* name, LossKind kind, bool allow_nan,
                 Index first) {
  check_values(targets, rows * width, width, name, kind, allow_nan, first);
  if (kind == LossKind::CrossEntropy) check_distributions(targets, rows, width, name, allow_nan, first);
}

// All columns of a target for quantiles, two for pairs.
template <class T>
void spread(const T* targets, Index rows, Index given, Index columns, T* to) {
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < columns; ++c) to[r * columns + c] = targets[r * given + c % given];
}

template <class V>
void check_weights(const V* weights, Index rows, const char* name, Index first) {
  for (Index r = 0; r < rows; ++r)
    if (!(weights[r] >= 0 && std::isfinite(weights[r])))
      throw py::value_error(std::string(name) + ": expected finite numbers of at least 0, got " +
                            (std::isnan(weights[r]) ? "NaN" : std::to_string(weights[r])) + place_of(first + r, 1));
}

void check_weight_sum(double sum, const char* name) {
  if (!(sum > 0 && std::isfinite(sum)))
    throw py::value_error(std::string(name) + ": expected weights with a finite sum above 0, got a sum of " +
                          std::to_string(sum));
}

void check_weight_shape(const py::array& weights, const char* name, Index rows, bool one_row) {
  const auto shape = shape_of(weights);
  if (!(shape.size() == 1 && shape[0] == rows) && !(shape.empty() && one_row))
    throw py::value_error(std::string(name) + ": expected shape (" + std::to_string(rows) +
                          ",) with a weight for each row, got " + shape_text(shape));
}

bool check_classes(const Index* classes, Index rows, const char* name, Index columns, const LossHandle& loss,
                   Index first) {
  bool ignored = false;
  for (Index r = 0; r < rows; ++r) {
    if (classes[r] >= 0 && classes[r] < columns && loss.ignore_index != classes[r]) continue;
    if (loss.ignore_index != classes[r])
      throw py::value_error(std::string(name) + ": expected class indices from 0 to " + std::to_string(columns - 1) +
                            ", got " + std::to_string(classes[r]) + " in row " + std::to_string(first + r));
    ignored = true;
  }
  return ignored;
}

void check_outputs(const LossHandle& loss, Index columns) {
  const LossKind kind = loss.spec.kind;
  const auto outputs = [&] { return std::to_string(columns) + (columns == 1 ? " output" : " outputs"); };
  if (is_class_loss(kind) && columns < 2)
    throw py::value_error(
        std::string("loss_fn: ") + (kind == LossKind::NLL ? "NLLLoss" : "CrossEntropyLoss") +
        " expects a model with an output for each class, at least two, got one; use MSELoss for real values,"
        " or BCEWithLogitsLoss for two classes");
  if (is_pair_loss(kind) && columns % 2 != 0)
    throw py::value_error("loss_fn: GaussianNLLLoss expects a model with as many variances as means, got " + outputs());
  const auto check_count = [&](const std::vector<double>& values, const char* name, bool one_will_do) {
    if (values.empty() || static_cast<Index>(values.size()) == columns || (one_will_do && values.size() == 1)) return;
    throw py::value_error(std::string(name) + ": expected a number for each of the model's " + outputs() + ", got " +
                          std::to_string(values.size()));
  };
  check_count(loss.column_weights, "weight", !is_class_loss(kind));
  check_count(loss.column_params, name_of_params(kind), kind != LossKind::Quantile);
}

namespace {

template <class T>
void loss_on_host(const LossSpec& spec, Index rows, Index columns, const T* y, const Targets<T>& targets, T* values,
                  T* dy) {
  if (rows == 0) return;
  std::vector<double> partial(static_cast<std::size_t>(active_backend<T>().loss_partials(rows)));
  double value = 0;
  const ReleaseGilFor release(rows * columns);
  active_backend<T>().loss({spec, rows, columns, y, targets, false, dy, partial.data(), &value, values},
                           {{nullptr, nullptr, 1}, nullptr});
}

}  // namespace

template <class T>
void loss_values(const LossSpec& spec, Index rows, Index columns, const T* y, const Targets<T>& targets, T* values,
                 T* dy) {
  loss_on_host(spec.summed(), rows, columns, y, targets, values, dy);
}
template <class T>
void loss_gradient(const LossSpec& spec, Index rows, Index columns, const T* y, const Targets<T>& targets, T* dy) {
  loss_on_host<T>(spec, rows, columns, y, targets, nullptr, dy);
}

template <class T>
void check_variances(const T* y, Index rows, Index columns) {
  for (Index r = 0; r < rows; ++r)
    for (Index c = columns / 2; c < columns; ++c)
      if (y[r * columns + c] < 0)
        throw py::value_error("input: expected variances of at least 0 for GaussianNLLLoss, got " +
                              std::to_string(y[r * columns + c]) + place_of(r * columns + c, columns) +
                              "; Softplus after the model makes them positive");
}

template <class T>
std::vector<double> TargetArg<T>::shares(Index rows) const {
  std::vector<double> values;
  if (!targets.has_shares()) return values;
  for (Index r = 0; r < rows; ++r) values.push_back(targets.share(r));
  return values;
}

template <class T>
void TargetArg<T>::take_columns(const LossHandle& loss, Index columns) {
  const auto take = [columns](const std::vector<double>& from, std::vector<T>& to) -> const T* {
    if (from.empty()) return nullptr;
    to.resize(static_cast<std::size_t>(columns));
    for (std::size_t c = 0; c < to.size(); ++c) to[c] = static_cast<T>(from[from.size() == 1 ? 0 : c]);
    return to.data();
  };
  targets.column_weights = take(loss.column_weights, column_weights);
  targets.column_params = take(loss.column_params, column_params);
}

template <class T>
void TargetArg<T>::take_weights(py::handle sample_weight, const char* name, Index rows, bool one_row) {
  if (!sample_weight || sample_weight.is_none()) return;
  const py::array array = real_array(sample_weight, name);
  check_weight_shape(array, name, rows, one_row);
  const CArray<double> values = contiguous<double>(array);
  check_weights(values.data(), rows, name);
  double sum = 0;
  weights.clear();
  for (Index r = 0; r < rows; ++r) {
    weights.push_back(static_cast<T>(values.data()[r]));
    sum += static_cast<double>(weights.back());
  }
  if (rows > 0) check_weight_sum(sum, name);
  targets.weights = weights.data();
}

template <class T>
void TargetArg<T>::take_ignored(const LossHandle& loss, Index rows) {
  classes.assign(targets.classes, targets.classes + rows);
  weights.resize(static_cast<std::size_t>(rows), T(1));
  for (std::size_t r = 0; r < classes.size(); ++r)
    if (loss.ignore_index == classes[r]) {
      classes[r] = 0;
      weights[r] = 0;
    }
  targets.classes = classes.data();
  targets.weights = weights.data();
}

template <class T>
TargetArg<T> target_arg(py::handle object, py::handle sample_weight, const TargetNames& names, const LossHandle& loss,
                        Index rows, Index columns, bool one_row, bool allow_nan) {
  const LossKind kind = loss.spec.kind;
  const char* const name = names.targets;
  check_outputs(loss, columns);
  const py::array array = real_array(object, name);
  TargetArg<T> arg;
  if (are_classes(array, name, loss, rows, columns, one_row)) {
    const CArray<Index> classes = contiguous<Index>(array);
    const bool ignored = check_classes(classes.data(), rows, name, columns, loss);
    arg.targets.classes = classes.data();
    arg.array = classes;
    arg.take_weights(sample_weight, names.weights, rows, one_row);
    if (ignored) arg.take_ignored(loss, rows);
  } else {
    CArray<T> dense = contiguous<T>(array);
    const Index width = target_columns(kind, columns);
    check_dense(dense.data(), rows, width, name, kind, allow_nan);
    if (width < columns) {
      CArray<T> wide({rows, columns});
      spread(dense.data(), rows, width, columns, wide.mutable_data());
      dense = std::move(wide);
    }
    arg.targets.dense = dense.data();
    arg.array = dense;
    arg.take_weights(sample_weight, names.weights, rows, one_row);
  }
  arg.take_columns(loss, columns);
  return arg;
}

#define FASTMLP_INSTANTIATE(T)                                                                                     \
  template void check_dense<T>(const T*, Index, Index, const char*, LossKind, bool, Index);                        \
  template void check_weights<T>(const T*, Index, const char*, Index);                                             \
  template void spread<T>(const T*, Index, Index, Index, T*);                                                      \
  template void loss_values<T>(const LossSpec&, Index, Index, const T*, const Targets<T>&, T*, T*);                \
  template void loss_gradient<T>(const LossSpec&, Index, Index, const T*, const Targets<T>&, T*);                  \
  template void check_variances<T>(const T*, Index, Index);                                                        \
  template struct TargetArg<T>;                                                                                    \
  template TargetArg<T> target_arg<T>(py::handle, py::handle, const TargetNames&, const LossHandle&, Index, Index, \
                                      bool, bool);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::bindings
