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

// DLPack's structures (github.com/dmlc/dlpack), as far as they are read here.
struct DLDevice {
  std::int32_t type, id;
};
struct DLTensor {
  void* data;
  DLDevice device;
  std::int32_t ndim;
  std::uint8_t code, bits;
  std::uint16_t lanes;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: C-contiguous
  std::uint64_t byte_offset;
};
constexpr int kDLCUDA = 2, kDLCUDAManaged = 13;

// The protocol's answer, or nothing where the object does not speak it.
std::optional<DLDevice> dlpack_device(py::handle object) {
  PyObject* found = PyObject_GetAttrString(object.ptr(), "__dlpack_device__");
  if (!found) {
    PyErr_Clear();
    return std::nullopt;
  }
  try {
    const auto [type, id] = py::reinterpret_steal<py::object>(found)().cast<std::pair<int, int>>();
    return DLDevice{type, id};
  } catch (py::error_already_set& error) {  // of a device that the protocol does not know
    if (!error.matches(PyExc_Exception)) throw;
    return std::nullopt;
  }
}

std::string type_text(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

// Whether these strides, in elements, are those of a C-contiguous array.
bool are_contiguous(const std::vector<py::ssize_t>& shape, const std::vector<py::ssize_t>& strides) {
  py::ssize_t expected = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (shape[d] != 1 && strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

void read_interface(const py::dict& interface, DeviceArray& array) {
  const auto [address, read_only] = interface["data"].cast<std::pair<std::uintptr_t, bool>>();
  array.data = reinterpret_cast<void*>(address);
  array.writable = !read_only;
  array.shape = interface["shape"].cast<std::vector<py::ssize_t>>();
  const py::dtype dtype(interface["typestr"].cast<std::string>());
  array.dtype = py::str(dtype).cast<std::string>();
  if (interface.contains("strides") && !interface["strides"].is_none()) {
    auto strides = interface["strides"].cast<std::vector<py::ssize_t>>();
    for (py::ssize_t& stride : strides) stride /= dtype.itemsize();
    array.contiguous = are_contiguous(array.shape, strides);
  }
  if (interface.contains("mask") && !interface["mask"].is_none()) array.contiguous = false;
  // Before version 3 nobody names a stream: such producers work in CUDA's default one. None: there is nothing to wait for.
  if (!interface.contains("stream"))
    array.stream = kLegacyStream;
  else if (!interface["stream"].is_none())
    array.stream = reinterpret_cast<Stream>(interface["stream"].cast<std::uintptr_t>());
}

// An unconsumed capsule owns its tensor.
void read_dlpack(py::handle object, DeviceArray& array) {
  array.stream = kLegacyStream;
  const py::object capsule =
      object.attr("__dlpack__")(py::arg("stream") = reinterpret_cast<std::uintptr_t>(array.stream));
  const auto* tensor = static_cast<const DLTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!tensor) throw py::error_already_set();
  array.owner = capsule;
  array.data = static_cast<char*>(tensor->data) + tensor->byte_offset;
  array.shape.assign(tensor->shape, tensor->shape + tensor->ndim);
  constexpr const char* kCodes[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  array.dtype = tensor->code < std::size(kCodes) ? kCodes[tensor->code] : "unknown";
  array.dtype += std::to_string(tensor->bits) + (tensor->lanes > 1 ? "x" + std::to_string(tensor->lanes) : "");
  if (tensor->strides)
    array.contiguous = are_contiguous(array.shape, {tensor->strides, tensor->strides + tensor->ndim});
}

py::object interop(const char* function) { return py::module_::import("fastmlp.interop").attr(function); }

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
  if (const auto device = dlpack_device(object)) return device->type == kDLCUDA || device->type == kDLCUDAManaged;
  return py::hasattr(object, "__cuda_array_interface__");
}

DeviceArray device_array(py::handle object, const char* name) {
  const std::string what(name);
  DeviceArray array;
  array.array = array.owner = py::reinterpret_borrow<py::object>(object);
  try {
    if (PyObject* interface = PyObject_GetAttrString(object.ptr(), "__cuda_array_interface__")) {
      read_interface(py::reinterpret_steal<py::object>(interface).cast<py::dict>(), array);
    } else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
      PyErr_Clear();
      read_dlpack(object, array);
    } else {
      throw py::error_already_set();
    }
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
  if (const auto device = dlpack_device(object); device && device->id != 0)
    throw py::value_error(what + ": expected an array on CUDA device 0, got one on device " +
                          std::to_string(device->id));
  if (!array.contiguous)
    throw py::value_error(what +
                          ": expected a C-contiguous array on the CUDA device, got one with gaps or in another order");
  return array;
}

DeviceArray device_output(py::handle object, const char* name, const char* dtype, std::span<const py::ssize_t> shape) {
  if (!is_device_array(object))
    throw py::type_error(std::string(name) + ": expected an array on the CUDA device, as x is, got a " +
                         type_text(object));
  DeviceArray array = device_array(object, name);
  array.require(dtype, name);
  if (!std::ranges::equal(array.shape, shape))
    throw py::value_error(std::string(name) + ": expected shape " + shape_text(shape) + ", got " +
                          shape_text(array.shape));
  if (!array.writable)
    throw py::value_error(std::string(name) + ": expected a writable array, got a read-only " + type_text(object));
  return array;
}

py::object new_device_array(py::handle like, std::span<const py::ssize_t> shape) {
  return interop("empty_like")(like, py::tuple(py::cast(std::vector<py::ssize_t>(shape.begin(), shape.end()))));
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
  if (const py::object found = interop("current_stream")(array.array); !found.is_none()) {
    const auto handle = found.attr("handle").cast<std::uintptr_t>();
    stream = handle == 0 ? kLegacyStream : reinterpret_cast<Stream>(handle);
    // CUDA records nothing in a default stream.
    if (!may_record || handle > kLastDefaultStream) return {stream, false, found};
  }
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
