// The native training loop: arguments are checked and converted once, and copied to the network's device once where they do
// not lie there; then it runs without the GIL.
#include <numeric>

#include "bindings/cpython.h"
#include "bindings/exchange.h"
#include "bindings/fit_data.h"
#include "bindings/gil.h"
#include "bindings/network_of.h"
#include "bindings/state.h"

namespace fastmlp::bindings {

namespace {

// The values so far; a fit in another thread may be adding to them. They are copied once: there can be millions.
template <class T>
py::array_t<T> copy_of(py::handle self, std::vector<T> Measured::* values) {
  const History& history = held_by<History>(self, "self");
  const std::size_t size = history.read([&](const Measured& measured) { return (measured.*values).size(); });
  py::array_t<T> copy(static_cast<py::ssize_t>(size));  // which may run Python's garbage collector
  T* const to = copy.mutable_data();
  const bool same = history.read([&](const Measured& measured) {
    if ((measured.*values).size() < size) return false;  // another state has been set meanwhile
    std::copy_n((measured.*values).data(), size, to);
    return true;
  });
  return same ? copy : copy_of(self, values);
}

Runs runs_of(py::handle self, Runs Measured::* values) {
  return held_by<History>(self, "self").read([&](const Measured& measured) { return measured.*values; });
}

py::dict history_state(py::handle self) { return dict_of(held_by<History>(self, "self").state()); }

// The curves by name.
py::dict metrics_of(py::handle self) {
  const auto metrics = held_by<History>(self, "self").read([](const Measured& measured) { return measured.metrics; });
  py::dict curves;
  for (const auto& [name, values] : metrics)
    curves[name.c_str()] = py::array(static_cast<py::ssize_t>(values.size()), values.data());
  return curves;
}

void set_history_state(py::handle self, const py::dict& state) {
  History& history = held_by<History>(self, "self");
  const State checked = state_of(state, "history");
  const Owner::Claim writing(history.owner, "trainer: another thread is in its fit");
  history.set_state(checked);
}

// What comes as (x, t, sample_weight, function).
FitRequest::Data data_of(const py::tuple& data) { return {data[0], data[1], data[2], data[3]}; }

}  // namespace

// Marks the parameters as being trained, and their gradients as in use.
template <class T>
class FitMark {
 public:
  explicit FitMark(const Network<T>& network) : parameters_(network.parameters()), users_(parameters_) {
    renew_gradients();
    for (const auto& parameter : parameters_) ++parameter->fits;
  }
  ~FitMark() {
    for (const auto& parameter : parameters_) --parameter->fits;
  }
  FitMark(const FitMark&) = delete;
  FitMark& operator=(const FitMark&) = delete;

  // Forgets the gradients: those that somebody has kept stay as they are. Needs the GIL.
  void renew_gradients() const {
    for (const auto& parameter : parameters_) {
      parameter->has_grad = false;
      if (parameter->requires_grad) parameter->grad_buffer(1);
    }
  }

