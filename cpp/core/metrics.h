// What is told of predictions besides their loss.
#pragma once

#include <vector>

#include "core/batch.h"

namespace fastmlp {

enum class MetricKind : int { Accuracy, BinaryAccuracy, TopKAccuracy, MAE, MSE, RMSE, R2 };
inline constexpr const char* kMetricNames[] = {"accuracy", "binary_accuracy", "top_k_accuracy", "mae", "mse", "rmse",
                                               "r2"};

struct MetricSpec {
  MetricKind kind = MetricKind::Accuracy;
  Index k = 1;             // of TopKAccuracy
  double threshold = 0.5;  // outputs above it mean "yes" in BinaryAccuracy

  // Whether it compares values with values, so that classes make no sense.
  bool wants_values() const { return kind != MetricKind::Accuracy && kind != MetricKind::TopKAccuracy; }
};

// A metric of outputs that come by and by, in order, with their targets, in the host's memory. Rows count by their weights,
// those of classes or columns apart; of a pair loss's outputs the means alone are compared.
template <class T>
class Meter {
 public:
  // Outputs have so many columns.
  Meter(const MetricSpec& spec, LossKind loss, Index columns);

  // Whether all targets have to be seen before the first outputs are added.
  bool wants_targets_first() const { return spec_.kind == MetricKind::R2; }
  void see(const Targets<T>& targets, Index rows);
  void add(const T* y, const Targets<T>& targets, Index rows);
  double value() const;

 private:
  // A mean over rows of what is told of each.
  struct Mean {
    double sum = 0, weights = 0;

    double value(Index terms = 1) const { return sum / (weights * static_cast<double>(terms)); }
  };
  // Outputs and targets in the columns that count.
  struct Compared {
    const T* y;
    Targets<T> targets;
    Index rows, columns;
  };

  template <class OfRow>
  static void add_to(Mean& mean, const Compared& data, const OfRow& of_row);
  template <class OfElement>
  void add_elements(const Compared& data, const OfElement& of_element);
  void add_r2(const Compared& data);
  template <class Body>
  void with_compared(const T* y, const Targets<T>& targets, Index rows, const Body& body) const;

  const MetricSpec spec_;
  const bool pairs_;
  const Index columns_;  // that count
  Mean mean_;
  Index terms_ = 1;                            // of the mean, in each row
  std::vector<Mean> targets_, rest_, spread_;  // of R2, in each column
};

// Of `rows` x `columns` outputs.
template <class T>
double metric(const MetricSpec& spec, LossKind loss, const T* y, const Targets<T>& targets, Index rows, Index columns);

}  // namespace fastmlp
