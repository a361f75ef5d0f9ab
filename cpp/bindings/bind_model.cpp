// The native base of fastmlp.Module: calls and predictions go from CPython straight to the compiled network.
//
// Python traces and compiles (Module._compiled). This class remembers the network, and the number of the module
// structure that it stands for: the count of changes to any module at all.
#include "bindings/model.h"
#include "bindings/tensor.h"

namespace fastmlp::bindings {

std::int64_t structure = 1;

namespace {

std::int64_t hooks = 0;  // of all modules; without any, nobody has to look for them. Guarded by the GIL

struct Model {
  PyObject_HEAD PyObject* network;  // a Network; null before the first call
  NetworkHandle* handle;            // what it holds
  std::int64_t structure;
  bool dropout, by_rows, squeeze;  // see Plan
};

Model& model_of(PyObject* self) { return *reinterpret_cast<Model*>(self); }

PyTypeObject* symbolic_type = nullptr;

}  // namespace

Compiled compiled(PyObject* self, py::handle x, const char* compile) {
  Model& model = model_of(self);
  if (model.structure != structure) {
    const py::object plan = py::handle(self).attr(compile)(x);
    if (plan.is_none()) return {plan, nullptr, false, false, false};
    const py::object network = plan.attr("network");
    model.by_rows = plan.attr("by_rows").cast<bool>();
    model.squeeze = plan.attr("squeeze").cast<bool>();
    // Without parameters, the data decides on the dtype; and forward may have asked for its shape, or read globals.
    if (network.is_none() || plan.attr("by_call").cast<bool>()) {
      const py::object own = plan.attr("network_for")(x);
      model.dropout = plan.attr("dropout").cast<bool>();
      return {own, &held_by<NetworkHandle>(own, "network"), !network.is_none(), model.squeeze, false};
    }
    const py::object previous =
        py::reinterpret_steal<py::object>(std::exchange(model.network, network.inc_ref().ptr()));
    model.handle = &held_by<NetworkHandle>(network, "network");
    model.dropout = plan.attr("dropout").cast<bool>();
    model.structure = plan.attr("structure").cast<std::int64_t>();
  }
  return {py::reinterpret_borrow<py::object>(model.network), model.handle, true, model.squeeze, true};
}

namespace {

// Whether it has more than two dimensions: rows of features, in which further ones are to be kept.
bool has_more_dimensions(py::handle x) {
  if (is_plain_array(x) || is_tensor(x) || py::isinstance<py::array>(x))
    return py::detail::array_proxy(x.ptr())->nd > 2;
  return py::hasattr(x, "ndim") && x.attr("ndim").cast<int>() > 2;
}

// What `run` makes of the rows of x, in the dimensions of x; reshape() is recorded.
template <class Run>
py::object by_rows(py::handle x, const Run& run) {
  const py::tuple shape(x.attr("shape"));
  const std::size_t last = shape.size() - 1;
  py::ssize_t rows = 1;
  for (std::size_t i = 0; i < last; ++i) rows *= shape[i].cast<py::ssize_t>();
  const py::object y = run(x.attr("reshape")(py::make_tuple(rows, shape[last])), rows);
  py::tuple wanted(last + 1);
  for (std::size_t i = 0; i < last; ++i) wanted[i] = shape[i];
  wanted[last] = py::tuple(y.attr("shape"))[1];
  return y.attr("reshape")(wanted);
}

}  // namespace

py::object squeezed(py::handle y) { return y.attr("__getitem__")(py::make_tuple(py::ellipsis(), 0)); }

namespace {

py::object unsqueezed(py::handle y) { return y.attr("__getitem__")(py::make_tuple(py::ellipsis(), py::none())); }

py::object call_model(PyObject* self, PyObject* x) {
  if (PyObject_TypeCheck(x, symbolic_type)) return py::handle(self).attr("forward")(py::handle(x));
  const py::object tensor = tensor_of_variable(x);
  if (tensor) x = tensor.ptr();
  if (hooks && py::handle(self).attr("_is_hooked")().cast<bool>())
    return py::handle(self).attr("_call_hooked")(py::handle(x));
  const Compiled with = compiled(self, x, "_compiled_for_call");
  if (!with.handle) return py::handle(self).attr("_run")(py::handle(x));  // forward, as it stands
  if (model_of(self).by_rows && has_more_dimensions(x))
    return by_rows(x, [self](const py::object& rows, py::ssize_t) { return call_model(self, rows.ptr()); });
  std::optional<DropoutState> dropout;
  if (model_of(self).dropout) dropout = {py::handle(self).attr("_draw_seed")().cast<std::uint64_t>(), 0};
  const DropoutState* state = dropout ? &*dropout : nullptr;
  const bool squeeze = with.squeeze;
  const bool differentiable = with.has_parameters || (is_tensor(x) && origin(x).node);
  if (recording() && differentiable) {
    warn_if_lost(x, "x");
    const py::object y = with.handle->forward(x, state);
    return squeeze ? squeezed(y) : y;
  }
  const py::object y = with.handle->predict(x, {}, state, tensor_type);
  return squeeze ? squeezed(y) : y;
}

py::object predict_model(PyObject* self, py::handle x, py::handle out) {
  const Compiled with = compiled(self, x);
  const bool squeeze = with.squeeze;
  if (model_of(self).by_rows && has_more_dimensions(x))
    return by_rows(x, [&](const py::object& rows, py::ssize_t count) -> py::object {
      if (!out) return predict_model(self, rows, out);
      if (!py::isinstance<py::array>(out) || !(py::reinterpret_borrow<py::array>(out).flags() & py::array::c_style))
        throw py::value_error("out: expected a C-contiguous NumPy array for inputs of more than two dimensions");
      const py::tuple shape(out.attr("shape"));
      const py::tuple given(x.attr("shape"));
      if (shape.size() != given.size() || !shape[py::slice(0, -1, 1)].equal(given[py::slice(0, -1, 1)]))
        throw py::value_error("out: expected the shape of x but for its last dimension, got " +
                              py::str(shape).cast<std::string>());
      return predict_model(self, rows, out.attr("reshape")(py::make_tuple(count, shape[shape.size() - 1])));
    });
  const py::object place = squeeze && out ? unsqueezed(out) : py::reinterpret_borrow<py::object>(out);
  const py::object y = with.handle->takes_device_array(x) ? with.handle->predict_on_device(x, place)
                                                          : with.handle->predict(x, place, nullptr, nullptr);
  return squeeze ? squeezed(y) : y;
}

PyObject* call(PyObject* self, PyObject* args, PyObject* options) {
  return guarded([&] {
    if (!options && PyTuple_GET_SIZE(args) == 1) return call_model(self, PyTuple_GET_ITEM(args, 0));
    if (PyTuple_GET_SIZE(args) == 0 && options && PyDict_GET_SIZE(options) == 1)
      if (PyObject* x = PyDict_GetItemString(options, "x")) return call_model(self, x);
    const py::kwargs named = options ? py::reinterpret_borrow<py::kwargs>(options) : py::kwargs();
    return py::object(py::handle(self).attr("_call_with")(*py::reinterpret_borrow<py::args>(args), **named));
  });
}

PyObject* predict(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    auto [x, out] = arguments("predict", {"x", "out"}, 1, args, count, names);
    return predict_model(self, x, out == Py_None ? nullptr : out);
  });
}

