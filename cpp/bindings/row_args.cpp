#include "bindings/row_args.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/gil.h"

namespace fastmlp::bindings {

namespace {

constexpr Index kSmall = Index{1} << 20;   // bytes: what needs no more as T's is converted at once
constexpr Index kMapped = Index{1} << 24;  // bytes of a part of a file from which on it is read by the batch

// None for numbers that no source takes: too wide, or in another byte order.
std::optional<Element> element_of(const py::dtype& dtype) {
  if (dtype.byteorder() != '=' && dtype.byteorder() != '|') return std::nullopt;
  const auto width = dtype.itemsize();
  const auto integer = [width](Element one, Element two, Element four, Element eight) {
    return width == 1 ? one : width == 2 ? two : width == 4 ? four : eight;
  };
  switch (dtype.kind()) {
    case 'b':
      return Element::Bool;
    case 'u':
      return integer(Element::U8, Element::U16, Element::U32, Element::U64);
    case 'i':
      return integer(Element::I8, Element::I16, Element::I32, Element::I64);
    case 'f':
      if (width > 8) return std::nullopt;
      return width == 2 ? Element::F16 : width == 4 ? Element::F32 : Element::F64;
    default:
      return std::nullopt;
  }
}

// How its rows lie, unless their numbers are apart.
std::optional<RowLayout> layout_of(const py::array& array, Index columns) {
  const std::optional<Element> element = element_of(array.dtype());
  if (!element) return std::nullopt;
  py::ssize_t step = array.itemsize();
  for (py::ssize_t i = array.ndim() - 1; i > 0; --i) {
    if (array.shape(i) != 1 && array.strides(i) != step) return std::nullopt;
    step *= array.shape(i);
  }
  return RowLayout{*element, columns, array.strides(0)};
}

bool is_sparse(py::handle object) {
  if (is_tensor(object) || py::isinstance<py::array>(object)) return false;
  if (PyList_Check(object.ptr()) || PyTuple_Check(object.ptr())) return false;
  const py::object module = py::getattr(py::type::of(object), "__module__", py::none());
  return py::isinstance<py::str>(module) && module.cast<std::string>().starts_with("scipy.sparse");
}

py::object rows_module() { return py::module_::import("fastmlp._rows"); }

// ValueError unless the numbers of a sparse table lead into it.
template <class Integer>
void check_indices(const SparseLayout<Integer>& layout, const char* name) {
  bool fits = layout.starts[0] == 0;
  for (Index row = 0; row < layout.rows; ++row) fits &= layout.starts[row] <= layout.starts[row + 1];
  fits &= layout.starts[layout.rows] <= layout.size;
  for (Index i = 0; i < layout.size; ++i) fits &= layout.indices[i] >= 0 && layout.indices[i] < layout.columns;
  if (!fits)
    throw py::value_error(std::string(name) + ": expected sparse rows whose indices fit their shape, got others");
}

template <class T, class Integer>
void take_sparse(RowsArg<T>& arg, const py::tuple& parts, const char* name) {
  const auto starts = parts[1].cast<py::array>(), indices = parts[2].cast<py::array>(),
             values = parts[3].cast<py::array>();
  const SparseLayout<Integer> layout{
      element_of(values.dtype()).value(),         values.data(), static_cast<const Integer*>(indices.data()),
      static_cast<const Integer*>(starts.data()), arg.rows,      arg.columns,
      static_cast<Index>(values.size())};
  check_indices(layout, name);
  arg.owner = parts;
  arg.source = sparse_rows<T>(layout);
}

// All rows in memory.
template <class T>
Matrix<T> fetched(const RowsArg<T>& arg) {
  CArray<T> all({arg.rows, arg.columns});
  arg.source->fetch({nullptr, 0, arg.rows}, all.mutable_data());
  return {arg, std::move(all), true};
}

}  // namespace

template <class T>
std::unique_ptr<RowSource<T>> file_rows(const py::array& array, Index columns, const char* name) {
  if (array.nbytes() < kMapped || !array.base()) return nullptr;
  const std::optional<RowLayout> layout = layout_of(array, columns);
  if (!layout) return nullptr;
  const py::object file = rows_module().attr("file_of")(array, name);
  if (file.is_none()) return nullptr;
  const auto [descriptor, offset] = file.cast<std::pair<int, Index>>();
  return rows_of_file<T>(*layout, descriptor, offset, name);
}

template <class T>
RowsArg<T> rows_arg(py::handle object, const char* name, Index columns, const char* takes, bool flatten) {
  const auto is_small = [](const RowsShape& rows) {
    return rows.rows * rows.columns <= kSmall / static_cast<Index>(sizeof(T));
  };
  RowsArg<T> arg;
  RowsShape& shape = arg;
  if (is_sparse(object)) {
    const py::tuple parts = rows_module().attr("sparse")(object, name);
    shape = rows_shape(parts[0].cast<std::vector<py::ssize_t>>(), name, columns, takes);
    if (parts[1].cast<py::array>().itemsize() == sizeof(std::int64_t))
      take_sparse<T, std::int64_t>(arg, parts, name);
    else
      take_sparse<T, std::int32_t>(arg, parts, name);
    if (is_small(shape)) {
      arg.ready = fetched(arg);
      arg.source.reset();
    }
    return arg;
  }
  const py::array array = real_array(object, name);
  shape = rows_shape(shape_of(array), name, columns, takes, flatten);
  const std::optional<RowLayout> layout = shape.one_row ? std::nullopt : layout_of(array, shape.columns);
  if (!shape.one_row) arg.source = file_rows<T>(array, shape.columns, name);
  if (arg.source) {
    arg.owner = array;
    return arg;
  }
  if (layout && size_of(layout->element) < static_cast<Index>(sizeof(T)) && !is_small(shape)) {
    arg.owner = array;
    arg.source = rows_in_memory<T>(*layout, array.data());
    return arg;
  }
  CArray<T> values = contiguous<T>(array);
  const bool copied = values.ptr() != array.ptr();
  arg.ready = {shape, std::move(values), copied};
  return arg;
}

template <class T>
void check_finite(const RowSource<T>& source, const RowsShape& rows, const char* name) {
  constexpr Index kValues = Index{1} << 20;  // at a time
  const auto released = [](const auto& work) {
    const WithoutGil release;
    return work();
  };
  if (released([&] { return source.is_finite(); })) return;
  const Index most = std::clamp(kValues / rows.columns, Index{1}, rows.rows);
  std::vector<T> room(static_cast<std::size_t>(most * rows.columns));
  for (Index row = 0; row < rows.rows; row += most) {
    const Index n = std::min(most, rows.rows - row);
    released([&] { source.fetch({nullptr, row, n}, room.data()); });
    check_finite(room.data(), n, rows.columns, name, row);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

#define FASTMLP_INSTANTIATE(T)                                                               \
  template std::unique_ptr<RowSource<T>> file_rows<T>(const py::array&, Index, const char*); \
  template RowsArg<T> rows_arg<T>(py::handle, const char*, Index, const char*, bool);        \
  template void check_finite<T>(const RowSource<T>&, const RowsShape&, const char*);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE
template std::unique_ptr<RowSource<Index>> file_rows<Index>(const py::array&, Index, const char*);

}  // namespace fastmlp::bindings