 private:
  const typename UsesGradients<T>::Parameters& parameters_;
  const UsesGradients<T> users_;
};

void check_reduction(const LossSpec& spec) {
  if (spec.reduction == Reduction::None)
    throw py::value_error("loss_fn: expected a loss with reduction 'mean' or 'sum' for training, got 'none'");
}

template <class T>
void NetworkOf<T>::fit(const FitRequest& request) {
  auto* optimizer = dynamic_cast<OptimizerOf<T>*>(&request.optimizer);
  if (!optimizer)
    throw py::type_error(std::string("optimizer: expected parameters of the model's dtype ") + dtype_name<T>());
  LossSpec spec = request.loss.spec;  // of the epoch that is under way
  check_reduction(spec);
  const bool comes_in_batches = !request.next_batch.is_none();
  const auto next_batch = [&]() -> std::optional<FitRequest::Data> {
    const py::object batch = request.next_batch();
    if (batch.is_none()) return std::nullopt;
    return data_of(batch);
  };
  const FitRequest::Data first = comes_in_batches ? next_batch().value() : request.training;
  if (spec.kind == LossKind::BCE && first.function.is_none() && !gives_probabilities(*network_))
    throw py::value_error(
        "loss_fn: BCELoss expects outputs from 0 to 1; end the model with Sigmoid, or use BCEWithLogitsLoss");

  const Owner::Claim fitting(request.history.owner, "trainer: another thread is in its fit");
  const Owner::Claim stepping(optimizer->owner, "optimizer: another thread is in a step or fit with it");
  const Device& device = network_->device();
  std::optional<CallerStream> stream;
  for (const FitRequest::Data* data : {&first, &request.validation})
    for (const auto& [object, name] : {std::pair(&data->x, "x"), std::pair(&data->t, "t")})
      if (!stream && takes_device_array(*object)) stream.emplace(device, device_array(*object, name), true);
  join_streams(device);
  // The stream of the last pass has to live until this one has waited for it.
  const py::object previous = last_stream_;
  if (stream) last_stream_ = stream->owner();

  std::optional<FitData<T>> training(std::in_place, device, !comes_in_batches);
  FitData<T> validation(device, device.host);
  const bool validates = !request.validation.x.is_none();
  const DataNames names{"x", kTargetNames};
  take_data(*training, request, first, names);
  WholeBatchMethod<T>* const method = optimizer->method();
  const bool takes_all = method || !request.own_step.is_none();
  if ((comes_in_batches || method) && !staging_) training->fetch();
  if (validates) {
    take_data(validation, request, request.validation,
              {"validation_data x", {"validation_data t", "validation_data sample_weight"}});
    if (validation.set.columns != training->set.columns)
      throw py::value_error("validation_data x has " + std::to_string(validation.set.columns) +
                            " features, but x has " + std::to_string(training->set.columns));
  }

  const auto places = [&] {
    std::vector<const T*> values;
    for (const auto& parameter : network_->parameters()) values.push_back(parameter->value.data());
    return values;
  };
  const std::vector<const T*> start = places();
  std::optional<WithoutGil> released;
  std::optional<FitMark<T>> mark;
  Trainee<T> trainee{*network_, optimizer->optimizer, request.history};
  trainee.early_stopping = request.early_stopping;
  trainee.convergence = request.convergence;
  trainee.method = method;
  std::optional<PythonExchange> exchange;
  if (!request.exchange.is_none()) trainee.exchange = &exchange.emplace(request.exchange, released);
  if (!request.metrics.empty()) trainee.measure = measure(request, validation, released);
  if (exchange && trainee.measure)
    trainee.measure = [&, own = trainee.measure] {
      const T* const weights = validation.t.targets.weights;
      double rows = validation.set.all_shares.value_or(static_cast<double>(validation.set.rows));
      if (weights) rows = std::accumulate(weights, weights + validation.set.rows, 0.0);
      return exchange->metrics(own(), rows);
    };
  for (const auto& [name, metric] : request.metrics) trainee.metrics.push_back(name);
  if (!request.on_epoch.is_none())
    trainee.on_epoch = [&](const EpochResult& result, bool stops) {
      const WithoutGil::Pause acquire(*released);
      const py::object value = result.validation_loss ? py::object(py::float_(*result.validation_loss)) : py::none();
      const bool stop = request.on_epoch(result.epoch, result.loss, value, result.metrics, stops).template cast<bool>();
      if (places() != start)
        throw std::runtime_error(std::string("callbacks: expected the model to stay on ") + device.name +
                                 ", but one has moved it");
      join_streams(device);
      check_reduction(request.loss.spec);
      if (request.loss.spec.kind == spec.kind) spec = request.loss.spec;
      if (!stop) mark->renew_gradients();
      return stop;
    };
  if (!request.own_step.is_none())
    trainee.own_step = [&] {
      const WithoutGil::Pause acquire(*released);
      return request.own_step().template cast<double>();
    };
  const auto poll = [&](Index epoch, double recent_loss) {
    const WithoutGil::Pause acquire(*released);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!request.on_poll.is_none()) request.on_poll(epoch, recent_loss);
  };

  FitOptions options = request.options;
  if (exchange) options.bucket_bytes = request.exchange.attr("bucket_bytes").template cast<Index>();
  if (comes_in_batches || takes_all) options.batch_size = training->set.rows;
  options.batch_size = std::min(options.batch_size, training->set.rows);
  const char* const of_batches = comes_in_batches ? "x: one of the batches" : "batch_size: one of the batches";
  check_rows(std::min(options.batch_size, (training->set.rows - 1) % options.batch_size + 1), true, of_batches);
  if (validates) check_rows(validation.set.rows, false, "validation_data x");

  // The first batch is there already.
  bool begun = false;
  const BatchHook<T> batches = [&]() -> const DataSet<T>* {
    if (!std::exchange(begun, true)) return &training->set;
    const WithoutGil::Pause acquire(*released);
    const std::optional<FitRequest::Data> batch = next_batch();
    if (!batch) return nullptr;
    const Index columns = training->set.columns;
    training.emplace(device, false);
    take_data(*training, request, *batch, names);
    if (training->set.columns != columns)
      throw py::value_error("x: expected batches of " + std::to_string(columns) + " features, as before, got " +
                            std::to_string(training->set.columns));
    check_rows(training->set.rows, true, of_batches);
    join_streams(device);
    if (!staging_) training->fetch();
    if (staging_) training->upload_copies(output_columns(columns));
    training->take_function(batch->function, output_columns(columns), released);
    return &training->set;
  };

  if (!request.on_plan.is_none()) {
    // Of batches that come by and by nobody knows how many there are.
    Index count = (training->set.rows + options.batch_size - 1) / options.batch_size;
    if (exchange) count = request.exchange.attr("batches").template cast<std::optional<Index>>().value_or(0);
    const Index steps = comes_in_batches ? 0 : (count + options.accumulate - 1) / options.accumulate;
    request.on_plan(options.max_epoch, steps);  // before anything changes: a schedule may be too short
    trainee.on_plan = [&, steps](Index epochs_left) {
      const WithoutGil::Pause acquire(*released);
      request.on_plan(epochs_left, steps);
    };
  }
  optimizer->check_parameters();
  if (!request.on_begin.is_none() && request.on_begin().template cast<bool>()) return;
  training->take_function(first.function, output_columns(training->set.columns), released);
  validation.take_function(request.validation.function, output_columns(validation.set.columns), released);
  mark.emplace(*network_);
  released.emplace();
  if (staging_) {
    training->upload_copies(output_columns(training->set.columns));
    if (validates) validation.upload_copies(output_columns(validation.set.columns));
  }
  fastmlp::fit<T>({trainee}, spec, training->set, validates ? &validation.set : nullptr, options, poll,
                  comes_in_batches ? batches : BatchHook<T>());
  check(device.synchronize(StreamScope::current()));  // or the last step's error would be that of a later call
}

