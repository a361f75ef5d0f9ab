#include "bindings/array_args.h"

#include "bindings/device_arrays.h"
#include "bindings/tensor.h"

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

std::string counted(Index n, const char* noun) { return std::to_string(n) + " " + noun + (n == 1 ? "" : "s"); }

// A plain array, or one of ours: not one of a subclass, whose values may mean something else.
bool is_plain(py::handle object) {
  return Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_ || is_tensor(object);
}

py::array converted(py::handle object, const char* name) {
  if (is_device_array(object))
    throw py::type_error(std::string(name) + ": expected an array in the host's memory, got a " +
                         Py_TYPE(object.ptr())->tp_name +
                         " on a CUDA device; predict and fit take it, of a model on that device");
  return py::module_::import("fastmlp._conversions").attr("as_array")(object, name);
}

}  // namespace

py::array real_array(py::handle object, const char* name) {
  if (is_plain(object)) {
    const auto array = py::reinterpret_borrow<py::array>(object);
    const char kind = array.dtype().kind();
    if (kind == 'f' || kind == 'i' || kind == 'u' || kind == 'b') return array;
  }
  return converted(object, name);
}

RowsShape rows_shape(std::span<const py::ssize_t> shape, const char* name, Index columns, const char* takes,
                     bool flatten) {
  const std::size_t n = shape.size();
  if (n < 1 || (n > 2 && !flatten))
    throw py::value_error(std::string(name) + ": expected shape (rows, features) or (features,), got " +
                          shape_text(shape));
  const Index rows = n == 1 ? 1 : shape[0];
  Index width = 1;
  for (const py::ssize_t size : shape.subspan(n == 1 ? 0 : 1)) width *= size;
  if (columns >= 0 && width != columns) {
    const bool turned = n == 1 && columns == 1;
    throw py::value_error(
        std::string(name) + " has " + counted(width, "feature") + ", but " + takes + " takes " +
        std::to_string(columns) +
        (turned ? "; for " + std::to_string(width) + " rows of one feature write " + name + "[:, None]" : ""));
  }
  if (width == 0)
    throw py::value_error(std::string(name) + ": expected at least one feature, got shape " + shape_text(shape));
  return {rows, width, n == 1};
}

template <class T>
Matrix<T> matrix_arg(py::handle object, const char* name, Index columns, const char* takes, bool flatten) {
  const py::array array = real_array(object, name);
  const RowsShape rows = rows_shape(shape_of(array), name, columns, takes, flatten);
  CArray<T> values = contiguous<T>(array);
  const bool copied = values.ptr() != array.ptr();
  return {rows, std::move(values), copied};
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
  if (!(array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_))
    throw py::value_error(std::string(name) + ": expected an array aligned to its numbers, got one that is not");
  if (!(array.flags() & py::array::c_style))
    throw py::value_error(std::string(name) + ": expected a C-contiguous array, got strides " +
                          py::str(array.attr("strides")).cast<std::string>());
  return static_cast<T*>(const_cast<py::array&>(array).mutable_data());
}

bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
  const auto a0 = reinterpret_cast<std::uintptr_t>(a), b0 = reinterpret_cast<std::uintptr_t>(b);
  return a0 < b0 + b_bytes && b0 < a0 + a_bytes;
}

template <class T>
void check_finite(const T* values, Index rows, Index columns, const char* name, Index first) {
  constexpr Index kBlock = 4096;  // so that compilers use SIMD, and a bad value ends the search
  const Index n = rows * columns;
  for (Index begin = 0; begin < n; begin += kBlock) {
    const Index end = std::min(n, begin + kBlock);
    if (!any_of(values + begin, end - begin, [](T v) { return !(v - v == 0); })) continue;
    for (Index i = begin; i < end; ++i)
      if (!std::isfinite(values[i]))
        throw py::value_error(std::string(name) + ": expected finite numbers, got " +
                              (std::isnan(values[i]) ? "NaN"
                               : values[i] > 0       ? "infinity"
                                                     : "-infinity") +
                              place_of(first * columns + i, columns) + " (allow_nonfinite=True lets it pass)");
  }
}

template <class T>
void check_probabilities(const T* y, Index n) {
  for (Index i = 0; i < n; ++i)
    if (!(y[i] >= 0 && y[i] <= 1))
      throw py::value_error("input: expected probabilities from 0 to 1 for BCELoss, got " + std::to_string(y[i]) +
                            "; BCEWithLogitsLoss takes any number");
}

#define FASTMLP_INSTANTIATE(T)                                                             \
  template Matrix<T> matrix_arg<T>(py::handle, const char*, Index, const char*, bool);     \
  template CArray<T> shaped_arg<T>(py::handle, const char*, std::span<const py::ssize_t>); \
  template T* output_arg<T>(const py::array&, const char*, std::span<const py::ssize_t>);  \
  template void check_probabilities<T>(const T*, Index);                                   \
  template void check_finite<T>(const T*, Index, Index, const char*, Index);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::bindings
