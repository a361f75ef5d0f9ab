// Arrays from Python: the only checks of dtype, shape and strides. Everything that passes is C-contiguous and of type
// T; what needs no conversion is not copied. (An array that is not there yet is a null py::object: pybind11's own empty
// arrays are real ones, and cost as much as a tiny network's forward pass.)
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "core/backend.h"

namespace fastmlp::bindings {

namespace py = pybind11;

std::string shape_text(const py::array& array);
std::string shape_text(std::span<const py::ssize_t> shape);
std::string dtype_text(const py::array& array);

// Anything that NumPy can view, if it holds real numbers: else TypeError naming the argument. (What is not a plain array
// goes through fastmlp/_conversions.py.)
py::array real_array(py::handle object, const char* name);

template <class T>
const char* dtype_name();

template <class T>
using CArray = py::array_t<T, py::array::c_style | py::array::forcecast>;

// A C-contiguous, aligned array of T with the same values: the array itself, where it is one. Else a copy, which may
// fail: for want of memory, or where a value that overflows is an error.
template <class T>
CArray<T> contiguous(const py::array& array) {
  using Numpy = py::detail::npy_api;
  constexpr int kReady = Numpy::NPY_ARRAY_C_CONTIGUOUS_ | Numpy::NPY_ARRAY_ALIGNED_;
  if ((array.flags() & kReady) == kReady && array.dtype().is(py::dtype::of<T>()))
    return py::reinterpret_borrow<CArray<T>>(array);
  constexpr int kCast = Numpy::NPY_ARRAY_FORCECAST_ | Numpy::NPY_ARRAY_ENSUREARRAY_;
  PyObject* copy =
      Numpy::get().PyArray_FromAny_(array.ptr(), py::dtype::of<T>().release().ptr(), 0, 0, kReady | kCast, nullptr);
  if (!copy) throw py::error_already_set();
  return py::reinterpret_steal<CArray<T>>(copy);
}

// The shape of one or more rows; a 1-D array is one row.
struct RowsShape {
  Index rows = 0, columns = 0;
  bool one_row = false;
};
// ValueError unless it is one, with as many columns as `takes` ("the model's first layer") takes; columns < 0: any. There
// may be no row.
// `flatten`: further dimensions make one of features with the last.
RowsShape rows_shape(std::span<const py::ssize_t> shape, const char* name, Index columns, const char* takes,
                     bool flatten = false);

// A new C-contiguous array; `type` is a subclass of ndarray. Its values are those at `data`, which somebody else keeps
// alive, or, where that is null, memory of its own.
template <class T>
py::object new_array(std::span<const py::ssize_t> shape, PyTypeObject* type = nullptr, T* data = nullptr,
                     bool writable = true) {
  const auto& numpy = py::detail::npy_api::get();
  const int flags = data && writable ? py::detail::npy_api::NPY_ARRAY_WRITEABLE_ : 0;
  PyObject* array =
      numpy.PyArray_NewFromDescr_(type ? type : numpy.PyArray_Type_, py::dtype::of<T>().release().ptr(),
                                  static_cast<int>(shape.size()), shape.data(), nullptr, data, flags, nullptr);
  if (!array) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(array);
}
template <class T>
T* data_of(py::handle array) {
  return reinterpret_cast<T*>(py::detail::array_proxy(array.ptr())->data);
}

// The shape of a batch's input, output or gradient: (rows, columns), or (columns,) where the batch came as one row.
class BatchShape {
 public:
  BatchShape(bool one_row, Index rows, Index columns) : dimensions_(one_row ? 1 : 2), sizes_{rows, columns} {
    if (one_row) sizes_[0] = columns;
  }
  operator std::span<const py::ssize_t>() const { return {sizes_, dimensions_}; }

 private:
  std::size_t dimensions_;
  py::ssize_t sizes_[2];
};
inline std::span<const py::ssize_t> shape_of(const py::array& array) {
  return {array.shape(), static_cast<std::size_t>(array.ndim())};
}

template <class T>
struct Matrix : RowsShape {
  CArray<T> array;     // keeps the data alive
  bool copied = true;  // nobody else has the array

  const T* data() const { return array.data(); }
  BatchShape shape(Index width) const { return {one_row, rows, width}; }  // of this batch, `width` values a row
};

template <class T>
Matrix<T> matrix_arg(py::handle object, const char* name, Index columns, const char* takes, bool flatten = false);

// An array of exactly this shape; its values are copied where needed.
template <class T>
CArray<T> shaped_arg(py::handle object, const char* name, std::span<const py::ssize_t> shape);

// A writable C-contiguous array of this shape and T, changed in place: else TypeError or ValueError.
template <class T>
T* output_arg(const py::array& array, const char* name, std::span<const py::ssize_t> shape);

// Whether two memory ranges share a byte.
bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes);

// Whether bad(value) holds for any of the values; written so that compilers use SIMD.
template <class T, class Bad>
bool any_of(const T* values, Index n, Bad bad) {
  using Mask = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  Mask found = 0;
  for (Index i = 0; i < n; ++i) found |= bad(values[i]) ? ~Mask{0} : Mask{0};
  return found != 0;
}

// Where a matrix has its value number i.
inline std::string place_of(Index i, Index columns) {
  return " in row " + std::to_string(i / columns) + (columns > 1 ? ", column " + std::to_string(i % columns) : "");
}

// ValueError unless all values are probabilities, which BCE takes the logarithms of.
template <class T>
void check_probabilities(const T* y, Index n);
// ValueError naming the first row that holds NaN or an infinite number; these are the rows from number `first` on.
template <class T>
void check_finite(const T* values, Index rows, Index columns, const char* name, Index first = 0);

}  // namespace fastmlp::bindings
