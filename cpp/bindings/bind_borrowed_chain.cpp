// Passes of a chain of layers on torch's tensors.
#include "core/borrowed_chain.h"

#include "bindings/cpython.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/torch_tensors.h"

namespace fastmlp::bindings {

namespace {

// A native chain of either dtype.
class ChainHandle {
 public:
  ChainHandle(std::vector<BorrowedLayer> layers, TensorReader tensors)
      : layers_(std::move(layers)), tensors_(std::move(tensors)) {
    for (const BorrowedLayer& layer : layers_) weights_ += (layer.in + 1) * layer.out;
  }
  virtual ~ChainHandle() = default;

  virtual Index workspace_size(Index rows, bool training) const = 0;
  // (x, parameters, workspace, y, training); (dy, x, parameters, workspace, dx, gradients). False, with nothing done,
  // where a tensor is not as the layers want it.
  bool forward(PyObject* const* args) const {
    Given given{*this};
    const auto values = given.of_layers(args[1], false);
    void* const x = given.rows_of(args[0]);
    if (!given.fit) return false;
    const bool training = args[4] == Py_True;
    void *const workspace = given.memory(args[2], workspace_size(given.rows, training)), *const y = given.memory(
                                                                                             args[3],
                                                                                             given.rows *
                                                                                                 layers_.back().out);
    if (!given.fit) return false;
    const ReleaseGilFor released(given.rows * weights_);
    run_forward(x, given.rows, values.data(), training, workspace, y);
    return true;
  }
  bool backward(PyObject* const* args) const {
    Given given{*this};
    const auto values = given.of_layers(args[2], false), gradients = given.of_layers(args[5], true);
    void* const x = given.rows_of(args[1]);
    if (!given.fit) return false;
    void *const dy = given.memory(args[0], given.rows * layers_.back().out),
                *const workspace = given.memory(args[3], workspace_size(given.rows, true)),
                *const dx = args[4] == Py_None ? nullptr : given.memory(args[4], given.rows * layers_.front().in);
    if (!given.fit) return false;
    const ReleaseGilFor released(2 * given.rows * weights_);
    run_backward(dy, x, given.rows, values.data(), workspace, dx, gradients.data());
    return true;
  }

 private:
  virtual void run_forward(const void* x, Index rows, const BorrowedMemory* values, bool training, void* workspace,
                           void* y) const = 0;
  virtual void run_backward(const void* dy, const void* x, Index rows, const BorrowedMemory* values, void* workspace,
                            void* dx, const BorrowedMemory* gradients) const = 0;

  // The tensors of one call.
  struct Given {
    const ChainHandle& chain;
    bool fit = true;  // all so far
    Index rows = 0;

    // Of so many values; of so many rows, where that is not 0.
    void* memory(PyObject* tensor, Index size, Index first = 0) {
      const TensorView view = chain.tensors_.read(tensor);
      fit = fit && view.data && view.size == size && (first == 0 || view.first == first);
      return view.data;
    }
    void* rows_of(PyObject* x) {
      const TensorView view = chain.tensors_.read(x);
      rows = view.size / chain.layers_.front().in;
      fit = fit && view.data && rows > 0 && view.size == rows * chain.layers_.front().in;
      return view.data;
    }
    // Of each layer its weight and, where it has one, its bias, from a tuple of all of them.
    std::vector<BorrowedMemory> of_layers(PyObject* tuple, bool optional) {
      std::vector<BorrowedMemory> found(chain.layers_.size());
      const Py_ssize_t count = PyTuple_Check(tuple) ? PyTuple_GET_SIZE(tuple) : 0;
      Py_ssize_t next = 0;
      const auto take = [&](Index size, Index first) -> void* {
        PyObject* const tensor = next < count ? PyTuple_GET_ITEM(tuple, next) : nullptr;
        ++next;
        if (tensor && !(optional && tensor == Py_None)) return memory(tensor, size, first);
        fit = fit && tensor;
        return nullptr;
      };
      for (std::size_t i = 0; i < found.size(); ++i) {
        const BorrowedLayer& layer = chain.layers_[i];
        found[i].weight = take(layer.in * layer.out, layer.out);
        if (layer.has_bias) found[i].bias = take(layer.out, layer.out);
      }
      fit = fit && next == count;
      return found;
    }
  };

