#include "bindings/device_arrays.h"
#include "bindings/gil.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

namespace fastmlp::bindings {

namespace {

// CUDA's handles of the two default streams; numbers up to them mean no stream of anybody's own.
const auto kLegacyStream = reinterpret_cast<Stream>(std::uintptr_t{1});
constexpr std::uintptr_t kLastDefaultStream = 2;

// The attribute of an interned name, or null without an error.
py::object attribute(py::handle object, PyObject*& name, const char* text) {
  if (!name) name = PyUnicode_InternFromString(text);
  PyObject* const found = name ? PyObject_GetAttr(object.ptr(), name) : nullptr;
  if (!found) PyErr_Clear();
  return py::reinterpret_steal<py::object>(found);
}

// Types of arrays, whose tables are looked for once. Guarded by the GIL.
struct ArrayType {
  PyTypeObject* type;  // kept alive, lest another one takes its place
  const ExchangeApi* api;
  bool is_torch;
};

ArrayType look_at(PyTypeObject* type) {
  const py::handle handle(reinterpret_cast<PyObject*>(type));
  ArrayType found{type, exchange_api(handle), false};
  if (found.api && !found.api->view) found.api = nullptr;
  PyObject* const torch = PyDict_GetItemString(PyImport_GetModuleDict(), "torch");  // is there, if the type is of it
  const py::object tensor = torch ? py::getattr(torch, "Tensor", py::none()) : py::none();
  found.is_torch = PyType_Check(tensor.ptr()) && PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(tensor.ptr()));
  return found;
}

ArrayType array_type(py::handle object) {
  static ArrayType known[8];
  static std::size_t next = 0;
  PyTypeObject* const type = Py_TYPE(object.ptr());
  for (const ArrayType& one : known)
    if (one.type == type) return one;
  const ArrayType found = look_at(type);
  ArrayType& place = known[next++ % std::size(known)];
  Py_INCREF(type);
  const py::object old = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(place.type));
  place = found;
  return found;
}

// Whether the type's table tells of the object.
bool read_by_exchange(const ArrayType& type, py::handle object, DlTensor& tensor) {
  if (!type.api) return false;
  if (type.api->view(object.ptr(), &tensor) == 0) return true;
  PyErr_Clear();  // of one that only stands for another; Python's protocols say why
  return false;
}

bool is_cuda(DlDevice device) { return device.type == kDlCuda || device.type == kDlCudaManaged; }

// torch's protocols refuse such tensors, its table does not.
bool requires_grad(py::handle tensor) {
  static PyObject* name = nullptr;
  return !attribute(tensor, name, "requires_grad").is(py::handle(Py_False));
}

// The protocol's answer, or nothing where the object does not speak it.
std::optional<DlDevice> dlpack_device(py::handle object) {
  static PyObject* name = nullptr;
  const py::object found = attribute(object, name, "__dlpack_device__");
  if (!found) return std::nullopt;
  try {
    const auto [type, id] = found().cast<std::pair<int, int>>();
    return DlDevice{type, id};
  } catch (py::error_already_set& error) {  // of a device that the protocol does not know
    if (!error.matches(PyExc_Exception)) throw;
    return std::nullopt;
  }
}

