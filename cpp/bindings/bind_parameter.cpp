// Parameters, seen from Python in torch's layout: out x in, a transposed view of the storage.
#include "bindings/array_args.h"
#include "bindings/handles.h"

namespace fastmlp::bindings {

namespace {

template <class T>
class ParameterOf final : public ParameterHandle {
 public:
  explicit ParameterOf(const std::vector<Index>& shape)
      : native(std::make_shared<Parameter<T>>(shape.size() == 2 ? shape[1] : 1, shape[0])),
        matrix_(shape.size() == 2) {}

  std::vector<py::ssize_t> shape() const override {
    if (matrix_) return {native->out, native->in};
    return {native->out};
  }
  std::string dtype() const override { return dtype_name<T>(); }
  py::array value() const override { return view(native->value.data()); }
  py::object grad() const override {
    if (!native->has_grad) return py::none();
    return view(native->grad.data());
  }
  void set_grad(const py::object& grad) override {
    if (grad.is_none()) {
      native->has_grad = false;
      return;
    }
    const CArray<T> values = shaped_arg<T>(grad, "grad", shape());
    T* out = native->grad_buffer();
    for (Index o = 0; o < native->out; ++o)
      for (Index i = 0; i < native->in; ++i) out[i * native->out + o] = values.data()[o * native->in + i];
    native->has_grad = true;
  }
  bool requires_grad() const override { return native->requires_grad; }
  void set_requires_grad(bool on) override { native->requires_grad = on; }

  const std::shared_ptr<Parameter<T>> native;

 private:
  // A view that keeps the storage alive.
  py::array view(T* data) const {
    const py::capsule owner(new std::shared_ptr<Parameter<T>>(native),
                            [](void* p) { delete static_cast<std::shared_ptr<Parameter<T>>*>(p); });
    constexpr py::ssize_t size = sizeof(T);
    if (!matrix_) return py::array_t<T>({native->out}, {size}, data, owner);
    return py::array_t<T>({native->out, native->in}, {size, native->out * size}, data, owner);
  }

  bool matrix_;
};

std::shared_ptr<ParameterHandle> make_parameter(const std::vector<Index>& shape, const std::string& dtype) {
  if (shape.empty() || shape.size() > 2)
    throw py::value_error("shape: expected (out, in) or (out,), got " + std::to_string(shape.size()) + " dimensions");
  for (const Index size : shape)
    if (size < 1) throw py::value_error("shape: expected sizes of at least 1, got " + std::to_string(size));
  return with_dtype(dtype, [&](auto zero) -> std::shared_ptr<ParameterHandle> {
    return std::make_shared<ParameterOf<decltype(zero)>>(shape);
  });
}

double clip(const std::vector<std::shared_ptr<ParameterHandle>>& handles, double max_norm) {
  if (handles.empty()) return 0;
  return with_dtype(handles[0]->dtype(), [&](auto zero) {
    using T = decltype(zero);
    std::vector<std::shared_ptr<Parameter<T>>> parameters;
    for (const auto& handle : handles) parameters.push_back(native<T>(*handle, "parameters"));
    const py::gil_scoped_release release;
    return clip_grad_norm(parameters, max_norm);
  });
}

}  // namespace

template <class T>
std::shared_ptr<Parameter<T>> native(const ParameterHandle& handle, const char* name) {
  const auto* same = dynamic_cast<const ParameterOf<T>*>(&handle);
  if (!same)
    throw py::type_error(std::string(name) + ": expected parameters of dtype " + dtype_name<T>() + ", got " +
                         handle.dtype());
  return same->native;
}
template std::shared_ptr<Parameter<float>> native<float>(const ParameterHandle&, const char*);
template std::shared_ptr<Parameter<double>> native<double>(const ParameterHandle&, const char*);

void bind_parameter(py::module_& m) {
  py::class_<ParameterHandle, std::shared_ptr<ParameterHandle>>(m, "Parameter", py::is_final())
      .def(py::init(&make_parameter), py::arg("shape"), py::arg("dtype"))
      .def_property_readonly("shape", [](const ParameterHandle& p) { return py::tuple(py::cast(p.shape())); })
      .def_property_readonly("dtype", &ParameterHandle::dtype)
      .def_property_readonly("value", &ParameterHandle::value)
      .def_property_readonly("grad", &ParameterHandle::grad)
      .def("set_grad", &ParameterHandle::set_grad, py::arg("grad"))
      .def_property("requires_grad", &ParameterHandle::requires_grad, &ParameterHandle::set_requires_grad);
  m.def("clip_grad_norm", clip, py::arg("parameters"), py::arg("max_norm"));
}

}  // namespace fastmlp::bindings
