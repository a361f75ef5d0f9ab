// The loss and the metrics of data some of which may stay in files.
#include "bindings/fit_data.h"
#include "bindings/metrics.h"
#include "bindings/network_of.h"
#include "core/scores.h"

namespace fastmlp::bindings {

template <class T>
std::pair<double, std::vector<double>> NetworkOf<T>::evaluate(const LossHandle& loss, const py::tuple& data,
                                                              const NamedMetrics& metrics) {
  FitData<T> d(host_device(), true);
  d.x = input_rows(data[0], "x");
  check_has_rows(d.x, "x");
  check_rows(d.x.rows, false, "x");
  const Index columns = output_columns(d.x.columns);
  d.t = target_rows<T>(data[1], data[2], kTargetNames, loss, d.x.rows, columns, {.nan = false, .infinite = true});
  d.take_host();
  d.take_shares();
  std::vector<MetricSpec> specs;
  for (const auto& [name, spec] : metrics) {
    check_metric(name, spec, d.t.are_classes(), columns);
    specs.push_back(spec);
  }
  join_streams(network_->device());
  const ReadsValues<T> reads(network_->parameters());
  WithoutGil released;
  Pacer pacer;
  Scores found = scores<T>(*network_, loss.spec, specs, d.set, [&](const T* y, Index n) {
    if (loss.spec.kind == LossKind::BCE) check_probabilities(y, n);
    poll_signals(pacer, released);
  });
  return {found.loss, std::move(found.metrics)};
}

template std::pair<double, std::vector<double>> NetworkOf<float>::evaluate(const LossHandle&, const py::tuple&,
                                                                           const NamedMetrics&);
template std::pair<double, std::vector<double>> NetworkOf<double>::evaluate(const LossHandle&, const py::tuple&,
                                                                            const NamedMetrics&);

}  // namespace fastmlp::bindings
