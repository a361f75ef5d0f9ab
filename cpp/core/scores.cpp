#include "core/scores.h"

#include <algorithm>

#include "core/staged_rows.h"

namespace fastmlp {

namespace {

// The sum of the losses of rows that come by and by. Pieces but the last one have a multiple of as many rows as a partial
// sum has, so that these are those of all rows at once.
template <class T>
class LossSum {
 public:
  LossSum(const LossSpec& spec, Index columns) : spec_(spec.summed()), columns_(columns) {}

  void add(const T* y, const Targets<T>& targets, Index rows) {
    const Backend<T>& kernels = kernels_of<T>(host_device());
    partial_.resize(static_cast<std::size_t>(kernels.loss_partials(rows)));
    double piece = 0;
    kernels.loss({spec_, rows, columns_, y, targets, false, nullptr, partial_.data(), &piece},
                 {thread_pool_executor(), nullptr});
    for (const double value : partial_) sum_ += value;
  }
  double value() const { return sum_; }

 private:
  const LossSpec spec_;
  const Index columns_;
  std::vector<double> partial_;
  double sum_ = 0;
};

template <class T>
Index out_columns(const Network<T>& network, const DataSet<T>& data) {
  return network.out_features() < 0 ? data.columns : network.out_features();
}

// All targets, for the meters that want to see them before the first outputs.
template <class T>
void show_targets(std::vector<Meter<T>>& meters, const DataSet<T>& data, Index columns) {
  const auto wants = [](const Meter<T>& meter) { return meter.wants_targets_first(); };
  if (std::none_of(meters.begin(), meters.end(), wants)) return;
  constexpr Index kRows = 4096;
  DataSet<T> targets = data;
  targets.x = nullptr;
  targets.sources.x = nullptr;
  StagedRows<T> staged(targets, kRows, columns);
  for (Index row = 0; row < data.rows; row += kRows) {
    const Index rows = std::min(kRows, data.rows - row);
    const Batch<T> batch = staged.batch(row, rows);
    for (Meter<T>& meter : meters)
      if (wants(meter)) meter.see(batch.targets, rows);
  }
}

}  // namespace

template <class T>
std::vector<double> metrics_of(Network<T>& network, LossKind loss, const std::vector<MetricSpec>& metrics,
                               const DataSet<T>& data, const typename Network<T>::Take& also) {
  const Index columns = out_columns(network, data);
  std::vector<Meter<T>> meters;
  for (const MetricSpec& metric : metrics) meters.emplace_back(metric, loss, columns);
  show_targets(meters, data, columns);
  network.predict(data, nullptr, [&](const T* y, const Targets<T>& targets, Index row, Index rows) {
    if (also) also(y, targets, row, rows);
    for (Meter<T>& meter : meters) meter.add(y, targets, rows);
  });
  std::vector<double> values;
  for (const Meter<T>& meter : meters) values.push_back(meter.value());
  return values;
}

template <class T>
Scores scores(Network<T>& network, const LossSpec& loss, const std::vector<MetricSpec>& metrics, const DataSet<T>& data,
              const std::function<void(const T* y, Index n)>& look) {
  const Index columns = out_columns(network, data);
  LossSum<T> sum(loss, columns);
  Scores found;
  found.metrics =
      metrics_of<T>(network, loss.kind, metrics, data, [&](const T* y, const Targets<T>& targets, Index, Index rows) {
        if (look) look(y, rows * columns);
        sum.add(y, targets, rows);
      });
  found.loss = sum.value() * loss.scale(data.share(), columns);
  return found;
}

#define FASTMLP_INSTANTIATE(T)                                                                                         \
  template std::vector<double> metrics_of<T>(Network<T>&, LossKind, const std::vector<MetricSpec>&, const DataSet<T>&, \
                                             const Network<T>::Take&);                                                 \
  template Scores scores<T>(Network<T>&, const LossSpec&, const std::vector<MetricSpec>&, const DataSet<T>&,           \
                            const std::function<void(const T*, Index)>&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
