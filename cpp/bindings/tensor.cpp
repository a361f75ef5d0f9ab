#include "bindings/tensor.h"

#include "bindings/cpython.h"
#include "bindings/handles.h"

namespace fastmlp::bindings {

PyTypeObject* tensor_type = nullptr;
PyTypeObject* array_type = nullptr;
std::ptrdiff_t origin_offset = 0;
PyTypeObject* variable_type = nullptr;  // of Python's fastmlp.arithmetic.tape.Variable

namespace {

thread_local bool is_recording = true;

// Whether torch is not there, or its gradients are on: they are off under its no_grad().
bool torch_records() {
  static PyObject* is_grad_enabled = nullptr;  // guarded by the GIL
  if (!is_grad_enabled) {
    static Py_ssize_t looked_through = 0;  // so many modules, without torch
    const Py_ssize_t modules = PyDict_GET_SIZE(PyImport_GetModuleDict());
    if (modules == looked_through) return true;
    static PyObject* const name = PyUnicode_InternFromString("torch");
    const auto torch = py::reinterpret_steal<py::object>(PyImport_GetModule(name));
    if (!torch) {
      if (PyErr_Occurred()) throw py::error_already_set();
      looked_through = modules;
    }
    if (!torch || !py::hasattr(torch, "is_grad_enabled")) return true;  // or it is being imported
    is_grad_enabled = py::object(torch.attr("is_grad_enabled")).release().ptr();
  }
  // It is written in C, so that the way there can be the shortest: this is in each step of a loop.
  const bool plain = PyCFunction_CheckExact(is_grad_enabled) && PyCFunction_GET_FLAGS(is_grad_enabled) == METH_NOARGS;
  const auto on = py::reinterpret_steal<py::object>(
      plain ? PyCFunction_GET_FUNCTION(is_grad_enabled)(PyCFunction_GET_SELF(is_grad_enabled), nullptr)
            : PyObject_CallNoArgs(is_grad_enabled));
  if (!on) throw py::error_already_set();
  return on.ptr() != Py_False;
}

Leaf* leaf_of(py::handle tensor) {
  Node* node = origin(tensor).node;
  return node && node->kind == Node::Kind::Leaf ? static_cast<Leaf*>(node) : nullptr;
}

void add_to_leaf(Leaf& leaf, py::handle tensor, const py::object& gradient) {
  const py::object own = gradient.attr("reshape")(tensor.attr("shape"))
                             .attr("astype")(tensor.attr("dtype"), py::arg("copy") = false)
                             .attr("view")(py::handle(reinterpret_cast<PyObject*>(tensor_type)));
  leaf.grad = leaf.grad.is_none() ? own : leaf.grad + own;
}

constexpr const char* kFreed =
    "backward has run already for this forward pass, which freed what it saved; call the model again";

bool is_expression(py::handle tensor) {
  const Node* node = origin(tensor).node;
  return node && node->kind == Node::Kind::Expression;
}
LossNode* loss_of(py::handle tensor) {
  Node* node = origin(tensor).node;
  return node && node->kind == Node::Kind::Loss ? static_cast<LossNode*>(node) : nullptr;
}

// The output that a loss is of.
py::object output_of(py::handle loss) {
  auto output = py::reinterpret_borrow<py::object>(origin(loss).source);
  if (!output) throw std::runtime_error(kFreed);
  return output;
}
// A kept loss does not keep the output.
void forget_source(py::handle tensor) {
  const auto source = py::reinterpret_steal<py::object>(std::exchange(origin(tensor).source, nullptr));
}

// Whether there is arithmetic among what a tensor comes from.
bool leads_to_arithmetic(py::handle tensor) {
  for (PyObject* at = tensor.ptr(); at; at = origin(at).source)
    if (is_expression(at)) return true;
  return false;
}

void run_backward(py::object tensor, PyObject* grad_output, bool retain) {
  if (leads_to_arithmetic(tensor)) {
    py::module_::import("fastmlp.arithmetic.tape")
        .attr("backward")(tensor, grad_output ? py::handle(grad_output) : py::none(), retain);
    return;
  }
  py::object gradient;  // of what `tensor` is; null: nobody wants it
  if (LossNode* const loss = loss_of(tensor)) {
    const py::object output = output_of(tensor);
    gradient = loss->backward(tensor, grad_output, origin(output).source != nullptr, retain);
    if (!retain) forget_source(tensor);
    tensor = py::reinterpret_borrow<py::object>(origin(output).source);
  } else if (origin(tensor).node) {
    gradient = output_gradient(tensor, grad_output);
  } else {
    throw std::runtime_error(
        std::string("backward: expected a recorded tensor: a model's output, a loss, or arithmetic with these; got") +
        (origin(tensor).lost ? " what NumPy computed from one, whose functions are not all recorded"
                             : " one that none of these led to, or that was computed under no_grad()"));
  }
  while (gradient) {  // through models that were called one after another
    if (Leaf* leaf = leaf_of(tensor)) return add_to_leaf(*leaf, tensor, gradient);
    const Origin at = origin(tensor);
    gradient = at.tape()->backward(gradient, at.source != nullptr, retain);
    tensor = py::reinterpret_borrow<py::object>(at.source);
  }
}

// For backward passes through arithmetic, which Python drives: what a gradient that goes back meets. ------------------

// A Step of Python's, or a tensor whose node is native; None where no gradient is wanted.
py::object graph_node(py::handle tensor) {
  if (!tensor || !origin(tensor).node) return py::none();
  if (is_expression(tensor)) return static_cast<Expression*>(origin(tensor).node)->step;
  return py::reinterpret_borrow<py::object>(tensor);
}

// The node that a native one's gradient goes on to; RuntimeError where its backward cannot run.
py::object source_node(py::handle tensor) {
  if (loss_of(tensor)) return output_of(tensor);
  if (const Tape* tape = origin(tensor).tape()) tape->check_open();
  return graph_node(origin(tensor).source);
}

// Takes a gradient one native node further: returns that of its source, or None.
py::object send_back(const py::object& tensor, const py::object& gradient, bool retain) {
  py::object result;
  if (Leaf* const leaf = leaf_of(tensor)) {
    add_to_leaf(*leaf, tensor, gradient.attr("copy")());  // others may have the same array
  } else if (LossNode* const loss = loss_of(tensor)) {
    result = loss->output_gradient(tensor, gradient);
    if (!retain) forget_source(tensor);
  } else {
    result = origin(tensor).tape()->backward(gradient, origin(tensor).source != nullptr, retain);
  }
  return result ? result : py::none();
}

// A read-only tensor of an array's values, which `step` tells the origin of. Its node keeps the array, not NumPy's `base`:
// a view of the tensor would pass the tensor over, and nobody could tell where its values come from.
py::object recorded(const py::array& array, const py::object& step) {
  const auto& numpy = py::detail::npy_api::get();
  const auto tensor = py::reinterpret_steal<py::object>(
      numpy.PyArray_NewFromDescr_(tensor_type, array.dtype().release().ptr(), static_cast<int>(array.ndim()),
                                  array.shape(), array.strides(), const_cast<void*>(array.data()), 0, nullptr));
  if (!tensor) throw py::error_already_set();
  origin(tensor) = {new Expression(step, array), nullptr, false};
  return tensor;
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
    if (count == 0 && !names) {  // as nearly always
      run_backward(py::reinterpret_borrow<py::object>(self), nullptr, false);
      return py::none();
    }
    const auto [grad_output, retain_graph, create_graph, gradient] =
        arguments("backward", {"grad_output", "retain_graph", "create_graph", "gradient"}, 0, args, count, names);
    if (grad_output && gradient) throw py::type_error("gradient: expected either this or grad_output, got both");
    if (create_graph && PyObject_IsTrue(create_graph))
      throw py::value_error("create_graph: expected False, for gradients have no graph; see Module.jacobian");
    run_backward(py::reinterpret_borrow<py::object>(self), grad_output ? grad_output : gradient,
                 retain_graph && PyObject_IsTrue(retain_graph));
    return py::none();
  });
}

