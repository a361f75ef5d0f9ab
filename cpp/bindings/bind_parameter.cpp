// Parameters, seen from Python in torch's layout: out x in, a transposed view of the storage, or of a copy of it where
// that lies on a device.
#include "bindings/array_args.h"
#include "bindings/cpython.h"
#include "bindings/device_arrays.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/recorded.h"
#include "bindings/tensor.h"
#include "core/clipping.h"
#include "core/cuda_library.h"

namespace fastmlp::bindings {

namespace {

template <class T>
class ParameterOf final : public ParameterHandle {
 public:
  explicit ParameterOf(const std::vector<Index>& shape)
      : native(std::make_shared<Parameter<T>>(shape.size() == 2 ? shape[1] : 1, shape.empty() ? 1 : shape[0])),
        dimensions_(shape.size()) {}

  std::vector<py::ssize_t> shape() const override {
    if (dimensions_ == 2) return {native->out, native->in};
    return std::vector<py::ssize_t>(dimensions_, native->out);
  }
  std::string dtype() const override { return dtype_name<T>(); }
  const Device& device() const override { return native->device(); }
  std::function<void()> prepare_move(const Device& device) override {
    if (&device == &native->device()) return [] {};
    check_idle("moved");
    if (native->readers > 0 || ReadsMany::count() > 0)
      throw std::runtime_error("parameters: another thread computes with these; they cannot be moved meanwhile");
    join_streams(device.host ? native->device() : device);
    const auto moved = std::make_shared<typename Parameter<T>::Moved>(native->moved_to(device));
    return [this, moved] {
      native->take(std::move(*moved));
      native->count_change();  // what was recorded before cannot run backward any more
      ++moves_;
    };
  }
  Index moves() const override { return moves_; }
  Index reads() const override { return reads_; }
  py::array value() const override {
    ++reads_;
    if (!device().host) return copy([&](T* to) { native->read(to); });
    passes_and_views.begin_view(*native);
    return view(native->value.data(), [](Held* held) { passes_and_views.end_view(held->parameter->watch); });
  }
  py::object grad() const override {
    if (!native->has_grad) return py::none();
    if (!device().host) return copy([&](T* to) { native->read_grad(to); }, tensor_type);
    if (!native->viewed_grad) native->viewed_grad = std::make_shared<Buffer<T>>();
    return view(native->grad.data(), [](Held*) {}, tensor_type);
  }
  void write(const py::object& values) override {
    const std::vector<T> stored = storage_of(values, "values");
    join_streams(device());
    native->write(stored.data());
    changed();
  }
  void set_grad(const py::object& grad) override {
    if (grad.is_none()) {
      native->has_grad = false;
      return;
    }
    const std::vector<T> stored = storage_of(grad, "grad");
    join_streams(device());
    native->has_grad = false;  // views of the one before keep it
    native->write_grad(stored.data());
  }
  bool requires_grad() const override { return native->requires_grad; }
  void set_requires_grad(bool on) override { native->requires_grad = on; }

  void changed() override {
    native->count_change();
    native->watch.viewed_in = 0;
  }
  void abandon() override {
    check_idle("converted");
    native->abandoned = true;
    changed();
  }

  const std::shared_ptr<Parameter<T>> native;

 private:
  // What a view of values or of a gradient keeps alive.
  struct Held {
    std::shared_ptr<Parameter<T>> parameter;
    std::shared_ptr<Buffer<T>> viewed_grad;
  };

