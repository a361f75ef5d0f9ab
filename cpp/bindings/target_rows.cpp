// Targets and weights that stay in files.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "bindings/gil.h"
#include "bindings/row_args.h"
#include "bindings/target_args.h"

namespace fastmlp::bindings {

namespace {

// Class indices, which lead nowhere else whatever has become of the file; ignored ones are class 0.
class Classes final : public RowSource<Index> {
 public:
  Classes(std::shared_ptr<const RowSource<Index>> from, const LossHandle& loss, Index columns, std::string name)
      : from_(std::move(from)), ignored_(loss.ignore_index), columns_(columns), name_(std::move(name)) {}

  void fetch(const RowNumbers& rows, Index* to) const override {
    from_->fetch(rows, to);
    for (Index i = 0; i < rows.count; ++i) {
      if (ignored_ == to[i]) to[i] = 0;
      if (to[i] < 0 || to[i] >= columns_)
        throw std::runtime_error(name_ + ": its classes have been changed while they were read");
    }
  }
  bool waits() const override { return true; }

 private:
  const std::shared_ptr<const RowSource<Index>> from_;
  const std::optional<Index> ignored_;
  const Index columns_;
  const std::string name_;
};

// Those of rows some of which are ignored: 0 there. Others have weights of their own, or 1.
template <class T>
class Weights final : public RowSource<T> {
 public:
  Weights(std::shared_ptr<const RowSource<Index>> classes, Index ignored, const RowSource<T>* source, const T* values)
      : classes_(std::move(classes)), ignored_(ignored), source_(source), values_(values) {}

  void fetch(const RowNumbers& rows, T* to) const override {
    if (source_)
      source_->fetch(rows, to);
    else
      for (Index i = 0; i < rows.count; ++i) to[i] = values_ ? values_[rows[i]] : T(1);
    std::vector<Index> classes(static_cast<std::size_t>(rows.count));
    classes_->fetch(rows, classes.data());
    for (std::size_t i = 0; i < classes.size(); ++i)
      if (classes[i] == ignored_) to[i] = 0;
  }
  bool waits() const override { return true; }

 private:
  const std::shared_ptr<const RowSource<Index>> classes_;
  const Index ignored_;
  const RowSource<T>* const source_;
  const T* const values_;
};

// Targets that several outputs share.
template <class T>
class Spread final : public RowSource<T> {
 public:
  Spread(std::shared_ptr<const RowSource<T>> from, Index given, Index columns)
      : from_(std::move(from)), given_(given), columns_(columns) {}

  void fetch(const RowNumbers& rows, T* to) const override {
    std::vector<T> narrow(static_cast<std::size_t>(rows.count * given_));
    from_->fetch(rows, narrow.data());
    spread(narrow.data(), rows.count, given_, columns_, to);
  }
  bool waits() const override { return true; }

 private:
  const std::shared_ptr<const RowSource<T>> from_;
  const Index given_, columns_;
};

// Some rows of a source, without the GIL.
template <class T>
class Part {
 public:
  Part(const RowSource<T>* source, Index most, Index columns) : source_(source), columns_(columns) {
    if (source_) room_.resize(static_cast<std::size_t>(most * columns));
  }
  // Null without a source.
  T* fetch(Index first, Index rows) {
    if (!source_) return nullptr;
    const WithoutGil release;
    source_->fetch({nullptr, first, rows}, room_.data());
    return room_.data();
  }

