// Predictors: a module's prediction for rows that stay in one place, a call without arguments.
#include "bindings/bound_rows.h"
#include "bindings/model.h"
#include "bindings/network_of.h"

namespace fastmlp::bindings {

namespace {

struct State {
  py::object model, x, y;
  BoundRows bound;
  bool squeeze;
  // The network of a structure; null: to be asked for.
  py::object network;
  NetworkHandle* handle = nullptr;
  std::int64_t structure = 0;
};

struct Predictor {
  PyObject_HEAD State* state;
};
State& state_of(PyObject* self) { return *reinterpret_cast<Predictor*>(self)->state; }

PyTypeObject* predictor_type = nullptr;

void find_network(State& state) {
  if (!state.model) throw std::runtime_error("predictor: its model is gone");  // to the garbage collector
  const Compiled with = compiled(state.model.ptr(), state.bound.x_array);
  if (with.squeeze != state.squeeze || !with.handle->takes(state.bound))
    throw std::runtime_error("predictor: the model has changed its shape, dtype or device since; make a new one");
  state.network = with.network;
  state.handle = with.handle;
  state.structure = with.is_kept ? structure : 0;
}

PyObject* call(PyObject* self, PyObject* args, PyObject* options) {
  if (PyTuple_GET_SIZE(args) > 0 || (options && PyDict_GET_SIZE(options) > 0)) {
    PyErr_SetString(PyExc_TypeError, "a predictor takes no arguments: the rows go into its x");
    return nullptr;
  }
  State& state = state_of(self);
  return guarded([&] {
    if (state.structure != structure) [[unlikely]]
      find_network(state);
    const py::object network = state.network;  // another thread may change it meanwhile
    state.handle->predict_bound(state.bound);
    return state.y;
  });
}

PyObject* get_x(PyObject* self, void*) { return py::object(state_of(self).x).release().ptr(); }
PyObject* get_y(PyObject* self, void*) { return py::object(state_of(self).y).release().ptr(); }

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (State* const state = reinterpret_cast<Predictor*>(self)->state) Py_VISIT(state->model.ptr());
  return 0;
}

void deallocate(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  delete reinterpret_cast<Predictor*>(self)->state;
  type->tp_free(self);
  Py_DECREF(type);
}

int clear(PyObject* self) {
  state_of(self).structure = 0;
  const py::object model = std::exchange(state_of(self).model, py::object());
  return 0;
}

constexpr const char* kDoc = R"(The prediction of a model for rows that stay in one place; `Module.predictor` makes it.

A call, ``y = predictor()``, does what ``model.predict(x, out=y)`` does for its own arrays, without
looking at arguments: the quickest way to predict few rows again and again. It takes the model's
weights as they are at the call. It serves one thread at a time, for its arrays are the same in
every call; several threads take one each, of the same model.

Attributes
----------
x : ndarray, shape (rows, in_features)
    For the rows: written to, never replaced. Zeros at first.
y : ndarray, shape (rows, out_features)
    The output of the last call, which the next one overwrites; also what a call returns.

Raises
------
RuntimeError
    By a call, if the model has changed its number of inputs or outputs, its dtype or its device.
TypeError
    By a call, if the model has become one that `predict` does not take.)";

}  // namespace

PyObject* make_predictor(PyObject* model, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    const auto [given, like] = arguments("predictor", {"rows", "like"}, 1, args, count, names);
    const py::object integer = py::module_::import("fastmlp._checks").attr("integer");
    const auto rows = integer("rows", py::handle(given), py::arg("at_least") = 1).cast<Index>();
    const Compiled with = compiled(model, py::none());
    if (!with.has_parameters) throw py::value_error("model: expected one with parameters, which give the dtype");
    auto state = std::make_unique<State>();
    state->bound = with.handle->bind(rows, like == Py_None ? nullptr : like);
    state->model = py::reinterpret_borrow<py::object>(model);
    state->squeeze = with.squeeze;
    state->x = state->bound.x_array;
    state->y = with.squeeze ? squeezed(state->bound.y_array) : state->bound.y_array;
    find_network(*state);
    const auto made = py::reinterpret_steal<py::object>(predictor_type->tp_alloc(predictor_type, 0));
    if (!made) throw py::error_already_set();
    reinterpret_cast<Predictor*>(made.ptr())->state = state.release();
    return made;
  });
}