  const std::vector<BorrowedLayer> layers_;
  const TensorReader tensors_;
  Index weights_ = 0;
};

template <class T>
class ChainOf final : public ChainHandle {
 public:
  ChainOf(const std::vector<BorrowedLayer>& layers, TensorReader tensors)
      : ChainHandle(layers, std::move(tensors)), chain_(layers) {}

  Index workspace_size(Index rows, bool training) const override { return chain_.workspace_size(rows, training); }

 private:
  static T* of(void* memory) { return static_cast<T*>(memory); }
  static const T* of(const void* memory) { return static_cast<const T*>(memory); }

  void run_forward(const void* x, Index rows, const BorrowedMemory* values, bool training, void* workspace,
                   void* y) const override {
    chain_.forward(of(x), rows, values, training, of(workspace), of(y));
  }
  void run_backward(const void* dy, const void* x, Index rows, const BorrowedMemory* values, void* workspace, void* dx,
                    const BorrowedMemory* gradients) const override {
    chain_.backward(of(dy), of(x), rows, values, of(workspace), of(dx), gradients);
  }

  const BorrowedChain<T> chain_;
};

// layers: (in, out, bias, activation, alpha, beta)
std::shared_ptr<ChainHandle> make_chain(const py::list& specs, const std::string& dtype, const py::object& torch) {
  std::vector<BorrowedLayer> layers;
  for (const py::handle spec : specs) {
    const py::object item[] = {spec[py::int_(0)], spec[py::int_(1)], spec[py::int_(2)],
                               spec[py::int_(3)], spec[py::int_(4)], spec[py::int_(5)]};
    const Index in = item[0].cast<Index>(), out = item[1].cast<Index>();
    if (in < 1 || out < 1 || (!layers.empty() && layers.back().out != in))
      throw py::value_error("layers: expected widths that fit together");
    const auto kind = kind_named<ActivationKind>(kActivationNames, item[3].cast<std::string>(), "activation");
    layers.push_back({in, out, item[2].cast<bool>(), {kind, item[4].cast<double>(), item[5].cast<double>()}});
  }
  if (layers.empty()) throw py::value_error("layers: expected at least one");
  return with_dtype(dtype, [&](auto zero) -> std::shared_ptr<ChainHandle> {
    using T = decltype(zero);
    return std::make_shared<ChainOf<T>>(layers,
                                        TensorReader(torch, torch.attr(dtype.c_str()), sizeof(T) == sizeof(double)));
  });
}

template <bool (ChainHandle::*pass)(PyObject* const*) const, Py_ssize_t wanted>
PyObject* run(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    if (count != wanted || names) throw py::type_error("expected " + std::to_string(wanted) + " arguments");
    return py::bool_((held<ChainHandle>(self).*pass)(args));
  });
}

PyMethodDef passes[] = {fast_method("forward", run<&ChainHandle::forward, 5>, "Fill y, and the workspace."),
                        fast_method("backward", run<&ChainHandle::backward, 6>, "Fill the gradients."),
                        {}};

}  // namespace

void bind_borrowed_chain(py::module_& m) {
  py::class_<ChainHandle, std::shared_ptr<ChainHandle>>(
      m, "BorrowedChain", py::is_final(),
      py::custom_type_setup([](PyHeapTypeObject* type) { type->ht_type.tp_methods = passes; }))
      .def("__reduce__", [](py::handle self) { refuse_pickle(self); })
      .def(py::init(&make_chain), py::arg("layers"), py::arg("dtype"), py::arg("torch"))
      .def("workspace_size", method(&ChainHandle::workspace_size), py::arg("rows"), py::arg("training"));
}

}  // namespace fastmlp::bindings
