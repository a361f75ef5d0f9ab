// The emulated device: one, whose memory is the host's and whose kernels and copies run as soon as they are enqueued, on
// the calling thread, so that all streams are in order. A recording is a list of them.
#include <atomic>
#include <cstring>
#include <functional>
#include <new>
#include <utility>
#include <vector>

#include "cuda/runtime/device.h"
#include "cuda/runtime/runtime.h"

namespace fastmlp::cuda {

namespace {

// As a stream of CUDA's is captured: what the thread enqueues in this stream alone.
struct Recording {
  Stream stream;
  std::vector<std::function<void()>> work;
};
thread_local Recording* recording = nullptr;

bool records(Stream stream) { return recording && recording->stream == stream; }

constexpr std::align_val_t kAlignment{256};

}  // namespace

void enqueue(Stream stream, std::function<void()> work) {
  if (records(stream))
    recording->work.push_back(std::move(work));
  else
    work();
}

// An H200's.
int multiprocessors() { return 132; }
std::size_t most_shared_bytes() { return 227 * 1024; }
int capability() { return 0; }

int count() { return 1; }
const char* problem() { return nullptr; }
const char* name(int) { return "emulated device"; }

// Of exactly the size asked for, so that a sanitizer sees what lies beyond.
void* allocate(std::size_t bytes) {
  if (recording) return nullptr;
  void* memory = ::operator new(bytes, kAlignment, std::nothrow);
  if (memory) std::memset(memory, 0, bytes);
  return memory;
}

void release(void* memory) { ::operator delete(memory, kAlignment); }

const char* upload(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (records(stream)) return "CUDA: a copy from the host among recorded kernels";
  if (bytes > 0) std::memcpy(to, from, bytes);
  return nullptr;
}

const char* download(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (records(stream)) return "CUDA: a copy to the host among recorded kernels";
  if (bytes > 0) std::memcpy(to, from, bytes);
  return nullptr;
}

const char* copy(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (bytes > 0) enqueue(stream, [=] { std::memcpy(to, from, bytes); });
  return nullptr;
}

const char* synchronize(Stream stream) {
  return records(stream) ? "CUDA: a wait for the device among recorded kernels" : nullptr;
}

// All are in order; a stream is but an address of its own.
Stream make_stream() {
  static char streams[256];
  static std::atomic<unsigned> made{0};
  return streams + made++ % sizeof streams;
}

const char* begin_recording(Stream stream) {
  if (recording) return "CUDA: a recording within another one";
  recording = new Recording{stream, {}};
  return nullptr;
}

void* end_recording(Stream stream) { return records(stream) ? std::exchange(recording, nullptr) : nullptr; }

const char* replay(void* made, Stream stream) {
  if (records(stream)) return "CUDA: a replay within a recording";
  for (const auto& work : static_cast<Recording*>(made)->work) work();
  return nullptr;
}

void release_recording(void* made) { delete static_cast<Recording*>(made); }

}  // namespace fastmlp::cuda
