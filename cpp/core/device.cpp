#include "core/device.h"

#include <cstring>
#include <stdexcept>
#include <vector>

#include "core/backend.h"
#include "core/locks.h"
#include "core/system.h"

namespace fastmlp {

namespace {

// Large memory asks for huge pages: a matrix product walks down columns, where every row is on a page of its own.
void* allocate(std::size_t bytes) {
  constexpr std::size_t kCacheLine = 64, kHugePage = std::size_t{1} << 21;
  const bool huge = bytes >= kHugePage / 2;
  const std::size_t alignment = huge ? kHugePage : kCacheLine;
  const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
  void* const memory = system::allocate(alignment, whole, huge);
  if (memory) std::memset(memory, 0, bytes);
  return memory;
}

const char* copy(void* to, const void* from, std::size_t bytes, Stream) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return nullptr;
}

constexpr Device kHost = {
    .name = "cpu",
    .host = true,
    .allocate = allocate,
    .release = system::release,
    .upload = copy,
    .download = copy,
    .copy = copy,
    .synchronize = [](Stream) -> const char* { return nullptr; },
    .wait = [](Stream, Stream) -> const char* { return nullptr; },
    .begin_download = [](const void*, std::size_t, Stream) -> void* { return nullptr; },
    .end_download = [](void*, void*) -> const char* { return "the host needs no downloads"; },
    .launch_problem = []() -> const char* { return nullptr; },
    .make_stream = []() -> Stream { return nullptr; },
    .begin_recording = [](Stream) -> const char* { return "the host records nothing"; },
    .end_recording = [](Stream) -> void* { return nullptr; },
    .replay = [](void*, Stream) -> const char* { return "the host records nothing"; },
    .release_recording = [](void*) {},
    .advance = [](std::int64_t* number, std::int64_t by, Stream) { *number += by; },
    .capture = [](Stream) -> std::uint64_t { return 0; },
    .f32 = nullptr,  // see kernels_of
    .f64 = nullptr,
};

thread_local Stream current_stream = nullptr;

}  // namespace

const Device& host_device() { return kHost; }

template <>
const Backend<float>& kernels_of(const Device& device) {
  return device.host ? active_backend<float>() : *device.f32;
}
template <>
const Backend<double>& kernels_of(const Device& device) {
  return device.host ? active_backend<double>() : *device.f64;
}

void check(const char* problem) {
  if (problem) throw std::runtime_error(problem);
}

StreamScope::StreamScope(Stream stream) : before_(std::exchange(current_stream, stream)) {}
StreamScope::~StreamScope() { current_stream = before_; }
Stream StreamScope::current() { return current_stream; }

namespace {

// Those of the one device that has any which nobody has at the moment. Never freed, as the streams.
struct FreeStreams {
  Lock lock;
  std::vector<Stream> all;
};
FreeStreams& free_streams() {
  static auto* const streams = new FreeStreams;
  return *streams;
}

}  // namespace

OwnStream::OwnStream(const Device& device) : device_(device) {
  FreeStreams& free = free_streams();
  {
    const Locked locked(free.lock);
    if (!free.all.empty()) {
      stream_ = free.all.back();
      free.all.pop_back();
    }
  }
  if (!stream_) stream_ = device.make_stream();
}

OwnStream::~OwnStream() {
  if (!stream_) return;
  device_.synchronize(stream_);
  FreeStreams& free = free_streams();
  const Locked locked(free.lock);
  free.all.push_back(stream_);
}

}  // namespace fastmlp
