#include "core/metrics.h"

#include <algorithm>
#include <cmath>

namespace fastmlp {

namespace {

// Whether a row's class is among the k with the largest outputs; of equal ones, the first come first.
template <class T>
bool is_among_top(const T* y, Index columns, Index wanted, Index k) {
  Index better = 0;
  bool numbers = true;
  for (Index j = 0; j < columns; ++j) {
    better += y[j] > y[wanted] || (y[j] == y[wanted] && j < wanted);
    numbers = numbers && !std::isnan(y[j]);
  }
  return numbers && better < k;
}

// The first columns of some.
template <class T>
std::vector<T> first_columns(const T* values, Index rows, Index columns, Index first) {
  std::vector<T> kept;
  kept.reserve(static_cast<std::size_t>(rows * first));
  for (Index row = 0; row < rows; ++row)
    kept.insert(kept.end(), values + row * columns, values + row * columns + first);
  return kept;
}

double squared(double error) { return error * error; }

}  // namespace

template <class T>
Meter<T>::Meter(const MetricSpec& spec, LossKind loss, Index columns)
    : spec_(spec), pairs_(is_pair_loss(loss)), columns_(pairs_ ? columns / 2 : columns) {
  if (!wants_targets_first()) return;
  for (std::vector<Mean>* means : {&targets_, &rest_, &spread_}) means->resize(static_cast<std::size_t>(columns_));
}

template <class T>
template <class OfRow>
void Meter<T>::add_to(Mean& mean, const Compared& data, const OfRow& of_row) {
  for (Index row = 0; row < data.rows; ++row) {
    const double own = data.targets.weights ? static_cast<double>(data.targets.weights[row]) : 1;
    if (own == 0) continue;  // whatever its values are
    mean.sum += own * of_row(row);
    mean.weights += own;
  }
}

template <class T>
template <class OfElement>
void Meter<T>::add_elements(const Compared& data, const OfElement& of_element) {
  terms_ = data.columns;
  add_to(mean_, data, [&](Index row) {
    double sum = 0;
    for (Index i = row * data.columns; i < (row + 1) * data.columns; ++i)
      sum += of_element(static_cast<double>(data.y[i]), static_cast<double>(data.targets.dense[i]));
    return sum;
  });
}

// 1 - sum (t - y)^2 / sum (t - mean t)^2 of each column, averaged. A column of equal targets counts 1 if it is met, else 0.
template <class T>
void Meter<T>::add_r2(const Compared& data) {
  for (Index j = 0; j < data.columns; ++j) {
    const auto column = static_cast<std::size_t>(j);
    const double mean = targets_[column].value();
    const auto target = [&](Index row) { return static_cast<double>(data.targets.dense[row * data.columns + j]); };
    add_to(rest_[column], data,
           [&](Index row) { return squared(target(row) - static_cast<double>(data.y[row * data.columns + j])); });
    add_to(spread_[column], data, [&](Index row) { return squared(target(row) - mean); });
  }
}

template <class T>
template <class Body>
void Meter<T>::with_compared(const T* y, const Targets<T>& targets, Index rows, const Body& body) const {
  if (!pairs_) return body(Compared{y, targets, rows, columns_});
  const std::vector<T> means = y ? first_columns(y, rows, 2 * columns_, columns_) : std::vector<T>();
  const std::vector<T> wanted = first_columns(targets.dense, rows, 2 * columns_, columns_);
  Targets<T> single = targets;
  single.dense = wanted.data();
  body(Compared{means.data(), single, rows, columns_});
}

template <class T>
void Meter<T>::see(const Targets<T>& all, Index rows) {
  with_compared(nullptr, all, rows, [&](const Compared& data) {
    for (Index j = 0; j < data.columns; ++j)
      add_to(targets_[static_cast<std::size_t>(j)], data,
             [&](Index row) { return static_cast<double>(data.targets.dense[row * data.columns + j]); });
  });
}

template <class T>
void Meter<T>::add(const T* y, const Targets<T>& all, Index rows) {
  with_compared(y, all, rows, [&](const Compared& data) {
    // Elements that lie on the same side: outputs of `threshold`, targets of one half.
    const auto add_binary = [&] {
      add_elements(data, [this](double o, double t) { return (o > spec_.threshold) == (t > 0.5) ? 1.0 : 0.0; });
    };
    const auto add_top = [&](Index k) {
      add_to(mean_, data, [&](Index row) {
        const T* const t = data.targets.dense ? data.targets.dense + row * data.columns : nullptr;
        const Index wanted = t ? std::max_element(t, t + data.columns) - t : data.targets.classes[row];
        return is_among_top(data.y + row * data.columns, data.columns, wanted, k) ? 1.0 : 0.0;
      });
    };
    switch (spec_.kind) {
      case MetricKind::Accuracy:
        return data.targets.dense && data.columns == 1 ? add_binary() : add_top(1);
      case MetricKind::BinaryAccuracy:
        return add_binary();
      case MetricKind::TopKAccuracy:
        return add_top(spec_.k);
      case MetricKind::MAE:
        return add_elements(data, [](double o, double t) { return std::abs(o - t); });
      case MetricKind::MSE:
      case MetricKind::RMSE:
        return add_elements(data, [](double o, double t) { return squared(o - t); });
      case MetricKind::R2:
        return add_r2(data);
    }
  });
}

template <class T>
double Meter<T>::value() const {
  if (spec_.kind == MetricKind::RMSE) return std::sqrt(mean_.value(terms_));
  if (spec_.kind != MetricKind::R2) return mean_.value(terms_);
  double sum = 0;
  for (std::size_t j = 0; j < rest_.size(); ++j) {
    const double rest = rest_[j].value(), spread = spread_[j].value();
    if (spread > 0)
      sum += 1 - rest / spread;
    else
      sum += rest == 0 ? 1 : 0;
  }
  return sum / static_cast<double>(columns_);
}

template <class T>
double metric(const MetricSpec& spec, LossKind loss, const T* y, const Targets<T>& targets, Index rows, Index columns) {
  Meter<T> meter(spec, loss, columns);
  if (meter.wants_targets_first()) meter.see(targets, rows);
  meter.add(y, targets, rows);
  return meter.value();
}

#define FASTMLP_INSTANTIATE(T) \
  template class Meter<T>;     \
  template double metric<T>(const MetricSpec&, LossKind, const T*, const Targets<T>&, Index, Index);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
