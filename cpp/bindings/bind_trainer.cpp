// The native training loop: arguments are checked and converted once, then it runs without the GIL.
#include "bindings/loss_handle.h"
#include "bindings/network_of.h"

namespace fastmlp::bindings {

namespace {

template <class T>
py::array_t<T> copy_of(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

}  // namespace

template <class T>
void NetworkOf<T>::fit(const FitRequest& request) {
  auto* optimizer = dynamic_cast<OptimizerOf<T>*>(&request.optimizer);
  if (!optimizer)
    throw py::type_error(std::string("optimizer: expected parameters of the model's dtype ") + dtype_name<T>());
  if (request.loss.kind == LossKind::BCE && !gives_probabilities(*network_))
    throw py::value_error(
        "loss_fn: BCELoss expects outputs from 0 to 1; end the model with Sigmoid, or use BCEWithLogitsLoss");

  struct Data {
    Matrix<T> x;
    TargetArg<T> t;
    DataSet<T> set;
  };
  const auto data = [&](const py::object& x, const py::object& t, const char* x_name, const char* t_name) {
    Data d{input(x, x_name), {}, {}};
    if (d.x.one_row)
      throw py::value_error(std::string(x_name) + ": expected shape (rows, features), got " + shape_text(d.x.array));
    d.t = target_arg<T>(t, t_name, request.loss.kind, d.x.rows, output_columns(d.x), d.x.one_row);
    d.set = {d.x.data(), d.t.targets, d.x.rows, d.x.columns};
    return d;
  };
  const Data training = data(request.x, request.t, "x", "t");
  std::optional<Data> validation;
  if (!request.validation_x.is_none())
    validation = data(request.validation_x, request.validation_t, "validation_data x", "validation_data t");
  if (validation && validation->x.columns != training.x.columns)
    throw py::value_error("validation_data x has " + std::to_string(validation->x.columns) + " features, but x has " +
                          std::to_string(training.x.columns));

  FitHooks hooks;
  if (!request.on_epoch.is_none())
    hooks.epoch = [&](Index epoch, double loss, const double* validation_loss) {
      const py::gil_scoped_acquire acquire;
      const py::object value = validation_loss ? py::object(py::float_(*validation_loss)) : py::none();
      return request.on_epoch(epoch, loss, value).template cast<bool>();
    };
  hooks.poll = [&](Index epoch, double recent_loss) {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!request.on_poll.is_none()) request.on_poll(epoch, recent_loss);
  };

  FitOptions options = request.options;
  options.batch_size = std::min(options.batch_size, training.x.rows);
  const py::gil_scoped_release release;
  fastmlp::fit(*network_, optimizer->optimizer, request.loss, training.set, validation ? &validation->set : nullptr,
               options, request.history, hooks);
}

template void NetworkOf<float>::fit(const FitRequest&);
template void NetworkOf<double>::fit(const FitRequest&);

void bind_trainer(py::module_& m) {
  py::class_<History>(m, "History", py::is_final())
      .def(py::init<>())
      .def_property_readonly("epochs", [](const History& h) { return h.loss.size(); })
      .def_property_readonly("loss", [](const History& h) { return copy_of(h.loss); })
      .def_property_readonly("validation_loss", [](const History& h) { return copy_of(h.validation_loss); })
      .def_property_readonly("report_step", [](const History& h) { return copy_of(h.report_step); })
      .def_property_readonly("report_loss", [](const History& h) { return copy_of(h.report_loss); });
  m.def(
      "fit",
      [](NetworkHandle& network, OptimizerHandle& optimizer, const LossHandle& loss, History& history, py::object x,
         py::object t, Index max_epoch, Index batch_size, bool shuffle, std::uint64_t seed,
         std::optional<double> max_grad, Index eval_interval,
         std::optional<std::pair<py::object, py::object>> validation_data, py::object on_epoch, py::object on_poll) {
        FitRequest request{optimizer,  loss.spec,  history,      std::move(x),        std::move(t),
                           py::none(), py::none(), FitOptions{}, std::move(on_epoch), std::move(on_poll)};
        if (validation_data) std::tie(request.validation_x, request.validation_t) = *validation_data;
        request.options = {max_epoch, batch_size, shuffle, seed, max_grad.value_or(0), eval_interval};
        network.fit(request);
      },
      py::arg("network"), py::arg("optimizer"), py::arg("loss"), py::arg("history"), py::arg("x"), py::arg("t"),
      py::kw_only(), py::arg("max_epoch"), py::arg("batch_size"), py::arg("shuffle"), py::arg("seed"),
      py::arg("max_grad"), py::arg("eval_interval"), py::arg("validation_data"), py::arg("on_epoch"),
      py::arg("on_poll"));
}

}  // namespace fastmlp::bindings
