#include "bindings/dlpack.h"

namespace fastmlp::bindings {

namespace {

constexpr std::uint32_t kMajorVersion = 1;

// A capsule; as it was first proposed, the address as a number.
const void* address_in(const py::object& found) {
  constexpr const char* kName = "dlpack_exchange_api";
  if (PyCapsule_IsValid(found.ptr(), kName)) return PyCapsule_GetPointer(found.ptr(), kName);
  if (!PyLong_CheckExact(found.ptr())) return nullptr;
  void* const address = PyLong_AsVoidPtr(found.ptr());
  if (PyErr_Occurred()) PyErr_Clear();
  return address;
}

}  // namespace

const ExchangeApi* exchange_api(py::handle type) {
  for (const char* name : {"__dlpack_c_exchange_api__", "__c_dlpack_exchange_api__"}) {
    const auto found = py::reinterpret_steal<py::object>(PyObject_GetAttrString(type.ptr(), name));
    if (!found) {
      PyErr_Clear();
      continue;
    }
    const auto* api = static_cast<const ExchangeApi*>(address_in(found));
    while (api && api->major > kMajorVersion) api = api->previous;
    if (api && api->major == kMajorVersion) return api;
  }
  return nullptr;
}

}  // namespace fastmlp::bindings
