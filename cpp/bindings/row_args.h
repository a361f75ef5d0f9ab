// Inputs from Python in rows: an array of T's, or what its rows are fetched from by the batch, where a copy in T's would take
// much more memory than what has come: narrow numbers, sparse rows, files that are mapped into memory.
#pragma once

#include <memory>

#include "bindings/array_args.h"
#include "core/row_source.h"

namespace fastmlp::bindings {

template <class T>
struct RowsArg : RowsShape {
  Matrix<T> ready;  // unless there is a source
  std::unique_ptr<RowSource<T>> source;
  py::object owner;  // of its memory

  const T* data() const { return source ? nullptr : ready.data(); }
};

// ValueError as that of matrix_arg.
template <class T>
RowsArg<T> rows_arg(py::handle object, const char* name, Index columns, const char* takes, bool flatten = false);

// check_finite for all rows of a source, some at a time; Ctrl-C ends it.
template <class T>
void check_finite(const RowSource<T>& source, const RowsShape& rows, const char* name);

}  // namespace fastmlp::bindings
