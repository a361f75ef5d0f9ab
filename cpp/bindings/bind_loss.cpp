// Losses: of a model's recorded output, or of plain arrays.
#include "bindings/cpython.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/target_args.h"
#include "bindings/tensor.h"

#include <limits>

namespace fastmlp::bindings {

LossHandle::LossHandle(const std::string& name, const std::map<std::string, double>& options,
                       std::vector<double> weights, std::vector<double> params, std::optional<Index> ignored)
    : column_weights(std::move(weights)), column_params(std::move(params)), ignore_index(ignored) {
  spec.kind = kind_named<LossKind>(kLossNames, name, "name");
  set(options);
}

void LossHandle::set(const std::map<std::string, double>& options) {
  LossSpec changed = spec;
  for (const auto& [name, value] : options) changed.set(name, value);
  spec = changed;
}

namespace {

py::object scalar(double value) {
  py::object result = new_array<double>({}, tensor_type);
  *data_of<double>(result) = value;
  return result;
}

template <class T>
py::object value_as(const LossHandle& loss, const py::array& array, py::handle target, py::handle sample_weight) {
  const LossSpec& spec = loss.spec;
  // A 1-D input is a column of values for element-wise losses, one row of outputs for those that look at whole rows.
  Matrix<T> y = matrix_arg<T>(array, "input", -1, "");
  if (y.one_row && target_columns(spec.kind, 2) == 2 && !is_class_loss(spec.kind)) {
    std::swap(y.rows, y.columns);
    y.one_row = false;
  }
  const TargetArg<T> t = target_arg<T>(target, sample_weight, kTargetNames, loss, y.rows, y.columns, y.one_row);
  if (spec.kind == LossKind::BCE) check_probabilities(y.data(), y.rows * y.columns);
  if (is_pair_loss(spec.kind)) check_variances(y.data(), y.rows, y.columns);
  if (spec.reduction == Reduction::None) {
    const auto shape = values_shape(spec.kind, shape_of(array), y.one_row, y.columns);
    py::object values = new_array<T>(shape, tensor_type);
    loss_values(spec, y.rows, y.columns, y.data(), t.targets, data_of<T>(values), static_cast<T*>(nullptr));
    return values;
  }
  if (y.rows == 0) return scalar(spec.is_mean() ? std::numeric_limits<double>::quiet_NaN() : 0);
  std::vector<double> partial(static_cast<std::size_t>(active_backend<T>().loss_partials(y.rows)));
  double value = 0;
  {
    const LossArgs<T> args{spec, y.rows, y.columns, y.data(), t.targets, false, nullptr, partial.data(), &value};
    const ReleaseGilFor release(y.rows * y.columns);
    active_backend<T>().loss(args, {{nullptr, nullptr, 1}, nullptr});
  }
  return scalar(value);
}

py::object value_of(const LossHandle& loss, py::handle input, py::handle target, py::handle sample_weight) {
  const py::array array = real_array(input, "input");
  if (array.itemsize() == sizeof(float) && array.dtype().kind() == 'f')
    return value_as<float>(loss, array, target, sample_weight);
  return value_as<double>(loss, array, target, sample_weight);
}

bool is_recorded(py::handle input) { return is_tensor(input) && origin(input).node && recording(); }

py::object call_loss(PyObject* self, PyObject* input, PyObject* target, PyObject* sample_weight) {
  const LossHandle& loss = held<LossHandle>(self);
  const py::object tensor = tensor_of_variable(input), of_target = tensor_of_variable(target);
  if (tensor) input = tensor.ptr();
  if (of_target) target = of_target.ptr();
  const py::handle weight = sample_weight ? py::handle(sample_weight) : py::handle(Py_None);
  const bool is_array = is_tensor(input) || py::isinstance<py::array>(input);
  if (is_array && py::detail::array_proxy(input)->nd > 2) [[unlikely]]
    return py::handle(self).attr("_of_more_dimensions")(py::handle(input), py::handle(target), weight);
  if (is_recorded(target)) [[unlikely]]
    return py::handle(self).attr("_of_recorded_target")(py::handle(input), py::handle(target), weight);
  if (!is_recorded(input)) {
    if (recording()) warn_if_lost(input, "input");
    return value_of(loss, input, target, sample_weight);
  }
  Tape* tape = origin(input).tape();
  if (!tape) return py::handle(self).attr("_of_recorded")(py::handle(input), py::handle(target), weight);
  return tape->loss(loss, target, sample_weight, input);
}

PyObject* call(PyObject* self, PyObject* args, PyObject* options) {
  return guarded([&] {
    if (!options && PyTuple_GET_SIZE(args) == 2)
      return call_loss(self, PyTuple_GET_ITEM(args, 0), PyTuple_GET_ITEM(args, 1), nullptr);
    PyObject *input = nullptr, *target = nullptr, *sample_weight = nullptr;
    const char* names[] = {"input", "target", "sample_weight", nullptr};
    if (!PyArg_ParseTupleAndKeywords(args, options, "OO|$O:__call__", const_cast<char**>(names), &input, &target,
                                     &sample_weight))
      throw py::error_already_set();
    return call_loss(self, input, target, sample_weight);
  });
}

// A loss whose value and gradient are known, of a model's recorded output; of any other one, the value.
py::object known_loss(py::handle input, double value, py::handle gradient) {
  Tape* const tape = is_recorded(input) ? origin(input).tape() : nullptr;
  return tape ? tape->loss(value, gradient, input) : scalar(value);
}

}  // namespace

void bind_loss(py::module_& m) {
  py::class_<LossHandle>(m, "Loss", py::custom_type_setup([](PyHeapTypeObject* type) { type->ht_type.tp_call = call; }))
      .def("__reduce__", [](py::handle self) { refuse_pickle(self); })
      .def(py::init<const std::string&, const std::map<std::string, double>&, std::vector<double>, std::vector<double>,
                    std::optional<Index>>(),
           py::arg("name"), py::arg("options"), py::arg("weights") = std::vector<double>(),
           py::arg("params") = std::vector<double>(), py::arg("ignore_index") = py::none())
      .def("set_options", method(&LossHandle::set), py::arg("options"));
  m.def("known_loss", known_loss, py::arg("input"), py::arg("value"), py::arg("gradient"));
}

}  // namespace fastmlp::bindings
