// Optimizers. Their two calls of every training step come straight from CPython.
#include <algorithm>
#include <cmath>

#include "bindings/array_args.h"
#include "bindings/cpython.h"
#include "bindings/device_arrays.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/state.h"
#include "core/thread_pool.h"

namespace fastmlp::bindings {

namespace {

constexpr const char* kInUse = "optimizer: another thread is in a step or fit with it";

}  // namespace

template <class T>
void OptimizerOf<T>::add_group(const py::sequence& objects, const std::map<std::string, double>& values) {
  ParameterGroup<T> group;
  for (const auto& [name, value] : values) group.options.set(name, value);
  for (const ParameterHandle& handle : parameter_handles(objects, "parameters"))
    group.parameters.push_back(native<T>(handle, "parameters"));
  const Owner::Claim writing(owner, kInUse);
  auto all = parameters;
  all.insert(all.end(), group.parameters.begin(), group.parameters.end());
  for (const auto& parameter : group.parameters) join_streams(parameter->device());
  optimizer.add_group(group);
  parameters = std::move(all);
  for (const auto& parameter : group.parameters) weights += parameter->size();
}

template <class T>
void OptimizerOf<T>::plan(std::vector<double> rates, std::vector<double> momenta, Index repeat) {
  const Owner::Claim writing(owner, kInUse);
  optimizer.plan({std::move(rates), std::move(momenta), optimizer.groups(), repeat});
}

template <class T>
Index OptimizerOf<T>::end_plan() {
  const Owner::Claim writing(owner, kInUse);
  return optimizer.end_plan();
}

template <class T>
void OptimizerOf<T>::step() {
  const Owner::Claim stepping(owner, kInUse);
  check_parameters();
  for (const auto& parameter : parameters) join_streams(parameter->device());
  optimizer.prepare();  // what can fail comes first
  if (!ReleaseGilFor::is_worth(weights)) return optimizer.step();
  const UsesGradients<T> users(parameters);
  const WithoutGil release;
  optimizer.step();
}

template <class T>
State OptimizerOf<T>::state() const {
  const Owner::Claim reading(owner, kInUse);
  for (const auto& parameter : parameters) join_streams(parameter->device());
  return optimizer.state();
}

template <class T>
void OptimizerOf<T>::set_state(const State& state) {
  const Owner::Claim writing(owner, kInUse);
  for (const auto& parameter : parameters) join_streams(parameter->device());
  optimizer.set_state(state);
}

template struct OptimizerOf<float>;
template struct OptimizerOf<double>;

namespace {

std::shared_ptr<OptimizerHandle> make_optimizer(const std::string& kind, const std::string& dtype) {
  if (auto other = make_whole_batch(kind, dtype)) return other;
  const auto optimizer = kind_named<OptimizerKind>(kOptimizerNames, kind, "kind");
  return with_dtype(dtype, [&](auto zero) -> std::shared_ptr<OptimizerHandle> {
    return std::make_shared<OptimizerOf<decltype(zero)>>(optimizer);
  });
}

// (lr, momentum) x entries x groups, or rates alone.
using Entries = py::array_t<double, py::array::c_style | py::array::forcecast>;

// What holds now, and then what each step of a schedule but the last one sets.
void plan(OptimizerHandle& optimizer, const Entries& now, const Entries& ahead, Index repeat) {
  const py::ssize_t groups = now.ndim() == 2 ? now.shape(1) : 0, steps = ahead.ndim() == 3 ? ahead.shape(1) : 0;
  const py::ssize_t planes = ahead.ndim() == 3 ? ahead.shape(0) : 0;
  if (groups == 0 || steps == 0 || now.shape(0) != 2 || planes < 1 || planes > 2 || ahead.shape(2) != groups)
    throw py::value_error("ahead: expected an array of 1 or 2 x steps x groups, and one of 2 x groups as now");
  const auto joined = [&](py::ssize_t plane) {
    const double *const first = now.data(plane, 0), *const later = ahead.data(plane, 0, 0);
    std::vector<double> values;
    values.reserve(static_cast<std::size_t>(steps * groups));
    values.assign(first, first + groups);
    values.insert(values.end(), later, later + (steps - 1) * groups);
    return values;
  };
  optimizer.plan(joined(0), planes == 2 ? joined(1) : std::vector<double>(), repeat);
}

PyObject* step(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    OptimizerHandle& optimizer = held<OptimizerHandle>(self);
    py::object loss = py::none();
    if (count == 0 && !names) {
      optimizer.step();
      return loss;
    }
    const auto [closure] = arguments("step", {"closure"}, 0, args, count, names);
    const bool wanted = closure && closure != Py_None;
    if (wanted && !PyCallable_Check(closure))
      throw py::type_error("closure: expected a function, got a value of type " +
                           std::string(Py_TYPE(closure)->tp_name));
    if (wanted) loss = py::handle(closure)();
    optimizer.step();
    return loss;
  });
}

PyObject* zero_grad(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    OptimizerHandle& optimizer = held<OptimizerHandle>(self);
    if (count == 0 && !names) {
      optimizer.zero_grad(true);
      return py::none();
    }
    const auto [set_to_none] = arguments("zero_grad", {"set_to_none"}, 0, args, count, names);
    if (set_to_none && set_to_none != Py_True && set_to_none != Py_False)
      throw py::type_error("set_to_none: expected True or False, got a value of type " +
                           std::string(Py_TYPE(set_to_none)->tp_name));
    optimizer.zero_grad(set_to_none != Py_False);
    return py::none();
  });
}

PyMethodDef every_step[] = {
    fast_method("step", step,
                "step($self, /, closure=None)\n--\n\nChange each parameter that has a gradient.\n\n"
                "`closure`, if given, is called first, and its loss returned, as torch does."),
    fast_method("zero_grad", zero_grad,
                "zero_grad($self, /, set_to_none=True)\n--\n\nForget the gradients, or set them to zero."),
    {}};

}  // namespace

void bind_optimizer(py::module_& m) {
  m.def(
      "state_names",
      [](const std::string& kind) { return state_names(kind_named<OptimizerKind>(kOptimizerNames, kind, "kind")); },
      py::arg("kind"));
  py::class_<OptimizerHandle, std::shared_ptr<OptimizerHandle>>(
      m, "Optimizer", py::custom_type_setup([](PyHeapTypeObject* type) { type->ht_type.tp_methods = every_step; }))
      .def("__reduce__", [](py::handle self) { refuse_pickle(self); })
      .def(py::init(&make_optimizer), py::arg("kind"), py::arg("dtype"))
      .def("_add_group", method(&OptimizerHandle::add_group), py::arg("parameters"), py::arg("options"))
      .def("_set_option", method(&OptimizerHandle::set_option), py::arg("group"), py::arg("name"), py::arg("value"))
      .def(
          "_plan",
          [](py::handle self, const Entries& now, const Entries& ahead, Index repeat) {
            plan(held_by<OptimizerHandle>(self, "self"), now, ahead, repeat);
          },
          py::arg("now"), py::arg("ahead"), py::arg("repeat"))
      .def("_end_plan", method(&OptimizerHandle::end_plan))
      .def("_state", [](py::handle self) { return dict_of(held_by<OptimizerHandle>(self, "self").state()); })
      .def(
          "_set_state",
          [](py::handle self, const py::dict& state) {
            held_by<OptimizerHandle>(self, "self").set_state(state_of(state, "state"));
          },
          py::arg("state"))
      .def_property_readonly("steps", method(&OptimizerHandle::steps));
}

}  // namespace fastmlp::bindings
