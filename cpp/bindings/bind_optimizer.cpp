// Optimizers. Their two calls of every training step come straight from CPython.
#include "bindings/cpython.h"
#include "bindings/device_arrays.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "core/thread_pool.h"

namespace fastmlp::bindings {

template <class T>
void OptimizerOf<T>::step() {
  for (int slot = 0; slot < optimizer.size(); ++slot) join_streams(optimizer.parameter(slot)->device());
  const ReleaseGilFor release(weights);
  optimizer.step();
}

namespace {

std::shared_ptr<OptimizerHandle> make_optimizer(const std::string& kind,
                                                const std::vector<std::shared_ptr<ParameterHandle>>& handles,
                                                const std::map<std::string, double>& values) {
  if (handles.empty()) throw py::value_error("parameters: expected at least one parameter, got none");
  OptimizerOptions options;
  for (const auto& [name, value] : values) options.set(name, value);
  const auto optimizer = kind_named<OptimizerKind>(kOptimizerNames, kind, "kind");
  return with_dtype(handles[0]->dtype(), [&](auto zero) -> std::shared_ptr<OptimizerHandle> {
    using T = decltype(zero);
    std::vector<std::shared_ptr<Parameter<T>>> parameters;
    for (const auto& handle : handles) parameters.push_back(native<T>(*handle, "parameters"));
    return std::make_shared<OptimizerOf<T>>(optimizer, options, std::move(parameters));
  });
}

PyObject* step(PyObject* self, PyObject*) {
  return guarded([&] {
    held<OptimizerHandle>(self).step();
    return py::none();
  });
}

PyObject* zero_grad(PyObject* self, PyObject*) {
  return guarded([&] {
    held<OptimizerHandle>(self).zero_grad();
    return py::none();
  });
}

PyMethodDef every_step[] = {
    {"step", step, METH_NOARGS, "step($self, /)\n--\n\nChange each parameter that has a gradient."},
    {"zero_grad", zero_grad, METH_NOARGS, "zero_grad($self, /)\n--\n\nForget the gradients."},
    {}};

}  // namespace

void bind_optimizer(py::module_& m) {
  py::class_<OptimizerHandle, std::shared_ptr<OptimizerHandle>>(
      m, "Optimizer", py::custom_type_setup([](PyHeapTypeObject* type) { type->ht_type.tp_methods = every_step; }))
      .def(py::init(&make_optimizer), py::arg("kind"), py::arg("parameters"), py::arg("options"))
      .def("set_option", &OptimizerHandle::set_option, py::arg("name"), py::arg("value"))
      .def_property_readonly("steps", &OptimizerHandle::steps);
}

}  // namespace fastmlp::bindings
