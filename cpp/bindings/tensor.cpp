#include "bindings/tensor.h"

#include "bindings/cpython.h"
#include "bindings/handles.h"

namespace fastmlp::bindings {

PyTypeObject* tensor_type = nullptr;
std::ptrdiff_t origin_offset = 0;

namespace {

thread_local bool is_recording = true;

Leaf* leaf_of(py::handle tensor) {
  Node* node = origin(tensor).node;
  return node && node->kind == Node::Kind::Leaf ? static_cast<Leaf*>(node) : nullptr;
}

void add_to_leaf(Leaf& leaf, py::handle tensor, const py::object& gradient) {
  const py::object own =
      gradient.attr("reshape")(tensor.attr("shape")).attr("astype")(tensor.attr("dtype"), py::arg("copy") = false);
  leaf.grad = leaf.grad.is_none() ? own : leaf.grad + own;
}

void run_backward(py::object tensor, PyObject* grad_output) {
  const Node* node = origin(tensor).node;
  py::object gradient;  // of what `tensor` is; null: nobody wants it
  if (node && node->kind == Node::Kind::Loss) {
    const auto output = py::reinterpret_borrow<py::object>(origin(tensor).source);
    if (!output)
      throw std::runtime_error(
          "backward has run already for this forward pass, which freed what it saved; call the model again");
    gradient =
        static_cast<LossNode*>(origin(tensor).node)->backward(tensor, grad_output, origin(output).source != nullptr);
    // A kept loss does not keep the output.
    const auto source = py::reinterpret_steal<py::object>(std::exchange(origin(tensor).source, nullptr));
    tensor = py::reinterpret_borrow<py::object>(origin(output).source);
  } else if (origin(tensor).tape()) {
    gradient = output_gradient(tensor, grad_output);
  } else {
    throw std::runtime_error(
        "backward: expected the recorded output of a model or loss, got another tensor."
        " NumPy operations (also indexing) and calls under no_grad() are not recorded.");
  }
  while (gradient) {  // through models that were called one after another
    if (Leaf* leaf = leaf_of(tensor)) return add_to_leaf(*leaf, tensor, gradient);
    const Origin at = origin(tensor);
    gradient = at.tape()->backward(gradient, at.source != nullptr);
    tensor = py::reinterpret_borrow<py::object>(at.source);
  }
}

// The type -----------------------------------------------------------------------------------------------------------

void deallocate(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete origin(self).node;
  // A long chain of models is taken apart link by link, not by recursion.
  PyObject* source = origin(self).source;
  while (source && Py_REFCNT(source) == 1) {
    PyObject* next = std::exchange(origin(source).source, nullptr);
    Py_DECREF(source);
    source = next;
  }
  Py_XDECREF(source);
  py::detail::npy_api::get().PyArray_Type_->tp_dealloc(self);
  Py_DECREF(type);
}

// Tensor(data) is a copy, as in torch: not what ndarray's constructor makes of its arguments.
PyObject* construct(PyTypeObject*, PyObject* args, PyObject* options) {
  return guarded([&] {
    const py::object make = py::module_::import("fastmlp.tensor").attr("_construct");
    PyObject* made = PyObject_Call(make.ptr(), args, options);
    if (!made) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(made);
  });
}

PyObject* backward(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    const auto [grad_output] = arguments("backward", {"grad_output"}, 0, args, count, names);
    run_backward(py::reinterpret_borrow<py::object>(self), grad_output);
    return py::none();
  });
}

PyObject* plain_view(PyObject* self, PyObject*) {
  return PyObject_CallMethod(self, "view", "O", py::detail::npy_api::get().PyArray_Type_);
}

PyObject* requires_grad(PyObject* self, void*) { return PyBool_FromLong(origin(self).node != nullptr); }

PyObject* grad(PyObject* self, void*) {
  const Leaf* leaf = leaf_of(self);
  return py::object(leaf ? leaf->grad : py::none()).release().ptr();
}

