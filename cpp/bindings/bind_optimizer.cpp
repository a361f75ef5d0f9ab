#include "bindings/handles.h"
#include "core/thread_pool.h"

namespace fastmlp::bindings {

template <class T>
void OptimizerOf<T>::step() {
  const py::gil_scoped_release release;
  optimizer.step({thread_pool_executor(), nullptr});
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

}  // namespace

void bind_optimizer(py::module_& m) {
  py::class_<OptimizerHandle, std::shared_ptr<OptimizerHandle>>(m, "Optimizer", py::is_final())
      .def(py::init(&make_optimizer), py::arg("kind"), py::arg("parameters"), py::arg("options"))
      .def("set_option", &OptimizerHandle::set_option, py::arg("name"), py::arg("value"))
      .def("step", &OptimizerHandle::step)
      .def("zero_grad", &OptimizerHandle::zero_grad)
      .def_property_readonly("steps", &OptimizerHandle::steps);
}

}  // namespace fastmlp::bindings
