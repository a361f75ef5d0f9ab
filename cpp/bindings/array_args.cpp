#include "bindings/array_args.h"

#include "bindings/device_arrays.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace fastmlp::bindings {

std::string shape_text(const py::array& array) { return py::str(py::tuple(array.attr("shape"))).cast<std::string>(); }

std::string dtype_text(const py::array& array) { return py::str(array.dtype()).cast<std::string>(); }

std::string shape_text(std::span<const py::ssize_t> shape) {
  return py::str(py::tuple(py::cast(std::vector<py::ssize_t>(shape.begin(), shape.end())))).cast<std::string>();
}

template <>
const char* dtype_name<float>() {
  return "float32";
}
template <>
const char* dtype_name<double>() {
  return "float64";
}

namespace {

// For what NumPy cannot view: TypeError with an advice, if that is why.
void refuse_device_array(py::handle object, const char* name) {
  if (is_device_array(object))
    throw py::type_error(std::string(name) + ": expected an array in the host's memory, got a " +
                         Py_TYPE(object.ptr())->tp_name +
                         " on a CUDA device; predict and fit take it, of a model on that device");
}

py::array as_array(py::handle object, const char* name) {
  if (py::isinstance<py::array>(object)) return py::reinterpret_borrow<py::array>(object);
  try {
    return py::module_::import("numpy").attr("asarray")(object);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;  // KeyboardInterrupt and its like
    refuse_device_array(object, name);
    const bool ragged = error.matches(PyExc_ValueError);  // rows of different lengths
    py::raise_from(error, ragged ? PyExc_ValueError : PyExc_TypeError,
                   (std::string(name) + ": expected an array of numbers, got a " + Py_TYPE(object.ptr())->tp_name +
                    (ragged ? " whose parts differ in length" : ""))
                       .c_str());
    throw py::error_already_set();
  }
}

}  // namespace

py::array real_array(py::handle object, const char* name) {
  py::array array = as_array(object, name);
  const char kind = array.dtype().kind();
  if (kind == 'O') refuse_device_array(object, name);
  if (kind != 'f' && kind != 'i' && kind != 'u' && kind != 'b')
    throw py::type_error(std::string(name) + ": expected an array of real numbers, got dtype " + dtype_text(array));
  return array;
}

RowsShape rows_shape(std::span<const py::ssize_t> shape, const char* name, Index columns, const char* takes) {
  const std::size_t n = shape.size();
  if (n != 1 && n != 2)
    throw py::value_error(std::string(name) + ": expected shape (rows, features) or (features,), got " +
                          shape_text(shape));
  const Index rows = n == 1 ? 1 : shape[0], width = shape[n - 1];
  if (columns >= 0 && width != columns)
    throw py::value_error(std::string(name) + " has " + std::to_string(width) + " features, but " + takes + " takes " +
                          std::to_string(columns));
  if (rows == 0 || width == 0)
    throw py::value_error(std::string(name) + ": expected at least one row and one feature, got shape " +
                          shape_text(shape));
  return {rows, width, n == 1};
}

template <class T>
Matrix<T> matrix_arg(py::handle object, const char* name, Index columns, const char* takes) {
  const py::array array = real_array(object, name);
  return {rows_shape(shape_of(array), name, columns, takes), contiguous<T>(array)};
}

template <class T>
CArray<T> shaped_arg(py::handle object, const char* name, std::span<const py::ssize_t> shape) {
  const py::array array = real_array(object, name);
  if (!std::ranges::equal(shape_of(array), shape))
    throw py::value_error(std::string(name) + ": expected shape " + shape_text(shape) + ", got " + shape_text(array));
  return contiguous<T>(array);
}

template <class T>
T* output_arg(const py::array& array, const char* name, std::span<const py::ssize_t> shape) {
  if (!py::isinstance<py::array_t<T>>(array))
    throw py::type_error(std::string(name) + ": expected dtype " + dtype_name<T>() + ", got " + dtype_text(array));
  if (!std::ranges::equal(shape_of(array), shape))
    throw py::value_error(std::string(name) + ": expected shape " + shape_text(shape) + ", got " + shape_text(array));
  if (!array.writeable()) throw py::value_error(std::string(name) + ": expected a writable array, got a read-only one");
  if (!(array.flags() & py::array::c_style))
    throw py::value_error(std::string(name) + ": expected a C-contiguous array, got strides " +
                          py::str(array.attr("strides")).cast<std::string>());
  return static_cast<T*>(const_cast<py::array&>(array).mutable_data());
}

bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
  const auto a0 = reinterpret_cast<std::uintptr_t>(a), b0 = reinterpret_cast<std::uintptr_t>(b);
  return a0 < b0 + b_bytes && b0 < a0 + a_bytes;
}