 private:
  const RowSource<T>* const source_;
  const Index columns_;
  std::vector<T> room_;
};

}  // namespace

template <class T>
TargetArg<T> target_rows(py::handle object, py::handle sample_weight, const TargetNames& names, const LossHandle& loss,
                         Index rows, Index columns, const Allowed& allowed) {
  const auto in_memory = [&](py::handle weights) {
    TargetArg<T> arg = target_arg<T>(object, weights, names, loss, rows, columns, false, allowed.nan);
    if (!allowed.infinite && arg.targets.dense) check_finite(arg.targets.dense, rows, columns, names.targets);
    return arg;
  };
  const LossKind kind = loss.spec.kind;
  const char* const name = names.targets;
  const Index width = target_columns(kind, columns);
  const py::array array = real_array(object, name);
  const bool classes = are_classes(array, name, loss, rows, columns, false);
  std::shared_ptr<const RowSource<T>> dense_rows, weight_rows;
  std::shared_ptr<const RowSource<Index>> class_rows;
  if (classes)
    class_rows = file_rows<Index>(array, 1, name);
  else
    dense_rows = file_rows<T>(array, width, name);
  if (sample_weight && !sample_weight.is_none()) {
    const py::array weights = real_array(sample_weight, names.weights);
    check_weight_shape(weights, names.weights, rows, false);
    weight_rows = file_rows<T>(weights, 1, names.weights);
  }
  if (!class_rows && !dense_rows && !weight_rows) return in_memory(sample_weight);

  TargetArg<T> arg;
  const py::object none = py::none();
  const py::handle other_weights = weight_rows ? py::handle(none) : sample_weight;
  if (class_rows || dense_rows) {
    arg.array = array;
    arg.take_weights(other_weights, names.weights, rows, false);
    arg.take_columns(loss, columns);
  } else {
    arg = in_memory(other_weights);
    if (!arg.classes.empty()) return in_memory(sample_weight);  // ignored rows among those in memory
  }

  // One pass through the files looks at all, and adds up the shares.
  constexpr Index kValues = Index{1} << 20;
  const Index most = std::clamp(kValues / columns, Index{1}, rows);
  Part<T> dense(dense_rows.get(), most, width), weights(weight_rows.get(), most, 1);
  Part<Index> class_part(class_rows.get(), most, 1);
  std::vector<T> of_ignored;
  bool ignored = false;
  double shares = 0, weight_sum = 0;
  for (Index row = 0; row < rows; row += most) {
    const Index n = std::min(most, rows - row);
    Targets<T> part = arg.targets.from(row, columns);
    if (const T* values = dense.fetch(row, n)) {
      check_dense(values, n, width, name, kind, allowed.nan, row);
      if (!allowed.infinite) check_finite(values, n, width, name, row);
    }
    if (const T* values = weights.fetch(row, n)) {
      check_weights(values, n, names.weights, row);
      for (Index i = 0; i < n; ++i) weight_sum += static_cast<double>(values[i]);
      part.weights = values;
    }
    if (Index* values = class_part.fetch(row, n)) {
      part.classes = values;
      if (check_classes(values, n, name, columns, loss, row)) {
        ignored = true;
        of_ignored.assign(static_cast<std::size_t>(n), T(1));
        for (Index i = 0; i < n; ++i) {
          if (part.weights) of_ignored[static_cast<std::size_t>(i)] = part.weights[i];
          if (loss.ignore_index != values[i]) continue;
          of_ignored[static_cast<std::size_t>(i)] = 0;
          values[i] = 0;
        }
        part.weights = of_ignored.data();
      }
    }
    for (Index i = 0; i < n; ++i) shares += part.has_shares() ? part.share(i) : 1;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  if (weight_rows) check_weight_sum(weight_sum, names.weights);
  arg.all_shares = shares;

  const auto keep = [&arg](const auto& source) {
    arg.owners.push_back(source);
    return source.get();
  };
  if (weight_rows) arg.sources.weights = keep(weight_rows);
  if (ignored)
    arg.sources.weights = keep(std::make_shared<const Weights<T>>(class_rows, loss.ignore_index.value(),
                                                                  arg.sources.weights, arg.targets.weights));
  if (arg.sources.weights) arg.targets.weights = nullptr;
  if (class_rows) arg.sources.classes = keep(std::make_shared<const Classes>(class_rows, loss, columns, name));
  if (dense_rows && width < columns)
    arg.sources.dense = keep(std::make_shared<const Spread<T>>(dense_rows, width, columns));
  else if (dense_rows)
    arg.sources.dense = keep(dense_rows);
  return arg;
}

template TargetArg<float> target_rows<float>(py::handle, py::handle, const TargetNames&, const LossHandle&, Index,
                                             Index, const Allowed&);
template TargetArg<double> target_rows<double>(py::handle, py::handle, const TargetNames&, const LossHandle&, Index,
                                               Index, const Allowed&);

}  // namespace fastmlp::bindings
