// Losses, and their values on plain arrays.
#include "bindings/loss_handle.h"

namespace fastmlp::bindings {

LossHandle::LossHandle(const std::string& name, const std::string& reduction, double delta) {
  spec.kind = kind_named<LossKind>(kLossNames, name, "name");
  if (reduction != "mean" && reduction != "sum")
    throw py::value_error("reduction: expected 'mean' or 'sum', got '" + reduction + "'");
  if (!(delta > 0)) throw py::value_error("delta: expected a positive number, got " + std::to_string(delta));
  spec.mean = reduction == "mean";
  spec.delta = delta;
}

namespace {

template <class T>
double value_as(const LossSpec& spec, const py::array& array, const py::object& target) {
  // A 1-D input is a column of values for element-wise losses, one row of scores for class losses.
  Matrix<T> y = matrix_arg<T>(array, "input", -1, "");
  if (y.one_row && !is_class_loss(spec.kind)) {
    std::swap(y.rows, y.columns);
    y.one_row = false;
  }
  const TargetArg<T> t = target_arg<T>(target, "t", spec.kind, y.rows, y.columns, y.one_row);
  if (spec.kind == LossKind::BCE) check_probabilities(y.data(), y.rows * y.columns);
  std::vector<double> partial(static_cast<std::size_t>(active_backend<T>().loss_partials(y.rows)));
  const LossArgs<T> args{spec, y.rows, y.columns, y.data(), t.targets, false, nullptr, partial.data()};
  const py::gil_scoped_release release;
  return active_backend<T>().loss(args, {{nullptr, nullptr, 1}, nullptr});
}

}  // namespace

double LossHandle::value(const py::object& input, const py::object& target) const {
  const py::array array = real_array(input, "input");
  if (array.itemsize() == sizeof(float) && array.dtype().kind() == 'f') return value_as<float>(spec, array, target);
  return value_as<double>(spec, array, target);
}

void bind_loss(py::module_& m) {
  py::class_<LossHandle>(m, "Loss", py::is_final())
      .def(py::init<const std::string&, const std::string&, double>(), py::arg("name"), py::arg("reduction"),
           py::arg("delta") = 1.0)
      .def("value", &LossHandle::value, py::arg("input"), py::arg("target"));
}

}  // namespace fastmlp::bindings
