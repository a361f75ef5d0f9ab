// The native training loop: arguments are checked and converted once, and copied to the network's device once where they do
// not lie there; then it runs without the GIL.
#include <cmath>

#include "bindings/cpython.h"
#include "bindings/gil.h"
#include "bindings/loss_handle.h"
#include "bindings/network_of.h"
#include "bindings/state.h"
#include "core/clipping.h"

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

py::dict history_state(py::handle self) { return dict_of(held_by<History>(self, "self").state()); }

void set_history_state(py::handle self, const py::dict& state) {
  History& history = held_by<History>(self, "self");
  const State checked = state_of(state, "history");
  const Owner::Claim writing(history.owner, "trainer: another thread is in its fit");
  history.set_state(checked);
}

// One of the arrays of a data set, the host's or the network's device's.
struct Source {
  py::object object;
  const char* name;
  bool on_device;
};

}  // namespace

// Checked arrays of a data set, and their places in the network's memory.
template <class T>
struct FitData {
  explicit FitData(const Device& device) : x_copy(device), dense_copy(device), classes_copy(device) {}

  // Brings to the device what came from the host.
  void upload_copies(Index columns) {
    if (set.x == nullptr) set.x = upload(x_copy, x.data(), set.rows * set.columns);
    if (t.targets.dense) set.targets.dense = upload(dense_copy, t.targets.dense, set.rows * columns);
    if (t.targets.classes) set.targets.classes = upload(classes_copy, t.targets.classes, set.rows);
  }

  DataSet<T> set;
  Matrix<T> x;                     // of the host,
  TargetArg<T> t;                  // which keep the data alive,
  DeviceArray device_x, device_t;  // and so do these
  Buffer<T> x_copy, dense_copy;
  Buffer<Index> classes_copy;
};

// Class indices are looked at, for a wrong one would lead beyond the device's memory; other values are not.
template <class T>
Targets<T> NetworkOf<T>::device_targets(const DeviceArray& array, const char* name, LossKind loss, Index rows,
                                        Index columns) const {
  if (!are_classes(array.shape, name, loss, rows, columns, false)) {
    array.require(dtype_name<T>(), name);
    return {static_cast<const T*>(array.data), nullptr};
  }
  array.require("int64", name);
  std::vector<Index> classes(static_cast<std::size_t>(rows));
  check(
      network_->device().download(classes.data(), array.data, classes.size() * sizeof(Index), StreamScope::current()));
  check_classes(classes.data(), rows, name, columns);
  return {nullptr, static_cast<const Index*>(array.data)};
}

// The same as check_finite where the values lie on a device: they are fetched only where their norm says that one is not
// finite, or that it may not be.
template <class T>
void check_finite_there(const Device& device, const T* values, Index rows, Index columns, const char* name) {
  if (std::isfinite(norm(device, values, rows * columns))) return;
  std::vector<T> copy(static_cast<std::size_t>(rows * columns));
  check(device.download(copy.data(), values, copy.size() * sizeof(T), StreamScope::current()));
  check_finite(copy.data(), rows, columns, name);
}

// Data that lie in the memory of the parameters, which training changes, are copied.
template <class T>
void NetworkOf<T>::keep_apart(FitData<T>& data, Index columns) const {
  const auto shared = [&](const T* values, Index size) {
    return std::ranges::any_of(network_->parameters(), [&](const auto& parameter) {
      return overlap(values, static_cast<std::size_t>(size) * sizeof(T), parameter->value.data(),
                     static_cast<std::size_t>(parameter->size()) * sizeof(T));
    });
  };
  const auto copy = [](const T*& values, Index size, Buffer<T>& to) {
    to.reserve(static_cast<std::size_t>(size));
    std::copy_n(values, size, to.data());
    values = to.data();
  };
  const Index x_size = data.set.rows * data.set.columns, t_size = data.set.rows * columns;
  if (shared(data.set.x, x_size)) copy(data.set.x, x_size, data.x_copy);
  if (const T*& dense = data.set.targets.dense; dense && shared(dense, t_size)) copy(dense, t_size, data.dense_copy);
}

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