PyObject* plain_view(PyObject* self, PyObject*) {
  return PyObject_CallMethod(self, "view", "O", py::detail::npy_api::get().PyArray_Type_);
}

// NumPy calls this for each new tensor: `from` is what it is a view of, or was computed from.
int finalize(PyObject* self, PyObject* from) {
  if (!from || !is_tensor(from) || !is_recording) return 0;
  origin(self).lost =
      (origin(from).node || origin(from).lost) && py::reinterpret_borrow<py::array>(self).dtype().kind() == 'f';
  return 0;
}

PyObject* requires_grad(PyObject* self, void*) { return PyBool_FromLong(origin(self).node != nullptr); }

int set_requires_grad(PyObject* self, PyObject* value, void*) {
  Node*& node = origin(self).node;
  if (value != Py_True && value != Py_False) {
    PyErr_SetString(PyExc_TypeError, "requires_grad: expected True or False");
    return -1;
  }
  const bool wanted = value == Py_True;
  if (wanted == (node != nullptr)) return 0;
  if (!wanted && !leaf_of(self)) {
    PyErr_SetString(PyExc_RuntimeError,
                    "requires_grad: expected an input to be tracked, got a recorded output;"
                    " write .detach()");
    return -1;
  }
  const char type = py::reinterpret_borrow<py::array>(self).dtype().char_();
  if (type != 'f' && type != 'd') {
    PyErr_SetString(PyExc_TypeError, "requires_grad: expected a tensor of float32 or float64; write .float()");
    return -1;
  }
  delete std::exchange(node, wanted ? new Leaf : nullptr);
  return 0;
}