  void check_idle(const char* what) const {
    if (native->fits > 0 || native->users > 0)
      throw std::runtime_error(std::string("parameters: these are being trained, and cannot be ") + what +
                               " meanwhile");
  }
  // The values at `data` in the layout of the storage, which the owner keeps alive.
  py::array transposed(T* data, const py::object& owner, PyTypeObject* type) const {
    const auto& numpy = py::detail::npy_api::get();
    const auto sizes = shape();
    constexpr py::ssize_t size = sizeof(T);
    const py::ssize_t strides[] = {size, native->out * size};
    PyObject* array =
        numpy.PyArray_NewFromDescr_(type, py::dtype::of<T>().release().ptr(), static_cast<int>(sizes.size()),
                                    sizes.data(), strides, data, py::detail::npy_api::NPY_ARRAY_WRITEABLE_, nullptr);
    if (!array) throw py::error_already_set();
    const auto result = py::reinterpret_steal<py::array>(array);
    if (numpy.PyArray_SetBaseObject_(array, owner.inc_ref().ptr()) < 0) throw py::error_already_set();
    return result;
  }
  template <class End>
  py::array view(T* data, End, PyTypeObject* type = py::detail::npy_api::get().PyArray_Type_) const {
    const py::capsule owner(new Held{native, native->viewed_grad}, [](void* p) {
      auto* held = static_cast<Held*>(p);
      End()(held);
      delete held;
    });
    return transposed(data, owner, type);
  }
  template <class Read>
  py::array copy(const Read& read, PyTypeObject* type = py::detail::npy_api::get().PyArray_Type_) const {
    join_streams(device());
    const py::object stored = new_array<T>(BatchShape(false, native->in, native->out));
    read(data_of<T>(stored));
    py::array result = transposed(data_of<T>(stored), stored, type);
    py::detail::array_proxy(result.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return result;
  }
  // The values of an array of this shape, in the layout of the storage.
  std::vector<T> storage_of(const py::object& array, const char* name) const {
    const CArray<T> values = shaped_arg<T>(array, name, shape());
    std::vector<T> stored(static_cast<std::size_t>(native->size()));
    for (Index o = 0; o < native->out; ++o)
      for (Index i = 0; i < native->in; ++i)
        stored[static_cast<std::size_t>(i * native->out + o)] = values.data()[o * native->in + i];
    return stored;
  }

  std::size_t dimensions_;
  Index moves_ = 0;
  mutable Index reads_ = 0;
};

std::shared_ptr<ParameterHandle> make_parameter(const std::vector<Index>& shape, const std::string& dtype) {
  if (shape.size() > 2)
    throw py::value_error("shape: expected (out, in), (out,) or (), got " + std::to_string(shape.size()) +
                          " dimensions");
  for (const Index size : shape)
    if (size < 1) throw py::value_error("shape: expected sizes of at least 1, got " + std::to_string(size));
  return with_dtype(dtype, [&](auto zero) -> std::shared_ptr<ParameterHandle> {
    return std::make_shared<ParameterOf<decltype(zero)>>(shape);
  });
}

}  // namespace

ParameterHandles parameter_handles(const py::sequence& objects, const char* name) {
  ParameterHandles handles;
  for (const py::handle object : objects) handles.emplace_back(held_by<ParameterHandle>(object, name));
  return handles;
}

namespace {

double clip(const py::sequence& objects, double max_norm) {
  const ParameterHandles handles = parameter_handles(objects, "parameters");
  if (handles.empty()) return 0;
  const Device& device = handles[0].get().device();
  for (const ParameterHandle& handle : handles)
    if (&handle.device() != &device)
      throw py::value_error(std::string("parameters: expected all on one device, got some on ") + device.name +
                            " and some on " + handle.device().name);
  join_streams(device);
  return with_dtype(handles[0].get().dtype(), [&](auto zero) {
    using T = decltype(zero);
    std::vector<std::shared_ptr<Parameter<T>>> parameters;
    for (const ParameterHandle& handle : handles) parameters.push_back(native<T>(handle, "parameters"));
    const UsesGradients<T> users(parameters);
    const WithoutGil release;
    return clip_grad_norm(parameters, max_norm);
  });
}

}  // namespace

namespace {

// All or none of them.
void move(const std::vector<std::pair<py::object, std::string>>& places) {
  std::vector<std::function<void()>> commits;
  for (const auto& [object, device] : places)
    commits.push_back(held_by<ParameterHandle>(object, "parameters").prepare_move(device_named(device)));
  for (const auto& commit : commits) commit();
}

}  // namespace

const Device& device_named(const std::string& name) {
  if (name == host_device().name) return host_device();
  const Device& cuda = cuda_device();
  if (name != cuda.name) throw py::value_error("device: expected cpu or cuda, got '" + name + "'");
  return cuda;
}

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
  const auto handle_of = [](py::handle p) -> ParameterHandle& { return held_by<ParameterHandle>(p, "self"); };
  py::class_<ParameterHandle, std::shared_ptr<ParameterHandle>>(m, "Parameter", py::is_final())
      .def("__reduce__", [](py::handle self) { refuse_pickle(self); })
      .def(py::init(&make_parameter), py::arg("shape"), py::arg("dtype"))
      .def_property_readonly("shape", [handle_of](py::handle p) { return py::tuple(py::cast(handle_of(p).shape())); })
      .def_property_readonly("dtype", method(&ParameterHandle::dtype))
      .def_property_readonly("device", [handle_of](py::handle p) { return handle_of(p).device().name; })
      .def_property_readonly("moves", method(&ParameterHandle::moves))
      .def_property_readonly("value", method(&ParameterHandle::value))
      .def_property_readonly("reads", method(&ParameterHandle::reads))
      .def("write", method(&ParameterHandle::write), py::arg("values"))
      .def_property_readonly("grad", method(&ParameterHandle::grad))
      .def("set_grad", method(&ParameterHandle::set_grad), py::arg("grad"))
      .def("changed", method(&ParameterHandle::changed))
      .def("abandon", method(&ParameterHandle::abandon))
      .def_property("requires_grad", method(&ParameterHandle::requires_grad),
                    method(&ParameterHandle::set_requires_grad));
  m.def("move", move, py::arg("places"));
  m.def("clip_grad_norm", clip, py::arg("parameters"), py::arg("max_norm"));
}

}  // namespace fastmlp::bindings