template <class T>
void NetworkOf<T>::fit(const FitRequest& request) {
  auto* optimizer = dynamic_cast<OptimizerOf<T>*>(&request.optimizer);
  if (!optimizer)
    throw py::type_error(std::string("optimizer: expected parameters of the model's dtype ") + dtype_name<T>());
  LossSpec spec = request.loss;  // of the epoch that is under way
  if (request.loss.kind == LossKind::BCE && !gives_probabilities(*network_))
    throw py::value_error(
        "loss_fn: BCELoss expects outputs from 0 to 1; end the model with Sigmoid, or use BCEWithLogitsLoss");

  const Owner::Claim fitting(request.history.owner, "trainer: another thread is in its fit");
  const Owner::Claim stepping(optimizer->owner, "optimizer: another thread is in a step or fit with it");
  const Device& device = network_->device();
  const auto source = [&](const py::object& object, const char* name) {
    return Source{object, name, takes_device_array(object)};
  };
  const Source sources[] = {source(request.x, "x"), source(request.t, "t"),
                            source(request.validation_x, "validation_data x"),
                            source(request.validation_t, "validation_data t")};
  std::optional<CallerStream> stream;
  for (const Source& s : sources)
    if (s.on_device && !stream) stream.emplace(device, device_array(s.object, s.name), true);
  join_streams(device);
  // The stream of the last pass has to live until this one has waited for it.
  const py::object previous = last_stream_;
  if (stream) last_stream_ = stream->owner();

  const auto data = [&](const Source& x, const Source& t) {
    FitData<T> d(device);
    RowsShape rows;
    if (x.on_device) {
      d.device_x = device_array(x.object, x.name);
      d.device_x.require(dtype_name<T>(), x.name);
      rows = rows_shape(d.device_x.shape, x.name, network_->in_features(), kTakes, flatten_);
      d.set.x = static_cast<const T*>(d.device_x.data);
    } else {
      d.x = input(x.object, x.name);
      rows = d.x;
      if (!staging_) d.set.x = d.x.data();
    }
    if (rows.one_row)
      throw py::value_error(std::string(x.name) + ": expected shape (rows, features), got (" +
                            std::to_string(rows.columns) + ",); for rows of one feature write " + x.name + "[:, None]");
    if (rows.rows == 0) throw py::value_error(std::string(x.name) + ": expected at least one row, got none");
    d.set.rows = rows.rows;
    d.set.columns = rows.columns;
    const Index columns = output_columns(rows.columns);
    if (t.on_device) {
      d.device_t = device_array(t.object, t.name);
      d.set.targets = device_targets(d.device_t, t.name, spec.kind, rows.rows, columns);
    } else {
      d.t = target_arg<T>(t.object, t.name, spec.kind, rows.rows, columns, false, request.options.allow_nonfinite);
      if (!staging_) d.set.targets = d.t.targets;
    }
    if (!request.options.allow_nonfinite) {
      if (x.on_device)
        check_finite_there(device, d.set.x, rows.rows, rows.columns, x.name);
      else
        check_finite(d.x.data(), rows.rows, rows.columns, x.name);
      if (t.on_device && d.set.targets.dense)
        check_finite_there(device, d.set.targets.dense, rows.rows, columns, t.name);
      else if (d.t.targets.dense)
        check_finite(d.t.targets.dense, rows.rows, columns, t.name);
    }
    if (!staging_) keep_apart(d, columns);
    return d;
  };
  FitData<T> training = data(sources[0], sources[1]);
  std::optional<FitData<T>> validation;
  if (!request.validation_x.is_none()) validation = data(sources[2], sources[3]);
  if (validation && validation->set.columns != training.set.columns)
    throw py::value_error("validation_data x has " + std::to_string(validation->set.columns) + " features, but x has " +
                          std::to_string(training.set.columns));

  const auto places = [&] {
    std::vector<const T*> values;
    for (const auto& parameter : network_->parameters()) values.push_back(parameter->value.data());
    return values;
  };
  const std::vector<const T*> start = places();
  std::optional<WithoutGil> released;
  std::optional<FitMark<T>> mark;
  Trainee<T> trainee{*network_, optimizer->optimizer, request.history};
  if (!request.on_epoch.is_none())
    trainee.on_epoch = [&](Index epoch, double loss, const double* validation_loss) {
      const WithoutGil::Pause acquire(*released);
      const py::object value = validation_loss ? py::object(py::float_(*validation_loss)) : py::none();
      const bool stop = request.on_epoch(epoch, loss, value).template cast<bool>();
      if (places() != start)
        throw std::runtime_error(std::string("callbacks: expected the model to stay on ") + device.name +
                                 ", but one has moved it");
      join_streams(device);
      if (request.loss.kind == spec.kind) spec = request.loss;
      if (!stop) mark->renew_gradients();
      return stop;
    };
  const auto poll = [&](Index epoch, double recent_loss) {
    const WithoutGil::Pause acquire(*released);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!request.on_poll.is_none()) request.on_poll(epoch, recent_loss);
  };

  FitOptions options = request.options;
  options.batch_size = std::min(options.batch_size, training.set.rows);
  check_rows(std::min(options.batch_size, (training.set.rows - 1) % options.batch_size + 1), true,
             "batch_size: one of the batches");
  if (validation) check_rows(validation->set.rows, false, "validation_data x");
  optimizer->check_parameters();
  mark.emplace(*network_);
  released.emplace();
  if (staging_) {
    training.upload_copies(output_columns(training.set.columns));
    if (validation) validation->upload_copies(output_columns(validation->set.columns));
  }
  fastmlp::fit<T>({trainee}, spec, training.set, validation ? &validation->set : nullptr, options, poll);
  check(device.synchronize(StreamScope::current()));  // or the last step's error would be that of a later call
}

