// What the calls of a training step need beyond pybind11: methods in CPython's own calling convention. Such a call
// costs some ten nanoseconds, one through pybind11 a few hundred.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <new>
#include <stdexcept>
#include <string>

namespace fastmlp::bindings {

namespace py = pybind11;

// The result of f as CPython wants it: a new reference, or null with the Python error set for what f threw.
template <class F>
PyObject* guarded(F&& f) noexcept {
  try {
    return py::object(f()).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::length_error&) {  // of a vector: more than any memory holds
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// The C++ object of an instance of a pybind11 class, or of a class derived from one in Python.
template <class T>
T& held(PyObject* self) {
  // (pybind11 itself would take memory that nobody has filled for the object.)
  const auto holder = reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder();
  if (!holder.holder_constructed())
    throw py::type_error(std::string(Py_TYPE(self)->tp_name) + ": its __init__ has not been called");
  return *static_cast<T*>(holder.value_ptr());
}

// The same of any object; TypeError naming the argument where it is something else.
template <class T>
T& held_by(py::handle object, const char* name) {
  if (!py::isinstance<T>(object)) throw py::type_error(std::string(name) + ": got a " + Py_TYPE(object.ptr())->tp_name);
  return held<T>(object.ptr());
}

// A method for pybind11 of objects whose __init__ has been called.
template <class Class, class Result, class... Args>
auto method(Result (Class::*function)(Args...)) {
  return [function](py::handle self, Args... args) -> Result {
    return (held_by<Class>(self, "self").*function)(static_cast<Args>(args)...);
  };
}
template <class Class, class Result, class... Args>
auto method(Result (Class::*function)(Args...) const) {
  return [function](py::handle self, Args... args) -> Result {
    return (held_by<Class>(self, "self").*function)(static_cast<Args>(args)...);
  };
}

// For pickle of old protocols, which would call pybind11's base class and end the process.
[[noreturn]] inline void refuse_pickle(py::handle self) {
  throw py::type_error(std::string("cannot pickle ") + Py_TYPE(self.ptr())->tp_name);
}

using FastMethod = PyObject* (*)(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names);

inline PyMethodDef fast_method(const char* name, FastMethod method, const char* doc) {
  const auto any = reinterpret_cast<void (*)()>(method);
  return {name, reinterpret_cast<PyCFunction>(any), METH_FASTCALL | METH_KEYWORDS, doc};
}

// The arguments of a FastMethod, by position or by name; those not given stay null.
template <std::size_t N>
std::array<PyObject*, N> arguments(const char* method, const char* const (&known)[N], std::size_t required,
                                   PyObject* const* args, Py_ssize_t count, PyObject* names) {
  std::array<PyObject*, N> values{};
  const auto refuse = [&](const std::string& problem) { throw py::type_error(std::string(method) + "() " + problem); };
  const auto positional = static_cast<std::size_t>(count);
  if (positional > N)
    refuse("takes at most " + std::to_string(N) + " arguments, but " + std::to_string(count) + " were given");
  for (std::size_t i = 0; i < positional; ++i) values[i] = args[i];
  for (Py_ssize_t k = 0; names && k < PyTuple_GET_SIZE(names); ++k) {
    PyObject* name = PyTuple_GET_ITEM(names, k);
    std::size_t i = 0;
    while (i < N && PyUnicode_CompareWithASCIIString(name, known[i]) != 0) ++i;
    if (i == N) refuse("got an unexpected keyword argument '" + py::cast<std::string>(name) + "'");
    if (values[i]) refuse(std::string("got multiple values for argument '") + known[i] + "'");
    values[i] = args[count + k];
  }
  for (std::size_t i = 0; i < required; ++i)
    if (!values[i]) refuse(std::string("missing the argument '") + known[i] + "'");
  return values;
}

}  // namespace fastmlp::bindings