PyObject* jacobian(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    auto [x] = arguments("jacobian", {"x"}, 1, args, count, names);
    return compiled(self, x).handle->jacobian(x);
  });
}

PyObject* input_gradient(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    auto [x, t, loss] = arguments("input_gradient", {"x", "t", "loss_fn"}, 1, args, count, names);
    if (t == Py_None) t = nullptr;
    if (loss == Py_None) loss = nullptr;
    if (loss && !py::isinstance<LossHandle>(loss))
      throw py::type_error(std::string("loss_fn: expected a loss, such as fastmlp.MSELoss(), got a ") +
                           Py_TYPE(loss)->tp_name);
    if (t && !loss) throw py::type_error("loss_fn: expected a loss to go with t, got None");
    if (loss && !t) throw py::type_error("t: expected targets for loss_fn, got None");
    const Compiled with = compiled(self, x);
    if (!loss) return with.handle->input_gradient(x, {}, nullptr, {});
    const py::object function = py::handle(loss).attr("_output_gradient");
    if (!function.is_none()) return with.handle->input_gradient(x, t, nullptr, function);
    return with.handle->input_gradient(x, t, &held<LossHandle>(loss), {});
  });
}

void deallocate(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_XDECREF(model_of(self).network);
  type->tp_free(self);
  Py_DECREF(type);
}

constexpr const char* kPredictDoc = R"(predict($self, /, x, out=None)
--

The output for a batch, without dropout and with nothing kept for `backward`. On the CPU, the bits
of a row's result do not depend on the rows that come with it.

Parameters
----------
x : array_like, shape (rows, in_features) or (in_features,)
    As in a call. A model on a CUDA device takes arrays that lie there, too: those of torch,
    CuPy and whatever else has `__cuda_array_interface__` or `__dlpack__`. They must be
    C-contiguous and of the model's dtype, and are not copied. The work is in the order of
    the stream that is current in torch or CuPy, and not waited for; for other libraries it
    is done when the call returns. SciPy's sparse tables are taken as well; their rows, those of
    large files (`numpy.memmap`), and narrower numbers are brought into that dtype by parts.
