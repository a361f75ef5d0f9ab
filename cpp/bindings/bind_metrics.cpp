// Metrics of predictions, and the two ways to end a training early.
#include "bindings/metrics.h"

#include "bindings/array_args.h"
#include "bindings/cpython.h"
#include "bindings/fit_data.h"
#include "bindings/network_of.h"
#include "bindings/state.h"
#include "core/clipping.h"
#include "core/scores.h"

namespace fastmlp::bindings {

void check_metric(const std::string& name, const MetricSpec& spec, bool classes, Index columns) {
  if (classes && spec.wants_values())
    throw py::value_error("metrics: expected targets that are values for '" + name + "', got classes");
  if (spec.kind == MetricKind::TopKAccuracy && spec.k > columns)
    throw py::value_error("metrics: expected at most " + std::to_string(columns) + ", the number of classes, in '" +
                          name + "'");
}

// What computes the request's metrics of the validation data.
template <class T>
std::function<std::vector<double>()> NetworkOf<T>::measure(const FitRequest& request, const FitData<T>& validation,
                                                           std::optional<WithoutGil>& released) const {
  const Index rows = validation.set.rows, columns = output_columns(validation.set.columns);
  std::vector<std::optional<MetricSpec>> specs;  // empty: a function
  for (const auto& [name, metric] : request.metrics) {
    specs.emplace_back();
    if (!py::isinstance<MetricSpec>(metric)) continue;
    specs.back() = metric.template cast<MetricSpec>();
    check_metric(name, *specs.back(), validation.t.are_classes() || validation.set.targets.classes, columns);
  }
  const bool all_native = std::ranges::all_of(specs, [](const auto& spec) { return spec.has_value(); });
  if (network_->device().host && all_native)
    return [&request, &validation, specs, this] {
      std::vector<MetricSpec> metrics;
      for (const auto& spec : specs) metrics.push_back(*spec);
      return metrics_of<T>(*network_, request.loss.spec.kind, metrics, validation.set);
    };
  const auto outputs = std::make_shared<Buffer<T>>(network_->device());
  return [&request, &validation, &released, specs, rows, columns, outputs, this] {
    const auto size = static_cast<std::size_t>(rows * columns);
    const Device& device = network_->device();
    std::vector<T> copy, dense;
    outputs->reserve(size);
    network_->predict(validation.set, outputs->data());
    const T* y = outputs->data();
    const auto fetch = [&](std::vector<T>& to, const T* from) {
      to.resize(size);
      check(device.download(to.data(), from, size * sizeof(T), StreamScope::current()));
      return to.data();
    };
    Targets<T> targets = validation.set.targets;
    if (!device.host) {
      y = fetch(copy, y);
      targets = validation.t.targets;
      const T* const there = validation.set.targets.dense;
      if (there && !targets.dense) targets.dense = fetch(dense, there);  // they came from the device
    }
    std::vector<double> values;
    for (std::size_t i = 0; i < specs.size(); ++i) {
      if (specs[i]) {
        values.push_back(metric(*specs[i], request.loss.spec.kind, y, targets, rows, columns));
        continue;
      }
      const WithoutGil::Pause acquire(*released);
      values.push_back(request.metrics[i].second(py::array_t<T>({rows, columns}, y)).template cast<double>());
    }
    return values;
  };
}

template std::function<std::vector<double>()> NetworkOf<float>::measure(const FitRequest&, const FitData<float>&,
                                                                        std::optional<WithoutGil>&) const;
template std::function<std::vector<double>()> NetworkOf<double>::measure(const FitRequest&, const FitData<double>&,
                                                                         std::optional<WithoutGil>&) const;

namespace {

template <class T>
double value_as(const std::string& name, const MetricSpec& spec, const LossHandle& loss, py::handle y, py::handle t,
                py::handle sample_weight) {
  const Matrix<T> outputs = matrix_arg<T>(y, "y", -1, "");
  const TargetArg<T> target =
      target_arg<T>(t, sample_weight, kTargetNames, loss, outputs.rows, outputs.columns, outputs.one_row, true);
  check_metric(name, spec, target.targets.classes != nullptr, outputs.columns);
  const ReleaseGilFor release(outputs.rows * outputs.columns);
  return metric<T>(spec, loss.spec.kind, outputs.data(), target.targets, outputs.rows, outputs.columns);
}

double value_of(const MetricSpec& spec, const std::string& name, py::handle loss, py::handle y, py::handle t,
                py::handle sample_weight) {
  const LossHandle& own = held_by<LossHandle>(loss, "loss");
  const py::array array = real_array(y, "y");
  if (array.itemsize() == sizeof(float) && array.dtype().kind() == 'f')
    return value_as<float>(name, spec, own, array, t, sample_weight);
  return value_as<double>(name, spec, own, array, t, sample_weight);
}

// The sum of the squares of parameters.
std::function<double()> squares_of(const py::sequence& weights) {
  const ParameterHandles handles = parameter_handles(weights, "weights");
  if (handles.empty()) return [] { return 0.0; };
  return with_dtype(handles[0].get().dtype(), [&]<class T>(T) -> std::function<double()> {
    std::vector<std::shared_ptr<Parameter<T>>> parameters;
    for (const ParameterHandle& handle : handles) parameters.push_back(native<T>(handle, "weights"));
    const auto clipper = std::make_shared<Clipper<T>>(parameters[0]->device());
    return [parameters, clipper] {
      clipper->measure(parameters);
      const double norm = clipper->norm();
      return norm * norm;
    };
  });
}

}  // namespace

void bind_metrics(py::module_& m) {
  py::class_<MetricSpec>(m, "Metric", py::is_final())
      .def(py::init([](const std::string& kind, Index k, double threshold) {
             return MetricSpec{kind_named<MetricKind>(kMetricNames, kind, "metrics"), k, threshold};
           }),
           py::arg("kind"), py::arg("k") = 1, py::arg("threshold") = 0.5)
      .def("__call__", value_of, py::arg("name"), py::arg("loss"), py::arg("y"), py::arg("t"),
           py::arg("sample_weight"));
  py::class_<Convergence>(m, "Convergence", py::is_final())
      .def(py::init([](const py::sequence& weights, double tol, double patience, bool of_losses, double constant,
                       double parts, double penalty, bool changes_within, double best, Index waited) {
             const ConvergenceRule rule{tol, patience, of_losses, constant, parts, penalty, changes_within};
             return std::make_unique<Convergence>(rule, squares_of(weights), best, waited);
           }),
           py::arg("weights"), py::kw_only(), py::arg("tol"), py::arg("patience"), py::arg("of_losses"),
           py::arg("constant"), py::arg("parts"), py::arg("penalty"), py::arg("changes_within"), py::arg("best"),
           py::arg("waited"))
      .def("add", &Convergence::add, py::arg("loss"))
      .def("count", &Convergence::count, py::arg("value"))
      .def("forgive", &Convergence::forgive)
      .def(
          "losses",
          [](const Convergence& convergence, std::size_t first) {
            const std::vector<double>& all = convergence.losses();
            return std::vector<double>(all.begin() + static_cast<std::ptrdiff_t>(std::min(first, all.size())),
                                       all.end());
          },
          py::arg("first"))
      .def_property_readonly("best", &Convergence::best)
      .def_property_readonly("waited", &Convergence::waited);
  py::class_<EarlyStopping>(m, "EarlyStopping", py::is_final())
      .def(py::init([](int monitor, Index patience, double min_delta, bool maximize, bool keep_best) {
             return std::make_unique<EarlyStopping>(StoppingRule{monitor, patience, min_delta, maximize, keep_best});
           }),
           py::arg("monitor"), py::arg("patience"), py::arg("min_delta"), py::arg("maximize"), py::arg("keep_best"))
      .def(
          "prepare",
          [](EarlyStopping& stopping, py::handle network) {
            held_by<NetworkHandle>(network, "network").prepare(stopping);
          },
          py::arg("network"))
      .def("restore", &EarlyStopping::restore)
      .def("snapshot", [](EarlyStopping& stopping) { return dict_of(stopping.snapshot()); })
      .def("state", [](const EarlyStopping& stopping) { return dict_of(stopping.state()); })
      .def(
          "resume",
          [](EarlyStopping& stopping, const py::dict& state) { stopping.resume(state_of(state, "early_stopping")); },
          py::arg("state"))
      .def_property_readonly("best", &EarlyStopping::best)
      .def_property_readonly("best_epoch", &EarlyStopping::best_epoch)
      .def_property_readonly("stopped_epoch", &EarlyStopping::stopped_epoch);
}

}  // namespace fastmlp::bindings