std::string type_text(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

// NumPy's name of a dtype, and its bytes.
std::pair<std::string, py::ssize_t> dtype_of(const std::string& typestr) {
  if (typestr == "<f4") return {"float32", 4};
  if (typestr == "<f8") return {"float64", 8};
  if (typestr == "<i8") return {"int64", 8};
  const py::dtype dtype(typestr);
  return {py::str(dtype).cast<std::string>(), dtype.itemsize()};
}

void read_interface(const py::dict& interface, DeviceArray& array) {
  const auto [address, read_only] = interface["data"].cast<std::pair<std::uintptr_t, bool>>();
  array.data = reinterpret_cast<void*>(address);
  array.writable = !read_only;
  array.shape = interface["shape"].cast<std::vector<py::ssize_t>>();
  const auto [dtype, bytes] = dtype_of(interface["typestr"].cast<std::string>());
  array.dtype = dtype;
  if (interface.contains("strides") && !interface["strides"].is_none()) {
    auto strides = interface["strides"].cast<std::vector<py::ssize_t>>();
    if (strides.size() != array.shape.size()) throw py::cast_error();
    for (py::ssize_t& stride : strides) stride /= bytes;
    array.contiguous = are_contiguous(array.shape.size(), array.shape.data(), strides.data());
  }
  if (interface.contains("mask") && !interface["mask"].is_none()) array.contiguous = false;
  // Before version 3 nobody names a stream: such producers work in CUDA's default one. None: there is nothing to wait for.
  if (!interface.contains("stream"))
    array.stream = kLegacyStream;
  else if (!interface["stream"].is_none())
    array.stream = reinterpret_cast<Stream>(interface["stream"].cast<std::uintptr_t>());
}

void take(const DlTensor& tensor, DeviceArray& array) {
  array.data = tensor.begin();
  array.shape.assign(tensor.shape, tensor.shape + tensor.dimensions);
  array.contiguous = is_contiguous(tensor);
  const auto [code, bits, lanes] = tensor.type;
  constexpr const char* kCodes[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  array.dtype = code < std::size(kCodes) ? kCodes[code] : "unknown";
  array.dtype += std::to_string(bits) + (lanes > 1 ? "x" + std::to_string(lanes) : "");
}

// An unconsumed capsule owns its tensor.
void read_dlpack(py::handle object, DeviceArray& array) {
  array.stream = kLegacyStream;
  const py::object capsule =
      object.attr("__dlpack__")(py::arg("stream") = reinterpret_cast<std::uintptr_t>(array.stream));
  const auto* tensor = static_cast<const DlTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!tensor) throw py::error_already_set();
  array.owner = capsule;
  take(*tensor, array);
}

// By Python's protocols.
void read_by_protocols(py::handle object, DeviceArray& array) {
  if (PyObject* interface = PyObject_GetAttrString(object.ptr(), "__cuda_array_interface__")) {
    read_interface(py::reinterpret_steal<py::object>(interface).cast<py::dict>(), array);
  } else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
    PyErr_Clear();
    read_dlpack(object, array);
  } else {
    throw py::error_already_set();
  }
}

// A function of fastmlp.interop; `kept` is never freed, as it is too late for that at the interpreter's end.
py::handle interop(PyObject*& kept, const char* name) {
  if (!kept) kept = py::module_::import("fastmlp.interop").attr(name).cast<py::object>().release().ptr();
  return kept;
}

// Who began the last work, and the stream, which the owner keeps alive. Guarded by the GIL; never freed, for at the
// interpreter's end it is too late.
struct LastWork {
  Stream stream = nullptr;
  py::object owner;
};
LastWork& last_work() {
  static auto* last = new LastWork;
  return *last;
}

}  // namespace

Index DeviceArray::size() const { return std::accumulate(shape.begin(), shape.end(), Index{1}, std::multiplies<>()); }

void DeviceArray::require(const char* wanted, const char* name) const {
  if (dtype != wanted)
    throw py::type_error(std::string(name) + ": expected an array of " + wanted + " on the CUDA device, got " + dtype);
}

bool is_device_array(py::handle object) {
  if (py::isinstance<py::array>(object)) return false;
  DlTensor tensor;
  if (read_by_exchange(array_type(object), object, tensor)) return is_cuda(tensor.device);
  if (const auto device = dlpack_device(object)) return is_cuda(*device);
  return py::hasattr(object, "__cuda_array_interface__");
}

namespace {

// `by_exchange`: the type's table may tell of it, which says nothing of arrays that are read-only.
DeviceArray checked_array(py::handle object, const char* name, const ArrayType& type, bool by_exchange) {
  const std::string what(name);
  DeviceArray array;
  array.array = array.owner = py::reinterpret_borrow<py::object>(object);
  array.of_torch = type.is_torch;
  std::optional<DlDevice> device;
  DlTensor tensor;
  if (by_exchange && read_by_exchange(type, object, tensor) && is_cuda(tensor.device) &&
      !(array.of_torch && requires_grad(object))) {
    take(tensor, array);
    array.api = type.api;
    device = tensor.device;
  } else {
    try {
      read_by_protocols(object, array);
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_Exception)) throw;
      const std::string message = py::str(error.value());
      py::raise_from(error, PyExc_TypeError,
                     (what + ": expected an array on the CUDA device, got a " + type_text(object) +
                      " that gives no access: " + message)
                         .c_str());
      throw py::error_already_set();
    } catch (const py::cast_error&) {
      throw py::type_error(what + ": expected an array on the CUDA device, got a " + type_text(object) +
                           " that describes itself wrongly");
    }
    device = dlpack_device(object);
  }
  if (device && device->id != 0)
    throw py::value_error(what + ": expected an array on CUDA device 0, got one on device " +
                          std::to_string(device->id));
  if (!array.contiguous)
    throw py::value_error(what +
                          ": expected a C-contiguous array on the CUDA device, got one with gaps or in another order");
  return array;
}

}  // namespace

