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

// Where a matrix has its value number i.
std::string place_of(Index i, Index columns) {
  return " in row " + std::to_string(i / columns) + (columns > 1 ? ", column " + std::to_string(i % columns) : "");
}

template <class T>
void check_values(const T* t, Index n, Index columns, const char* name, bool unit_interval, bool allow_nan) {
  const bool bad = unit_interval ? any_of(t, n, [](T v) { return !((v >= 0) & (v <= 1)); })
                                 : any_of(t, n, [](T v) { return v != v; });
  if (!bad) return;
  for (Index i = 0; i < n; ++i) {
    if (std::isnan(t[i]) && !allow_nan)
      throw py::value_error(std::string(name) + ": expected numbers, got NaN" + place_of(i, columns));
    if (unit_interval && (t[i] < 0 || t[i] > 1))
      throw py::value_error(std::string(name) + ": expected values from 0 to 1, got " + std::to_string(t[i]) +
                            place_of(i, columns));
  }
}

}  // namespace

template <class T>
void check_finite(const T* values, Index rows, Index columns, const char* name) {
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
                              place_of(i, columns) + " (allow_nonfinite=True lets it pass)");
  }
}

template <class T>
void check_probabilities(const T* y, Index n) {
  for (Index i = 0; i < n; ++i)
    if (!(y[i] >= 0 && y[i] <= 1))
      throw py::value_error("input: expected probabilities from 0 to 1 for BCELoss, got " + std::to_string(y[i]) +
                            "; BCEWithLogitsLoss takes any number");
}

namespace {

// Each row of targets that are no class indices holds the probabilities of the classes.
template <class T>
void check_distributions(const T* t, Index rows, Index columns, const char* name, bool allow_nan) {
  constexpr double kRounding = 1e-3;  // of float16's sums, and of those who print three digits
  for (Index r = 0; r < rows; ++r) {
    double sum = 0;
    for (Index c = 0; c < columns; ++c) {
      const T value = t[r * columns + c];
      if (!(value >= 0 && value <= 1) && !(allow_nan && std::isnan(value)))
        throw py::value_error(std::string(name) + ": expected class probabilities from 0 to 1, or class indices, got " +
                              std::to_string(value) + " in row " + std::to_string(r));
      sum += static_cast<double>(value);
    }
    if (std::abs(sum - 1) > kRounding)
      throw py::value_error(std::string(name) +
                            ": expected class probabilities that sum to 1 in each row, got a sum of " +
                            std::to_string(sum) + " in row " + std::to_string(r));
  }
}

// One-hot rows may be integers; class indices are 1-D, and of a single row 0-D.
bool mean_classes(std::span<const py::ssize_t> shape, LossKind loss, Index columns, bool one_row) {
  if (loss != LossKind::CrossEntropy) return loss == LossKind::NLL;
  return shape.empty() || (shape.size() == 1 && (!one_row || shape[0] != columns));
}

}  // namespace

bool are_classes(std::span<const py::ssize_t> shape, const char* name, LossKind loss, Index rows, Index columns,
                 bool one_row) {
  const std::size_t n = shape.size();
  const auto single = [&] {
    const bool column = n == 2 && shape[1] == 1 && shape[0] == rows;
    return column ? std::string("; if these are class indices, write ") + name + "[:, 0]" : std::string();
  };
  if (mean_classes(shape, loss, columns, one_row)) {
    if (!(n == 1 && shape[0] == rows) && !(n == 0 && one_row))
      throw py::value_error(std::string(name) + ": expected shape (" + std::to_string(rows) +
                            ",) with a class index for each row, got " + shape_text(shape) + single());
    return true;
  }
  const bool fits = (n == 2 && shape[0] == rows && shape[1] == columns) ||
                    (n == 1 && shape[0] == rows && columns == 1) || (n == 1 && one_row && shape[0] == columns);
  if (!fits)
    throw py::value_error(std::string(name) + ": expected shape (" + std::to_string(rows) + ", " +
                          std::to_string(columns) + ") like the model's output, got " + shape_text(shape) +
                          (is_class_loss(loss) ? single() : ""));
  return false;
}

void check_classes(const Index* classes, Index rows, const char* name, Index columns) {
  for (Index r = 0; r < rows; ++r)
    if (classes[r] < 0 || classes[r] >= columns)
      throw py::value_error(std::string(name) + ": expected class indices from 0 to " + std::to_string(columns - 1) +
                            ", got " + std::to_string(classes[r]) + " in row " + std::to_string(r));
}

void check_outputs(LossKind loss, Index columns) {
  if (!is_class_loss(loss) || columns > 1) return;
  throw py::value_error(
      std::string("loss_fn: ") + (loss == LossKind::NLL ? "NLLLoss" : "CrossEntropyLoss") +
      " expects a model with an output for each class, at least two, got one; use MSELoss for real values,"
      " or BCEWithLogitsLoss for two classes");
}

template <class T>
TargetArg<T> target_arg(py::handle object, const char* name, LossKind loss, Index rows, Index columns, bool one_row,
                        bool allow_nan) {
  check_outputs(loss, columns);
  const py::array array = real_array(object, name);
  const auto shape = shape_of(array);
  if (mean_classes(shape, loss, columns, one_row) && !is_integer(array))
    throw py::type_error(std::string(name) + ": expected integer class indices, got dtype " + dtype_text(array) +
                         "; write " + name + ".astype(int) if they are whole numbers, or use MSELoss for real values");
  TargetArg<T> arg;
  if (are_classes(shape, name, loss, rows, columns, one_row)) {
    const CArray<Index> classes = contiguous<Index>(array);
    check_classes(classes.data(), rows, name, columns);
    arg.targets.classes = classes.data();
    arg.array = classes;
  } else {
    const CArray<T> dense = contiguous<T>(array);
    const bool unit_interval = loss == LossKind::BCE || loss == LossKind::BCEWithLogits;
    check_values(dense.data(), rows * columns, columns, name, unit_interval, allow_nan);
    if (loss == LossKind::CrossEntropy) check_distributions(dense.data(), rows, columns, name, allow_nan);
    arg.targets.dense = dense.data();
    arg.array = dense;
  }
  return arg;
}

#define FASTMLP_INSTANTIATE(T)                                                             \
  template Matrix<T> matrix_arg<T>(py::handle, const char*, Index, const char*, bool);     \
  template CArray<T> shaped_arg<T>(py::handle, const char*, std::span<const py::ssize_t>); \
  template T* output_arg<T>(const py::array&, const char*, std::span<const py::ssize_t>);  \
  template void check_probabilities<T>(const T*, Index);                                   \
  template void check_finite<T>(const T*, Index, Index, const char*);                      \
  template TargetArg<T> target_arg<T>(py::handle, const char*, LossKind, Index, Index, bool, bool);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::bindings