namespace {

bool is_integer(const py::array& array) {
  const char kind = array.dtype().kind();
  return kind == 'i' || kind == 'u' || kind == 'b';
}

// Whether bad(value) holds for any of the values; written so that compilers use SIMD.
template <class T, class Bad>
bool any_of(const T* values, Index n, Bad bad) {
  using Mask = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  Mask found = 0;
  for (Index i = 0; i < n; ++i) found |= bad(values[i]) ? ~Mask{0} : Mask{0};
  return found != 0;
}

template <class T>
void check_values(const T* t, Index n, const char* name, bool unit_interval) {
  const bool bad = unit_interval ? any_of(t, n, [](T v) { return !((v >= 0) & (v <= 1)); })
                                 : any_of(t, n, [](T v) { return v != v; });
  if (!bad) return;
  for (Index i = 0; i < n; ++i) {
    if (std::isnan(t[i]))
      throw py::value_error(std::string(name) + ": expected numbers, got NaN at flat index " + std::to_string(i));
    if (unit_interval && (t[i] < 0 || t[i] > 1))
      throw py::value_error(std::string(name) + ": expected values from 0 to 1, got " + std::to_string(t[i]) +
                            " at flat index " + std::to_string(i));
  }
}

}  // namespace

template <class T>
void check_probabilities(const T* y, Index n) {
  for (Index i = 0; i < n; ++i)
    if (!(y[i] >= 0 && y[i] <= 1))
      throw py::value_error("input: expected probabilities from 0 to 1 for BCELoss, got " + std::to_string(y[i]) +
                            "; BCEWithLogitsLoss takes any number");
}

namespace {

// One-hot rows may be integers; class indices are 1-D, and of a single row 0-D.
bool mean_classes(std::span<const py::ssize_t> shape, LossKind loss, Index columns, bool one_row) {
  if (loss != LossKind::CrossEntropy) return loss == LossKind::NLL;
  return shape.empty() || (shape.size() == 1 && (!one_row || shape[0] != columns));
}

}  // namespace

bool are_classes(std::span<const py::ssize_t> shape, const char* name, LossKind loss, Index rows, Index columns,
                 bool one_row) {
  const std::size_t n = shape.size();
  if (mean_classes(shape, loss, columns, one_row)) {
    if (!(n == 1 && shape[0] == rows) && !(n == 0 && one_row))
      throw py::value_error(std::string(name) + ": expected shape (" + std::to_string(rows) +
                            ",) with a class index for each row, got " + shape_text(shape));
    return true;
  }
  const bool fits = (n == 2 && shape[0] == rows && shape[1] == columns) ||
                    (n == 1 && shape[0] == rows && columns == 1) || (n == 1 && one_row && shape[0] == columns);
  if (!fits)
    throw py::value_error(std::string(name) + ": expected shape (" + std::to_string(rows) + ", " +
                          std::to_string(columns) + ") like the model's output, got " + shape_text(shape));
  return false;
}

void check_classes(const Index* classes, Index rows, const char* name, Index columns) {
  for (Index r = 0; r < rows; ++r)
    if (classes[r] < 0 || classes[r] >= columns)
      throw py::value_error(std::string(name) + ": expected class indices from 0 to " + std::to_string(columns - 1) +
                            ", got " + std::to_string(classes[r]) + " in row " + std::to_string(r));
}

template <class T>
TargetArg<T> target_arg(py::handle object, const char* name, LossKind loss, Index rows, Index columns, bool one_row) {
  const py::array array = real_array(object, name);
  const auto shape = shape_of(array);
  if (mean_classes(shape, loss, columns, one_row) && !is_integer(array))
    throw py::type_error(std::string(name) + ": expected integer class indices, got dtype " + dtype_text(array));
  TargetArg<T> arg;
  if (are_classes(shape, name, loss, rows, columns, one_row)) {
    const CArray<Index> classes = contiguous<Index>(array);
    check_classes(classes.data(), rows, name, columns);
    arg.targets.classes = classes.data();
    arg.array = classes;
  } else {
    const CArray<T> dense = contiguous<T>(array);
    check_values(dense.data(), rows * columns, name, loss == LossKind::BCE || loss == LossKind::BCEWithLogits);
    arg.targets.dense = dense.data();
    arg.array = dense;
  }
  return arg;
}

#define FASTMLP_INSTANTIATE(T)                                                             \
  template Matrix<T> matrix_arg<T>(py::handle, const char*, Index, const char*);           \
  template CArray<T> shaped_arg<T>(py::handle, const char*, std::span<const py::ssize_t>); \
  template T* output_arg<T>(const py::array&, const char*, std::span<const py::ssize_t>);  \
  template void check_probabilities<T>(const T*, Index);                                   \
  template TargetArg<T> target_arg<T>(py::handle, const char*, LossKind, Index, Index, bool);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::bindings