DeviceArray device_array(py::handle object, const char* name) {
  return checked_array(object, name, array_type(object), true);
}

DeviceArray device_output(py::handle object, const char* name, const char* dtype, std::span<const py::ssize_t> shape) {
  if (!is_device_array(object))
    throw py::type_error(std::string(name) + ": expected an array on the CUDA device, as x is, got a " +
                         type_text(object));
  const ArrayType type = array_type(object);
  DeviceArray array = checked_array(object, name, type, type.is_torch);
  array.require(dtype, name);
  if (!std::ranges::equal(array.shape, shape))
    throw py::value_error(std::string(name) + ": expected shape " + shape_text(shape) + ", got " +
                          shape_text(array.shape));
  if (!array.writable)
    throw py::value_error(std::string(name) + ": expected a writable array, got a read-only " + type_text(object));
  return array;
}

py::object new_device_array(const DeviceArray& like, std::span<const py::ssize_t> shape) {
  py::tuple sizes(shape.size());
  for (std::size_t d = 0; d < shape.size(); ++d) sizes[d] = shape[d];
  static PyObject *empty_like = nullptr, *empty = nullptr, *names = nullptr, *dtype = nullptr, *device = nullptr;
  if (!like.of_torch) return interop(empty_like, "empty_like")(like.array, sizes);
  if (!names) {
    empty = py::module_::import("torch").attr("empty").cast<py::object>().release().ptr();
    names = py::make_tuple("dtype", "device").release().ptr();
  }
  const py::object own_dtype = attribute(like.array, dtype, "dtype"),
                   own_device = attribute(like.array, device, "device");
  PyObject* const arguments[] = {sizes.ptr(), own_dtype.ptr(), own_device.ptr()};
  PyObject* const made = PyObject_Vectorcall(empty, arguments, 1, names);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

void join_other_stream(const Device& device) {
  LastWork& last = last_work();
  const Stream stream = StreamScope::current();
  if (last.stream == stream || device.capture(stream)) return;
  check(device.wait(stream, std::exchange(last.stream, stream)));
  last.owner = py::object();
}

CallerStream::Choice CallerStream::choose(const Device& device, const DeviceArray& array, bool may_record) {
  Stream stream = array.stream;
  py::object owner;
  if (array.api) {
    if (array.api->current_work_stream(kDlCuda, 0, &stream) != 0) throw py::error_already_set();
    if (!stream) stream = kLegacyStream;
  }
  bool is_known = array.api && array.of_torch;  // which never destroys its streams
  if (!is_known) {
    static PyObject* current_stream = nullptr;
    const py::object found = interop(current_stream, "current_stream")(array.array);
    is_known = !found.is_none();
    if (is_known) {
      const auto handle = found.attr("handle").cast<std::uintptr_t>();
      stream = handle == 0 ? kLegacyStream : reinterpret_cast<Stream>(handle);
      owner = found;
    }
  }
  // CUDA records nothing in a default stream.
  if (is_known && (!may_record || reinterpret_cast<std::uintptr_t>(stream) > kLastDefaultStream))
    return {stream, false, owner};
  if (stream) check(device.synchronize(stream));
  return {};
}

CallerStream::CallerStream(const Device& device, Choice choice)
    : device_(device), choice_(std::move(choice)), scope_(choice_.stream) {
  join_streams(device);
  if (last_work().stream == choice_.stream) last_work().owner = choice_.owner;
}

CallerStream::~CallerStream() {
  if (choice_.waits && !finished_) device_.synchronize(StreamScope::current());
}

void CallerStream::finish() {
  finished_ = true;
  if (!choice_.waits) return;
  const WithoutGil release;
  check(device_.synchronize(StreamScope::current()));
}

}  // namespace fastmlp::bindings
