#include "core/metrics.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace fastmlp {

namespace {

// Outputs with targets of their own, and what each row counts for.
template <class T>
struct Compared {
  const T* y;
  Targets<T> targets;
  Index rows, columns;

  double weight(Index row) const { return targets.weights ? static_cast<double>(targets.weights[row]) : 1; }
  // The mean over rows of what is told of each, a sum of so many terms.
  template <class OfRow>
  double mean(const OfRow& of_row, Index terms = 1) const {
    double sum = 0, weights = 0;
    for (Index row = 0; row < rows; ++row) {
      const double own = weight(row);
      if (own == 0) continue;  // whatever its values are
      sum += own * of_row(row);
      weights += own;
    }
    return sum / (weights * static_cast<double>(terms));
  }
  // Likewise over all elements.
  template <class OfElement>
  double element_mean(const OfElement& of_element) const {
    const auto of_row = [&](Index row) {
      double sum = 0;
      for (Index i = row * columns; i < (row + 1) * columns; ++i)
        sum += of_element(static_cast<double>(y[i]), static_cast<double>(targets.dense[i]));
      return sum;
    };
    return mean(of_row, columns);
  }
};

// Elements that lie on the same side: outputs of `threshold`, targets of one half.
template <class T>
double binary_accuracy(const Compared<T>& data, double threshold) {
  return data.element_mean([=](double y, double t) { return (y > threshold) == (t > 0.5) ? 1.0 : 0.0; });
}

// Rows whose class is among the k with the largest outputs; of equal ones, the first come first.
template <class T>
double top_k_accuracy(const Compared<T>& data, Index k) {
  const Index columns = data.columns;
  return data.mean([&](Index row) {
    const T* const y = data.y + row * columns;
    const T* const t = data.targets.dense ? data.targets.dense + row * columns : nullptr;
    const Index wanted = t ? std::max_element(t, t + columns) - t : data.targets.classes[row];
    Index better = 0;
    bool numbers = true;
    for (Index j = 0; j < columns; ++j) {
      better += y[j] > y[wanted] || (y[j] == y[wanted] && j < wanted);
      numbers = numbers && !std::isnan(y[j]);
    }
    return numbers && better < k ? 1.0 : 0.0;
  });
}

template <class T>
double squared_error(const Compared<T>& data) {
  return data.element_mean([](double y, double t) { return (y - t) * (y - t); });
}

// 1 - sum (t - y)^2 / sum (t - mean t)^2 of each column, averaged. A column of equal targets counts 1 if it is met, else 0.
template <class T>
double r2(const Compared<T>& data) {
  double sum = 0;
  for (Index j = 0; j < data.columns; ++j) {
    const auto target = [&](Index row) { return static_cast<double>(data.targets.dense[row * data.columns + j]); };
    const auto squared = [](double error) { return error * error; };
    const double mean = data.mean(target);
    const double rest = data.mean(
        [&](Index row) { return squared(target(row) - static_cast<double>(data.y[row * data.columns + j])); });
    const double spread = data.mean([&](Index row) { return squared(target(row) - mean); });
    if (spread > 0)
      sum += 1 - rest / spread;
    else
      sum += rest == 0 ? 1 : 0;
  }
  return sum / static_cast<double>(data.columns);
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

template <class T>
double value_of(const MetricSpec& spec, const Compared<T>& data) {
  switch (spec.kind) {
    case MetricKind::Accuracy:
      return data.targets.dense && data.columns == 1 ? binary_accuracy(data, spec.threshold) : top_k_accuracy(data, 1);
    case MetricKind::BinaryAccuracy:
      return binary_accuracy(data, spec.threshold);
    case MetricKind::TopKAccuracy:
      return top_k_accuracy(data, spec.k);
    case MetricKind::MAE:
      return data.element_mean([](double y, double t) { return std::abs(y - t); });
    case MetricKind::MSE:
      return squared_error(data);
    case MetricKind::RMSE:
      return std::sqrt(squared_error(data));
    case MetricKind::R2:
      return r2(data);
  }
  return 0;
}

}  // namespace

template <class T>
double metric(const MetricSpec& spec, LossKind loss, const T* y, const Targets<T>& targets, Index rows, Index columns) {
  if (!is_pair_loss(loss)) return value_of<T>(spec, {y, targets, rows, columns});
  const Index pairs = columns / 2;
  const std::vector<T> means = first_columns(y, rows, columns, pairs);
  const std::vector<T> wanted = first_columns(targets.dense, rows, columns, pairs);
  Targets<T> single = targets;
  single.dense = wanted.data();
  return value_of<T>(spec, {means.data(), single, rows, pairs});
}

template double metric<float>(const MetricSpec&, LossKind, const float*, const Targets<float>&, Index, Index);
template double metric<double>(const MetricSpec&, LossKind, const double*, const Targets<double>&, Index, Index);

}  // namespace fastmlp