out : ndarray, optional
    Receives the output: writable, C-contiguous, of the output's shape and the model's
    dtype, overlapping neither x nor a parameter, and on the device if x is.

Returns
-------
ndarray, shape (rows, out_features) or (out_features,)
    `out`, if given; else, for an x on the device, an array of its library there.)";

constexpr const char* kPredictorDoc = R"(predictor($self, /, rows, like=None)
--

A `Predictor`: `predict` for so many rows in arrays that stay in one place, without checks.

Parameters
----------
rows : int
    How many rows a call predicts.
like : array, optional
    For a model on a CUDA device, an array there, of the model's dtype: x and y are made by its
    library, as those of `predict` are, and its stream has the work. Without it they are NumPy's,
    and are copied to the device and back.

Returns
-------
Predictor

Raises
------
TypeError
    If `predict` does not take the model, or `like` is not such an array.
ValueError
    If rows is below 1, or 1 where `BatchNorm1d` takes its statistics from the batch; or if the
    model does not say how many features it takes, or has no parameters.)";

constexpr const char* kJacobianDoc = R"(jacobian($self, /, x)
--

The derivative of each output of `predict` with respect to each input, for every row of a batch.

As there, the model runs in evaluation mode, whatever mode it is in: without dropout, and with the
running statistics of `BatchNorm1d`, so that a row's outputs depend on that row alone. Nothing is
recorded, and the parameters' gradients stay as they are. At kinks of activations the derivative
is that of `backward`. The last bits of a row's derivatives may depend on the rows that come with
it, unlike those of its prediction.

Parameters
----------
x : array_like, shape (rows, in_features) or (in_features,)
    As in `predict`, but on the host. `Flatten` takes more dimensions.

Returns
-------
ndarray, shape (rows, out_features, in_features) or (out_features, in_features)
    Of the model's dtype: result[r, o, i] is d y[r, o] / d x[r, i]. The dimensions that `Flatten`
    takes stand in the place of in_features.

Raises
------
TypeError
    As in a call.
ValueError
    As in a call, or if rows depend on each other, as with
    ``BatchNorm1d(..., track_running_stats=False)``.)";

constexpr const char* kInputGradientDoc = R"(input_gradient($self, /, x, t=None, loss_fn=None)
--

The gradient with respect to x of a loss of `predict` or, without one, of the sum of all outputs
(of each row's output itself, where it has one). As with `jacobian`, the model runs in evaluation
mode, nothing is recorded, and the parameters' gradients stay as they are. For the gradient in
training mode, track the input: ``x = tensor(x, requires_grad=True)``,
``loss_fn(model(x), t).backward()``, ``x.grad``.

Parameters
----------
x : array_like, shape (rows, in_features) or (in_features,)
    As in `predict`, but on the host. `Flatten` takes more dimensions.
t : array_like, optional
    Targets, as `loss_fn` takes them.
loss_fn : Loss, optional
    To be given with t, with a reduction, which counts: a mean divides by the rows. With a
    `FunctionLoss` the function gets the output of `predict`.

Returns
-------
ndarray, of x's shape
    Of the model's dtype.

Raises
------
TypeError
    If only one of t and loss_fn is given, loss_fn is no loss, or an array is not made of real
    numbers.
ValueError
    If a shape does not fit, a target is NaN or out of range, the loss is not reduced, or
    `BatchNorm1d` would take its statistics from a single row.)";

PyTypeObject* make_type(const char* name, int size, PyType_Slot* slots) {
  PyType_Spec spec{name, size, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (!type) throw py::error_already_set();
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

void bind_model(py::module_& m) {
  static PyMethodDef methods[] = {fast_method("predict", predict, kPredictDoc),
                                  fast_method("predictor", make_predictor, kPredictorDoc),
                                  fast_method("jacobian", jacobian, kJacobianDoc),
                                  fast_method("input_gradient", input_gradient, kInputGradientDoc),
                                  {}};
  PyType_Slot model_slots[] = {{Py_tp_call, reinterpret_cast<void*>(call)},
                               {Py_tp_dealloc, reinterpret_cast<void*>(deallocate)},
                               {Py_tp_methods, methods},
                               {}};
  PyType_Slot symbolic_slots[] = {{}};
  symbolic_type = make_type("fastmlp._core.Symbolic", 0, symbolic_slots);
  PyTypeObject* model_type = make_type("fastmlp._core.Model", sizeof(Model), model_slots);
  m.attr("Symbolic") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(symbolic_type));
  m.attr("Model") = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(model_type));
  bind_predictor(m);
  m.def("structure", [] { return structure; });
  m.def("structure_changed", [] { ++structure; });
  m.def("count_hooks", [](std::int64_t more) { hooks += more; }, py::arg("more"));
}

}  // namespace fastmlp::bindings
