// Arrays of other libraries that lie in a CUDA device's memory: found by DLPack's exchange API, in C alone, or by DLPack and
// the CUDA array interface; checked here alone, used where they lie, in their library's current stream. (fastmlp/interop.py
// knows the libraries.)
#pragma once

#include <string>
#include <vector>

#include "bindings/array_args.h"
#include "bindings/dlpack.h"

namespace fastmlp::bindings {

struct DeviceArray {
  py::object owner;  // keeps the memory alive
  py::object array;  // as it came
  void* data = nullptr;
  std::vector<py::ssize_t> shape;
  std::string dtype;
  bool contiguous = true, writable = true;
  bool of_torch = false;
  // That which has told of it, if any; the stream that another protocol names.
  const ExchangeApi* api = nullptr;
  Stream stream = nullptr;

  Index size() const;
  void require(const char* dtype, const char* name) const;  // TypeError unless its values are of this dtype
};

// Whether the object lies on a CUDA device.
bool is_device_array(py::handle object);

// ValueError unless it is C-contiguous and on the first device.
DeviceArray device_array(py::handle object, const char* name);

// A writable one of this shape.
DeviceArray device_output(py::handle object, const char* name, const char* dtype, std::span<const py::ssize_t> shape);

// A new one, of the same library, dtype and device as another.
py::object new_device_array(const DeviceArray& like, std::span<const py::ssize_t> shape);

// Before any work on a device in this thread's stream: it comes after what was begun in another one. Needs the GIL.
void join_other_stream(const Device& device);
inline void join_streams(const Device& device) {
  if (!device.host) join_other_stream(device);
}

// The stream of a call with a caller's device arrays: that which is current in their library, so that nobody has to wait;
// for other libraries, and where steps may be recorded in a default stream, the device's own one, with waiting.
class CallerStream {
 public:
  CallerStream(const Device& device, const DeviceArray& array, bool may_record)
      : CallerStream(device, choose(device, array, may_record)) {}

  // After an error: the arrays may go now.
  ~CallerStream();
  CallerStream(const CallerStream&) = delete;
  CallerStream& operator=(const CallerStream&) = delete;

  // To be called when all work is on its way: the arrays may go afterwards.
  void finish();
  // Keeps the stream itself, for which a network's next pass in another one will wait.
  const py::object& owner() const { return choice_.owner; }
  Stream stream() const { return choice_.stream; }

 private:
  struct Choice {
    Stream stream = nullptr;
    bool waits = true;  // nobody else knows that there is something to wait for
    py::object owner;
  };
  static Choice choose(const Device& device, const DeviceArray& array, bool may_record);
  CallerStream(const Device& device, Choice choice);

  const Device& device_;
  const Choice choice_;
  const StreamScope scope_;
  bool finished_ = false;
};

}  // namespace fastmlp::bindings