template <class T>
BoundRows NetworkOf<T>::bind(Index rows, py::handle like) const {
  const Index columns = network_->in_features();
  if (columns < 0) throw py::value_error("model: expected a layer that says how many features it takes, got none");
  check_rows(rows, false, "rows");
  const py::ssize_t of_x[] = {rows, columns}, of_y[] = {rows, output_columns(columns)};
  BoundRows bound{rows, columns, of_y[1], sizeof(T), &network_->device(), {}, {}, nullptr, nullptr, {}};
  if (like) {
    if (!takes_device_array(like))
      throw py::type_error(std::string("like: expected an array on the model's CUDA device, got a ") +
                           Py_TYPE(like.ptr())->tp_name + (staging_ ? "" : ", and the model is on the CPU"));
    const DeviceArray array = device_array(like, "like");
    array.require(dtype_name<T>(), "like");
    bound.x_array = new_device_array(array, of_x);
    bound.y_array = new_device_array(array, of_y);
    DeviceArray x = device_output(bound.x_array, "x", dtype_name<T>(), of_x);
    bound.x = x.data;
    bound.y = device_output(bound.y_array, "y", dtype_name<T>(), of_y).data;
    bound.there = std::move(x);
    return bound;
  }
  // Views, which nobody can give other memory by resize().
  const auto zeros = [](std::span<const py::ssize_t> shape) {
    const auto owner = new_array<T>(shape).template cast<py::array_t<T>>();
    std::fill_n(data_of<T>(owner), owner.size(), T(0));
    return py::array_t<T>(py::array::ShapeContainer(shape.begin(), shape.end()), owner.data(), owner);
  };
  bound.x_array = zeros(of_x);
  bound.y_array = zeros(of_y);
  bound.x = data_of<T>(bound.x_array);
  bound.y = data_of<T>(bound.y_array);
  return bound;
}

template <class T>
bool NetworkOf<T>::takes(const BoundRows& bound) const {
  return bound.value_bytes == sizeof(T) && bound.device == &network_->device() &&
         bound.columns == network_->in_features() && bound.outputs == output_columns(bound.columns);
}

template <class T>
void NetworkOf<T>::predict_bound(const BoundRows& bound) {
  const RowsShape rows{bound.rows, bound.columns};
  const auto* const x = static_cast<const T*>(bound.x);
  T* const y = static_cast<T*>(bound.y);
  if (bound.there) return predict_there(*bound.there, rows, y);
  if (staging_) return predict_staged(x, rows, nullptr, y);
  const ComputeWith<T> computing(*network_, work(rows));
  network_->predict(x, bound.rows, bound.columns, nullptr, y);
}

#define FASTMLP_INSTANTIATE(T)                                    \
  template BoundRows NetworkOf<T>::bind(Index, py::handle) const; \
  template bool NetworkOf<T>::takes(const BoundRows&) const;      \
  template void NetworkOf<T>::predict_bound(const BoundRows&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

void bind_predictor(py::module_& m) {
  static PyGetSetDef values[] = {{"x", get_x, nullptr, "The rows, to be written to.", nullptr},
                                 {"y", get_y, nullptr, "The output of the last call.", nullptr},
                                 {}};
  PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(call)},
                         {Py_tp_dealloc, reinterpret_cast<void*>(deallocate)},
                         {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                         {Py_tp_clear, reinterpret_cast<void*>(clear)},
                         {Py_tp_getset, values},
                         {Py_tp_doc, const_cast<char*>(kDoc)},
                         {}};
  PyType_Spec spec{"fastmlp.Predictor", sizeof(Predictor), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  PyObject* const type = PyType_FromSpec(&spec);
  if (!type) throw py::error_already_set();
  predictor_type = reinterpret_cast<PyTypeObject*>(type);
  m.attr("Predictor") = py::reinterpret_steal<py::object>(type);
}

}  // namespace fastmlp::bindings