PyObject* grad(PyObject* self, void*) {
  if (is_expression(self)) return PyObject_GetAttrString(graph_node(self).ptr(), "grad");
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

The outputs of models, losses, and arithmetic with these and with parameters can be differentiated:
`backward` fills `.grad` of the parameters. See fastmlp.arithmetic for what is recorded; a result
of other NumPy functions has no graph, and a model that it is given to warns.)";

constexpr const char* kBackwardDoc =
    R"(backward($self, /, grad_output=None, retain_graph=False, create_graph=False, *, gradient=None)
--

Add the gradients with respect to parameters and tracked inputs to their `.grad`.

The model's input, which is not copied, and its parameters must still be what they were in
the forward pass.

Parameters
----------
grad_output : array_like, optional
    The gradient with respect to this tensor, of its shape. Needed where that has several elements.
retain_graph : bool
    Whether to keep what another backward pass through the same graph needs.
create_graph : bool
    Here for torch's sake: gradients have no graph.
gradient : array_like, optional
    torch's name of `grad_output`.

Raises
------
RuntimeError
    If this tensor is not recorded, if its backward pass has run already, or if an optimizer has
    changed the parameters since.)";

constexpr const char* kViewDoc = "($self, /)\n--\n\nA plain array on the same memory.";

PyTypeObject* make_type() {
  static const std::string numpy_doc = std::string("numpy") + kViewDoc;
  static PyMethodDef methods[] = {
      fast_method("backward", backward, kBackwardDoc), {"numpy", plain_view, METH_NOARGS, numpy_doc.c_str()}, {}};
  static PyGetSetDef properties[] = {
      {"requires_grad", requires_grad, set_requires_grad, "Whether `backward` can start, or end, here.", nullptr},
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
  const auto hook =
      py::reinterpret_steal<py::object>(PyCapsule_New(reinterpret_cast<void*>(&finalize), nullptr, nullptr));
  if (!hook) throw py::error_already_set();
  py::handle(type).attr("__array_finalize__") = hook;
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

py::object tensor_of_other(py::handle value) {
  if (!is_recording || !variable_type || !PyObject_TypeCheck(value.ptr(), variable_type)) return {};
  return value.attr("clone")();
}

bool is_lost(py::handle values) {
  if (is_tensor(values)) return origin(values).lost && !origin(values).node;
  if (!is_plain_array(values) || !py::detail::array_proxy(values.ptr())->base) return false;
  const auto& numpy = py::detail::npy_api::get();
  for (PyObject* at = py::detail::array_proxy(values.ptr())->base; at && PyObject_TypeCheck(at, numpy.PyArray_Type_);
       at = py::detail::array_proxy(at)->base)
    if (is_tensor(at)) return origin(at).node || origin(at).lost;
  return false;
}

void warn_if_lost(py::handle values, const char* name) {
  if (!is_lost(values)) [[likely]]
    return;
  py::module_::import("fastmlp._checks").attr("warn_of_lost")(name);
}

py::object output_gradient(const py::object& tensor, py::handle given) {
  if (given && !given.is_none()) return py::reinterpret_borrow<py::object>(given);
  const auto array = py::reinterpret_borrow<py::array>(tensor);
  if (array.size() != 1)
    throw py::value_error("grad_output: expected an array of shape " + shape_text(array) + ", got none");
  return py::module_::import("numpy").attr("ones")(array.attr("shape"), array.dtype());
}

bool recording() { return is_recording && torch_records(); }

void bind_tensor(py::module_& m) {
  tensor_type = make_type();
  array_type = reinterpret_cast<PyTypeObject*>(py::detail::npy_api::get().PyArray_Type_);
  m.attr("Tensor") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(tensor_type));
  m.def("is_leaf", [](py::handle tensor) { return is_tensor(tensor) && leaf_of(tensor); }, py::arg("tensor"));
  m.def("graph_node", [](py::handle tensor) { return graph_node(tensor); }, py::arg("tensor"));
  m.def("source_node", [](py::handle tensor) { return source_node(tensor); }, py::arg("tensor"));
  m.def("send_back", send_back, py::arg("tensor"), py::arg("gradient"), py::arg("retain"));
  m.def("recorded", recorded, py::arg("array"), py::arg("step"));
  m.def(
      "set_variable_type",
      [](const py::type& type) { variable_type = reinterpret_cast<PyTypeObject*>(type.inc_ref().ptr()); },
      py::arg("type"));
  m.def("is_lost", is_lost, py::arg("values"));
  m.def("warn_if_lost", warn_if_lost, py::arg("values"), py::arg("name"));
  m.def(
      "set_lost", [](py::handle tensor, bool lost) { origin(tensor).lost = lost; }, py::arg("tensor"), py::arg("lost"));
  m.def("recording", recording);
  m.def("set_recording", [](bool on) { return std::exchange(is_recording, on); }, py::arg("on"));
}

}  // namespace fastmlp::bindings