template void NetworkOf<float>::fit(const FitRequest&);
template void NetworkOf<double>::fit(const FitRequest&);

void bind_trainer(py::module_& m) {
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
      .def_property_readonly("report_step", [](py::handle self) { return copy_of(self, &Measured::report_step); })
      .def_property_readonly("report_loss", [](py::handle self) { return copy_of(self, &Measured::report_loss); });
  m.def(
      "fit",
      [](py::handle network, py::handle optimizer, py::handle loss, py::handle history, py::object x, py::object t,
         Index max_epoch, Index batch_size, bool shuffle, std::uint64_t seed, std::optional<double> max_grad,
         Index eval_interval, bool allow_nonfinite, bool stop_at_nonfinite,
         std::optional<std::pair<py::object, py::object>> validation_data, py::object on_epoch, py::object on_poll) {
        FitRequest request{held_by<OptimizerHandle>(optimizer, "optimizer"),
                           held_by<LossHandle>(loss, "loss").spec,
                           held_by<History>(history, "history"),
                           std::move(x),
                           std::move(t),
                           py::none(),
                           py::none(),
                           FitOptions{},
                           std::move(on_epoch),
                           std::move(on_poll)};
        if (validation_data) std::tie(request.validation_x, request.validation_t) = *validation_data;
        request.options = {max_epoch,     batch_size,      shuffle,          seed, max_grad.value_or(0),
                           eval_interval, allow_nonfinite, stop_at_nonfinite};
        held_by<NetworkHandle>(network, "network").fit(request);
      },
      py::arg("network"), py::arg("optimizer"), py::arg("loss"), py::arg("history"), py::arg("x"), py::arg("t"),
      py::kw_only(), py::arg("max_epoch"), py::arg("batch_size"), py::arg("shuffle"), py::arg("seed"),
      py::arg("max_grad"), py::arg("eval_interval"), py::arg("allow_nonfinite"), py::arg("stop_at_nonfinite"),
      py::arg("validation_data"), py::arg("on_epoch"), py::arg("on_poll"));
}

}  // namespace fastmlp::bindings
