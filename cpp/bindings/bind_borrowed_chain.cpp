// Passes of a chain of layers on torch's tensors, which are known by their methods alone: nothing of torch is linked.
#include "core/borrowed_chain.h"

#include "bindings/cpython.h"
#include "bindings/gil.h"
#include "bindings/handles.h"

namespace fastmlp::bindings {

namespace {

// (in, out, bias, activation, alpha, beta)
using LayerSpec = std::tuple<Index, Index, bool, std::string, double, double>;

class ChainHandle {
 public:
  explicit ChainHandle(py::object dtype) : dtype_(std::move(dtype)) {}
  virtual ~ChainHandle() = default;
  virtual Index workspace_size(Index rows, bool training) const = 0;
  // False, with nothing done, where a tensor is not as the layers want it.
  virtual bool forward(PyObject* x, PyObject* parameters, PyObject* workspace, PyObject* y, bool training) const = 0;
  virtual bool backward(PyObject* dy, PyObject* x, PyObject* parameters, PyObject* workspace, PyObject* dx,
                        PyObject* gradients) const = 0;

 protected:
  const py::object dtype_;  // torch's
};

PyObject* interned(const char* text) {
  PyObject* name = PyUnicode_InternFromString(text);
  if (!name) throw py::error_already_set();
  return name;
}
py::object checked(PyObject* result) {
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}
py::object attribute(PyObject* tensor, PyObject* name) { return checked(PyObject_GetAttr(tensor, name)); }
py::object call(PyObject* tensor, PyObject* name) { return checked(PyObject_CallMethodNoArgs(tensor, name)); }
py::ssize_t number(const py::object& object) {
  const py::ssize_t value = PyLong_AsSsize_t(object.ptr());
  if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
  return value;
}
Index size_of(PyObject* tensor) {
  static PyObject* const numel = interned("numel");
  return number(call(tensor, numel));
}
Index length_of(PyObject* tensor) {
  const Py_ssize_t length = PyObject_Size(tensor);
  if (length < 0) throw py::error_already_set();
  return length;
}

template <class T>
class ChainOf final : public ChainHandle {
 public:
  ChainOf(std::vector<typename BorrowedChain<T>::Layer> layers, py::object dtype)
      : ChainHandle(std::move(dtype)), chain_(std::move(layers)) {}

  Index workspace_size(Index rows, bool training) const override { return chain_.workspace_size(rows, training); }

  bool forward(PyObject* x, PyObject* parameters, PyObject* workspace, PyObject* y, bool training) const override {
    Tensors tensors{*this};
    const auto values = tensors.template of_layers<typename BorrowedChain<T>::Values>(parameters, false);
    const Index rows = size_of(x) / chain_.in_features();
    const T* const input = tensors.memory(x, rows * chain_.in_features());
    T *const space = tensors.memory(workspace, chain_.workspace_size(rows, training)), *const output = tensors.memory(
                                                                                           y,
                                                                                           rows *
                                                                                               chain_.out_features());
    if (!tensors.fit) return false;
    const ReleaseGilFor released(rows * chain_.weights());
    chain_.forward(input, rows, values.data(), training, space, output);
    return true;
  }

  bool backward(PyObject* dy, PyObject* x, PyObject* parameters, PyObject* workspace, PyObject* dx,
                PyObject* gradients) const override {
    Tensors tensors{*this};
    const auto values = tensors.template of_layers<typename BorrowedChain<T>::Values>(parameters, false);
    const auto wanted = tensors.template of_layers<typename BorrowedChain<T>::Gradients>(gradients, true);
    const Index rows = size_of(x) / chain_.in_features();
    const T *const input = tensors.memory(x, rows * chain_.in_features()), *const output_gradient = tensors.memory(
                                                                               dy, rows * chain_.out_features());
    T *const space = tensors.memory(workspace, chain_.workspace_size(rows, true)),
             *const input_gradient = dx == Py_None ? nullptr : tensors.memory(dx, rows * chain_.in_features());
    if (!tensors.fit) return false;
    const ReleaseGilFor released(2 * rows * chain_.weights());
    chain_.backward(output_gradient, input, rows, values.data(), space, input_gradient, wanted.data());
    return true;
  }

 private:
  // The tensors of one call.
  struct Tensors {
    const ChainOf& chain;
    bool fit = true;  // all so far

