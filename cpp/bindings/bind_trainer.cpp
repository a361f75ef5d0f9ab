// The native training loop, what it is asked for, and what it has measured.
#include <algorithm>
#include <cmath>
#include <optional>

#include "bindings/cpython.h"
#include "bindings/handles.h"
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

// The same of what can be looked at later.
template <class Curve>
Curve curve_of(py::handle self, Curve Measured::* values) {
  return held_by<History>(self, "self").read([&](const Measured& measured) { return measured.*values; });
}

py::array_t<double> array_of(const Numbers& numbers, std::size_t first) {
  const std::size_t begin = std::min(first, numbers.size());
  return py::array_t<double>(static_cast<py::ssize_t>(numbers.size() - begin), numbers.data() + begin);
}

// The number of the first one from there on that is infinite or NaN.
std::optional<std::size_t> first_nonfinite(const Numbers& numbers, std::size_t first) {
  for (std::size_t i = first; i < numbers.size(); ++i)
    if (!std::isfinite(numbers.data()[i])) return i;
  return std::nullopt;
}

py::dict history_state(py::handle self) { return dict_of(held_by<History>(self, "self").state()); }

// The curves by name.
py::dict metrics_of(py::handle self) {
  const auto metrics = held_by<History>(self, "self").read([](const Measured& measured) { return measured.metrics; });
  py::dict curves;
  for (const auto& [name, values] : metrics) curves[name.c_str()] = array_of(values, 0);
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

// From the arguments by name.
FitRequest request_of(const py::dict& given) {
  const auto get = [&](const char* name) { return py::object(given[name]); };
  FitRequest request{held_by<NetworkHandle>(get("network"), "network"),
                     held_by<OptimizerHandle>(get("optimizer"), "optimizer"),
                     held_by<LossHandle>(get("loss"), "loss"),
                     held_by<History>(get("history"), "history"),
                     data_of(get("data")),
                     data_of(get("validation_data")),
                     FitOptions{},
                     get("early_stopping").cast<EarlyStopping*>(),
                     get("convergence").cast<Convergence*>(),
                     get("metrics").cast<std::vector<std::pair<std::string, py::object>>>(),
                     get("next_batch"),
                     get("own_step"),
                     get("on_begin"),
                     get("on_epoch"),
                     get("on_plan"),
                     get("on_poll"),
                     get("exchange")};
  FitOptions& options = request.options;
  options.max_epoch = get("max_epoch").cast<Index>();
  options.batch_size = get("batch_size").cast<Index>();
  options.shuffle = get("shuffle").cast<bool>();
  options.seed = get("seed").cast<std::uint64_t>();
  options.max_grad = get("max_grad").cast<std::optional<double>>().value_or(0);
  options.accumulate = get("accumulate").cast<Index>();
  options.eval_interval = get("eval_interval").cast<Index>();
  options.allow_nonfinite = get("allow_nonfinite").cast<bool>();
  options.stop_at_nonfinite = get("stop_at_nonfinite").cast<bool>();
  return request;
}

}  // namespace

void bind_trainer(py::module_& m) {
  py::class_<Numbers>(m, "Numbers", py::is_final())
      .def("__len__", &Numbers::size)
      .def("values", array_of, py::arg("first") = 0)
      .def("first_nonfinite", first_nonfinite, py::arg("first"));
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
      .def_property_readonly("loss", [](py::handle self) { return curve_of(self, &Measured::loss); })
      .def_property_readonly("validation_loss",
                             [](py::handle self) { return curve_of(self, &Measured::validation_loss); })
      .def_property_readonly("last_validation_loss",
                             [](py::handle self) {
                               return held_by<History>(self, "self").read([](const Measured& measured) {
                                 const auto& losses = measured.validation_loss;
                                 const bool is_there = !losses.empty() && losses.size() == measured.loss.size();
                                 return is_there ? std::optional(losses.back()) : std::nullopt;
                               });
                             })
      .def_property_readonly("epoch_time", [](py::handle self) { return curve_of(self, &Measured::epoch_time); })
      .def_property_readonly("metrics", metrics_of)
      .def_property_readonly("learning_rate", [](py::handle self) { return curve_of(self, &Measured::learning_rate); })
      .def_property_readonly("report_step", [](py::handle self) { return copy_of(self, &Measured::report_step); })
      .def_property_readonly("report_loss", [](py::handle self) { return copy_of(self, &Measured::report_loss); });
  m.def(
      "fit",
      [](const py::list& given) {
        std::vector<FitRequest> requests;
        for (const py::handle one : given) requests.push_back(request_of(py::reinterpret_borrow<py::dict>(one)));
        if (requests.empty()) throw py::value_error("requests: expected at least one, got none");
        requests[0].network.fit(requests);
      },
      py::arg("requests"));
}

}  // namespace fastmlp::bindings