int set_grad(PyObject* self, PyObject* value, void*) {
  Leaf* leaf = leaf_of(self);
  if (!leaf || !value) {
    PyErr_SetString(PyExc_AttributeError, "grad: only tensor(x, requires_grad=True) keeps a gradient");
    return -1;
  }
  leaf->grad = py::reinterpret_borrow<py::object>(value);
  return 0;
}

constexpr const char* kTensorDoc = R"(A NumPy array that may know how it came about.

The output of a model and of a loss can be differentiated: `backward` fills `.grad` of the
parameters. NumPy operations on a tensor are not recorded; their results are tensors
without a graph.)";

constexpr const char* kBackwardDoc = R"(backward($self, /, grad_output=None)
--

Add the gradients with respect to parameters and tracked inputs to their `.grad`.

The model's input, which is not copied, and its parameters must still be what they were in
the forward pass.

Parameters
----------
grad_output : array_like, optional
    The gradient with respect to this tensor, of its shape. Needed for a model's output,
    and for the values of a loss with ``reduction="none"``, unless there is one element; other
    losses take none.

Raises
------
RuntimeError
    If this tensor is not the recorded output of a model or loss, if its backward pass has
    run already, or if an optimizer has changed the parameters since.)";

constexpr const char* kViewDoc = "($self, /)\n--\n\nA plain array on the same memory.";

PyTypeObject* make_type() {
  static const std::string numpy_doc = std::string("numpy") + kViewDoc, detach_doc = std::string("detach") + kViewDoc;
  static PyMethodDef methods[] = {fast_method("backward", backward, kBackwardDoc),
                                  {"numpy", plain_view, METH_NOARGS, numpy_doc.c_str()},
                                  {"detach", plain_view, METH_NOARGS, detach_doc.c_str()},
                                  {}};
  static PyGetSetDef properties[] = {
      {"requires_grad", requires_grad, nullptr, "Whether `backward` can start, or end, here.", nullptr},
      {"grad", grad, set_grad, "The gradient of an input made by `tensor(x, requires_grad=True)`; else None.", nullptr},
      {}};
  PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>(kTensorDoc)},
                         {Py_tp_new, reinterpret_cast<void*>(construct)},
                         {Py_tp_dealloc, reinterpret_cast<void*>(deallocate)},
                         {Py_tp_methods, methods},
                         {Py_tp_getset, properties},
                         {}};
  PyTypeObject* array = py::detail::npy_api::get().PyArray_Type_;
  origin_offset = array->tp_basicsize;
  PyType_Spec spec{"fastmlp.tensor.Tensor", static_cast<int>(array->tp_basicsize + py::ssize_t{sizeof(Origin)}), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  const py::tuple bases = py::make_tuple(py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(array)));
  PyObject* type = PyType_FromSpecWithBases(&spec, bases.ptr());
  if (!type) throw py::error_already_set();
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

py::object output_gradient(const py::object& tensor, py::handle given) {
  if (given && !given.is_none()) return py::reinterpret_borrow<py::object>(given);
  const auto array = py::reinterpret_borrow<py::array>(tensor);
  if (array.size() != 1)
    throw py::value_error("grad_output: expected an array of shape " + shape_text(array) + ", got none");
  return py::module_::import("numpy").attr("ones")(array.attr("shape"), array.dtype());
}

bool recording() { return is_recording; }

void bind_tensor(py::module_& m) {
  tensor_type = make_type();
  m.attr("Tensor") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(tensor_type));
  m.def(
      "track",
      [](const py::object& tensor) {
        if (!is_tensor(tensor) || origin(tensor).node) throw py::type_error("tensor: expected one without a graph");
        origin(tensor).node = new Leaf;
      },
      py::arg("tensor"));
  m.def("is_leaf", [](py::handle tensor) { return is_tensor(tensor) && leaf_of(tensor); }, py::arg("tensor"));
  m.def("recording", recording);
  m.def("set_recording", [](bool on) { is_recording = on; }, py::arg("on"));
}

}  // namespace fastmlp::bindings