template void NetworkOf<float>::fit(const FitRequest&);
template void NetworkOf<double>::fit(const FitRequest&);

void bind_trainer(py::module_& m) {
  py::class_<Runs>(m, "Runs", py::is_final()).def("values", [](const Runs& runs) {
    py::array_t<double> values(static_cast<py::ssize_t>(runs.size()));
    runs.copy(values.mutable_data());
    return values;
  });
  py::class_<History>(m, "History", py::is_final())
      .def(py::init<>())
      .def("state", history_state)
      .def("set_state", set_history_state, py::arg("state"))
      .def(py::init([](const py::dict& state) {
             auto history = std::make_unique<History>();
             history->set_state(state_of(state, "history"));
             return history;
           }),
           py::arg("state"))
      .def("__reduce__",
           [](py::handle self) { return py::make_tuple(py::type::of(self), py::make_tuple(history_state(self))); })
      .def_property_readonly(
          "epochs",
          [](py::handle self) {
            return held_by<History>(self, "self").read([](const Measured& measured) { return measured.loss.size(); });
          })
      .def_property_readonly("loss", [](py::handle self) { return copy_of(self, &Measured::loss); })
      .def_property_readonly("validation_loss",
                             [](py::handle self) { return copy_of(self, &Measured::validation_loss); })
      .def_property_readonly("last_validation_loss",
                             [](py::handle self) {
                               return held_by<History>(self, "self").read([](const Measured& measured) {
                                 const auto& losses = measured.validation_loss;
                                 const bool is_there = !losses.empty() && losses.size() == measured.loss.size();
                                 return is_there ? std::optional(losses.back()) : std::nullopt;
                               });
                             })
      .def_property_readonly("epoch_time", [](py::handle self) { return runs_of(self, &Measured::epoch_time); })
      .def_property_readonly("metrics", metrics_of)
      .def_property_readonly("learning_rate", [](py::handle self) { return runs_of(self, &Measured::learning_rate); })
      .def_property_readonly("report_step", [](py::handle self) { return copy_of(self, &Measured::report_step); })
      .def_property_readonly("report_loss", [](py::handle self) { return copy_of(self, &Measured::report_loss); });
  m.def(
      "fit",
      [](py::handle network, py::handle optimizer, py::handle loss, py::handle history, const py::tuple& data,
         const py::tuple& validation_data, Index max_epoch, Index batch_size, bool shuffle, std::uint64_t seed,
         std::optional<double> max_grad, Index accumulate, Index eval_interval, bool allow_nonfinite,
         bool stop_at_nonfinite, EarlyStopping* early_stopping, Convergence* convergence,
         std::vector<std::pair<std::string, py::object>> metrics, py::object next_batch, py::object own_step,
         py::object on_begin, py::object on_epoch, py::object on_plan, py::object on_poll, py::object exchange) {
        FitRequest request{held_by<OptimizerHandle>(optimizer, "optimizer"),
                           held_by<LossHandle>(loss, "loss"),
                           held_by<History>(history, "history"),
                           data_of(data),
                           data_of(validation_data),
                           FitOptions{},
                           early_stopping,
                           convergence,
                           std::move(metrics),
                           std::move(next_batch),
                           std::move(own_step),
                           std::move(on_begin),
                           std::move(on_epoch),
                           std::move(on_plan),
                           std::move(on_poll),
                           std::move(exchange)};
        request.options = {max_epoch,     batch_size,      shuffle,          seed, max_grad.value_or(0), accumulate,
                           eval_interval, allow_nonfinite, stop_at_nonfinite};
        held_by<NetworkHandle>(network, "network").fit(request);
      },
      py::arg("network"), py::arg("optimizer"), py::arg("loss"), py::arg("history"), py::arg("data"),
      py::arg("validation_data"), py::kw_only(), py::arg("max_epoch"), py::arg("batch_size"), py::arg("shuffle"),
      py::arg("seed"), py::arg("max_grad"), py::arg("accumulate"), py::arg("eval_interval"), py::arg("allow_nonfinite"),
      py::arg("stop_at_nonfinite"), py::arg("early_stopping").none(true), py::arg("convergence").none(true),
      py::arg("metrics"), py::arg("next_batch"), py::arg("own_step"), py::arg("on_begin"), py::arg("on_epoch"),
      py::arg("on_plan"), py::arg("on_poll"), py::arg("exchange") = py::none());
}

}  // namespace fastmlp::bindings