    // Of a tensor of the dtype with so many values, one after the other, in the host's memory; `first`, unless 0: of that length.
    T* memory(PyObject* tensor, Index size, Index first = 0) {
      static PyObject *const data_ptr = interned("data_ptr"), *const is_contiguous = interned("is_contiguous"),
                             *const is_cpu = interned("is_cpu"), *const dtype = interned("dtype");
      fit = fit && tensor != Py_None && attribute(tensor, dtype).ptr() == chain.dtype_.ptr() &&
            attribute(tensor, is_cpu).ptr() == Py_True && size_of(tensor) == size &&
            call(tensor, is_contiguous).ptr() == Py_True && (first == 0 || length_of(tensor) == first);
      if (!fit) return nullptr;
      T* const data = reinterpret_cast<T*>(number(call(tensor, data_ptr)));
      fit = data != nullptr;  // a tensor that only stands for another one has none
      return data;
    }
    // Of each layer its weight and, where it has one, its bias, from a tuple of all of them.
    template <class Memory>
    std::vector<Memory> of_layers(PyObject* tuple, bool optional) {
      std::vector<Memory> found(chain.chain_.layers().size());
      if (!PyTuple_Check(tuple)) throw py::type_error("expected a tuple of tensors");
      const Py_ssize_t count = PyTuple_GET_SIZE(tuple);
      Py_ssize_t next = 0;
      const auto take = [&](Index size, Index first) -> T* {
        if (next == count) throw py::value_error("expected a tensor for each parameter");
        PyObject* const tensor = PyTuple_GET_ITEM(tuple, next++);
        return optional && tensor == Py_None ? nullptr : memory(tensor, size, first);
      };
      for (std::size_t i = 0; i < found.size(); ++i) {
        const auto& layer = chain.chain_.layers()[i];
        found[i].weight = take(layer.in * layer.out, layer.out);
        if (layer.has_bias) found[i].bias = take(layer.out, layer.out);
      }
      if (next != count) throw py::value_error("expected a tensor for each parameter");
      return found;
    }
  };

  const BorrowedChain<T> chain_;
};

std::shared_ptr<ChainHandle> make_chain(const std::vector<LayerSpec>& specs, const std::string& dtype,
                                        const py::object& torch_dtype) {
  if (specs.empty()) throw py::value_error("layers: expected at least one");
  return with_dtype(dtype, [&](auto zero) -> std::shared_ptr<ChainHandle> {
    using T = decltype(zero);
    std::vector<typename BorrowedChain<T>::Layer> layers;
    for (const auto& [in, out, bias, name, alpha, beta] : specs) {
      if (in < 1 || out < 1 || (!layers.empty() && layers.back().out != in))
        throw py::value_error("layers: expected widths that fit together");
      layers.push_back(
          {in, out, bias, {kind_named<ActivationKind>(kActivationNames, name, "activation"), alpha, beta}});
    }
    return std::make_shared<ChainOf<T>>(std::move(layers), torch_dtype);
  });
}

constexpr const char* kForwardNames[] = {"x", "parameters", "workspace", "y", "training"};
PyObject* forward(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    const auto [x, parameters, workspace, y, training] = arguments("forward", kForwardNames, 5, args, count, names);
    return py::bool_(held<ChainHandle>(self).forward(x, parameters, workspace, y, training == Py_True));
  });
}

constexpr const char* kBackwardNames[] = {"dy", "x", "parameters", "workspace", "dx", "gradients"};
PyObject* backward(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    const auto [dy, x, parameters, workspace, dx, gradients] =
        arguments("backward", kBackwardNames, 6, args, count, names);
    return py::bool_(held<ChainHandle>(self).backward(dy, x, parameters, workspace, dx, gradients));
  });
}

PyMethodDef passes[] = {
    fast_method("forward", forward,
                "Fill y, and the workspace for `backward`; False where a tensor is of another kind."),
    fast_method("backward", backward, "Fill dx and the gradients that are not None; False as in `forward`."),
    {}};

}  // namespace

void bind_borrowed_chain(py::module_& m) {
  py::class_<ChainHandle, std::shared_ptr<ChainHandle>>(
      m, "BorrowedChain", py::is_final(),
      py::custom_type_setup([](PyHeapTypeObject* type) { type->ht_type.tp_methods = passes; }))
      .def("__reduce__", [](py::handle self) { refuse_pickle(self); })
      .def(py::init(&make_chain), py::arg("layers"), py::arg("dtype"), py::arg("torch_dtype"))
      .def("workspace_size", method(&ChainHandle::workspace_size), py::arg("rows"), py::arg("training"));
}

}  // namespace fastmlp::bindings
