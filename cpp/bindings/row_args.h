// Inputs from Python in rows: an array of T's, or what its rows are fetched from by the batch, where a copy in T's would take
// much more memory than what has come: narrow numbers, sparse rows, files that are mapped into memory.
#pragma once

#include <memory>

#include "bindings/array_args.h"
#include "bindings/tensor.h"
#include "core/row_source.h"

namespace fastmlp::bindings {

template <class T>
struct RowsArg : RowsShape {
  Matrix<T> ready;  // unless there is a source
  std::unique_ptr<RowSource<T>> source;
  py::object owner;  // of its memory

  const T* data() const { return source ? nullptr : ready.data(); }
};

// Whether it is an array of so few values that rows_arg would give it as matrix_arg does: what takes long to look at is
// left out where a pass takes no longer.
inline bool is_small_array(py::handle object) {
  constexpr Index kFew = Index{1} << 16;
  if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_ && !is_tensor(object)) return false;
  const auto* const array = py::detail::array_proxy(object.ptr());
  Index size = 1;
  for (int i = 0; i < array->nd; ++i) size *= array->dimensions[i];
  return size <= kFew;
}

// Where an array's rows, of so many numbers, are read from, if it is a large part of a file; else null. T may be Index, too.
template <class T>
std::unique_ptr<RowSource<T>> file_rows(const py::array& array, Index columns, const char* name);

// ValueError as that of matrix_arg.
template <class T>
RowsArg<T> rows_arg(py::handle object, const char* name, Index columns, const char* takes, bool flatten = false);

// check_finite for all rows of a source, some at a time; Ctrl-C ends it.
template <class T>
void check_finite(const RowSource<T>& source, const RowsShape& rows, const char* name);

}  // namespace fastmlp::bindings
