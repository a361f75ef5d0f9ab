// A module as compiled, which its calls compute with.
#pragma once

#include "bindings/cpython.h"
#include "bindings/handles.h"

namespace fastmlp::bindings {

// How often any module has been changed. Guarded by the GIL.
extern std::int64_t structure;

struct Compiled {
  py::object network;  // a reference, for another thread may change the module meanwhile
  NetworkHandle* handle;
  bool has_parameters;
  bool squeeze;  // see Plan
  bool is_kept;  // until a module is changed; else each call asks anew
};

Compiled compiled(PyObject* model, py::handle x, const char* compile = "_compiled");

// Without, or with one more, dimension at the end; indexing is recorded.
py::object squeezed(py::handle y);

// The method of that name.
PyObject* make_predictor(PyObject* model, PyObject* const* args, Py_ssize_t count, PyObject* names);
[[gnu::cold]] void bind_predictor(py::module_& m);

}  // namespace fastmlp::bindings
