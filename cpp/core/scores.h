// The loss and the metrics of a network's predictions, of which a piece is held at a time.
#pragma once

#include <functional>
#include <vector>

#include "core/metrics.h"
#include "core/network.h"

namespace fastmlp {

// Of a data set that the host has, in evaluation mode: the bits of the metrics of all predictions at once. `also` gets each
// piece, too, and may throw, which ends it.
template <class T>
std::vector<double> metrics_of(Network<T>& network, LossKind loss, const std::vector<MetricSpec>& metrics,
                               const DataSet<T>& data, const typename Network<T>::Take& also = {});

struct Scores {
  double loss = 0;
  std::vector<double> metrics;
};

// The same with the loss. `look` sees `n` outputs of each piece, and may throw.
template <class T>
Scores scores(Network<T>& network, const LossSpec& loss, const std::vector<MetricSpec>& metrics, const DataSet<T>& data,
              const std::function<void(const T* y, Index n)>& look = {});

}  // namespace fastmlp
