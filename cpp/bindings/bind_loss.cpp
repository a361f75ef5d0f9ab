// Losses: of a model's recorded output, or of plain arrays.
#include "bindings/cpython.h"
#include "bindings/gil.h"
#include "bindings/loss_handle.h"
#include "bindings/tensor.h"

#include <limits>

namespace fastmlp::bindings {

LossHandle::LossHandle(const std::string& name, const std::map<std::string, double>& options) {
  spec.kind = kind_named<LossKind>(kLossNames, name, "name");
  set(options);
}

void LossHandle::set(const std::map<std::string, double>& options) {
  LossSpec changed = spec;
  for (const auto& [name, value] : options) changed.set(name, value);
  spec = changed;
}

namespace {

template <class T>
double value_as(const LossSpec& spec, const py::array& array, py::handle target) {
  // A 1-D input is a column of values for element-wise losses, one row of scores for class losses.
  Matrix<T> y = matrix_arg<T>(array, "input", -1, "");
  if (y.one_row && !is_class_loss(spec.kind)) {
    std::swap(y.rows, y.columns);
    y.one_row = false;
  }
  const TargetArg<T> t = target_arg<T>(target, "t", spec.kind, y.rows, y.columns, y.one_row);
  if (spec.kind == LossKind::BCE) check_probabilities(y.data(), y.rows * y.columns);
  if (y.rows == 0) return spec.mean ? std::numeric_limits<double>::quiet_NaN() : 0;
  std::vector<double> partial(static_cast<std::size_t>(active_backend<T>().loss_partials(y.rows)));
  double value = 0;
  const LossArgs<T> args{spec, y.rows, y.columns, y.data(), t.targets, false, nullptr, partial.data(), &value};
  const ReleaseGilFor release(y.rows * y.columns);
  active_backend<T>().loss(args, {{nullptr, nullptr, 1}, nullptr});
  return value;
}

double value_of(const LossSpec& spec, py::handle input, py::handle target) {
  const py::array array = real_array(input, "input");
  if (array.itemsize() == sizeof(float) && array.dtype().kind() == 'f') return value_as<float>(spec, array, target);
  return value_as<double>(spec, array, target);
}

py::object call_loss(PyObject* self, PyObject* input, PyObject* target) {
  const LossSpec& spec = held<LossHandle>(self).spec;
  if (!is_tensor(input) || !origin(input).node || !recording()) {
    if (recording() && is_tensor(target) && origin(target).node)
      throw py::type_error(
          "target: expected values to compare with, got the recorded output of a model; the order is"
          " loss_fn(output, target)");
    py::object result = new_array<double>({}, tensor_type);
    *data_of<double>(result) = value_of(spec, input, target);
    return result;
  }
  Tape* tape = origin(input).tape();
  if (!tape) return py::handle(self).attr("_of_leaf")(py::handle(input), py::handle(target));
  std::unique_ptr<LossNode> node = tape->loss(spec, target);
  double* value = &node->value;
  return recorded_tensor<double>(std::move(node), value, {}, input, true);
}

PyObject* call(PyObject* self, PyObject* args, PyObject* options) {
  return guarded([&] {
    if (!options && PyTuple_GET_SIZE(args) == 2)
      return call_loss(self, PyTuple_GET_ITEM(args, 0), PyTuple_GET_ITEM(args, 1));
    PyObject *input = nullptr, *target = nullptr;
    const char* names[] = {"input", "target", nullptr};
    if (!PyArg_ParseTupleAndKeywords(args, options, "OO:__call__", const_cast<char**>(names), &input, &target))
      throw py::error_already_set();
    return call_loss(self, input, target);
  });
}

}  // namespace

void bind_loss(py::module_& m) {
  py::class_<LossHandle>(m, "Loss", py::custom_type_setup([](PyHeapTypeObject* type) { type->ht_type.tp_call = call; }))
      .def("__reduce__", [](py::handle self) { refuse_pickle(self); })
      .def(py::init<const std::string&, const std::map<std::string, double>&>(), py::arg("name"), py::arg("options"))
      .def("set_options", method(&LossHandle::set), py::arg("options"));
}

}  // namespace fastmlp::bindings
