// What is told of predictions besides their loss.
#pragma once

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

// Of `rows` x `columns` outputs and their targets, in the host's memory. Rows count by their weights, those of classes or
// columns apart; of a pair loss's outputs the means alone are compared.
template <class T>
double metric(const MetricSpec& spec, LossKind loss, const T* y, const Targets<T>& targets, Index rows, Index columns);

}  // namespace fastmlp
