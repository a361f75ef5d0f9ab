// The emulated device: one, whose memory is the host's and whose kernels and copies run as soon as they are enqueued, on
// the calling thread, so that all streams are in order. A recording is a list of them.
#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "cuda/emulation/emulation.h"
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

thread_local int current_device = 0;
thread_local const char* first_problem = nullptr;
thread_local const char* next_failure = nullptr;

const char* report() { return std::exchange(first_problem, nullptr); }

// The caller's capture, one at a time.
std::mutex capture_mutex;
Recording* captured = nullptr;
bool spoilt = false;
std::uint64_t captures = 0;

// What CUDA does not allow while anybody captures.
void disturb() {
  const std::lock_guard<std::mutex> lock(capture_mutex);
  spoilt = true;
}

struct Counters {
  std::atomic<long> uploads{0}, downloads{0}, synchronizations{0}, waits{0}, recordings{0}, replays{0}, launches{0},
      pending{0}, most_pending{0};
};
Counters counters;

// Why nothing can be copied or waited for in this stream; null: it can.
const char* refusal(Stream stream, const char* recorded) {
  if (records(stream)) return recorded;
  if (capture(stream)) return kCaptured;
  disturb();
  return nullptr;
}

struct Download {
  std::vector<unsigned char> values;
};

}  // namespace

namespace emulation {

void make_current(int device) { current_device = device; }
int current() { return current_device; }

void fail_next(const char* problem) { next_failure = problem; }

void begin_capture(Stream stream) {
  const std::lock_guard<std::mutex> lock(capture_mutex);
  delete std::exchange(captured, new Recording{stream, {}});
  spoilt = false;
  ++captures;
}

void* end_capture(Stream stream) {
  const std::lock_guard<std::mutex> lock(capture_mutex);
  if (!captured || captured->stream != stream) return nullptr;
  Recording* const made = std::exchange(captured, nullptr);
  if (!spoilt) return made;
  delete made;
  return nullptr;
}

Counts counts() {
  return {counters.uploads,    counters.downloads, counters.synchronizations, counters.waits,
          counters.recordings, counters.replays,   counters.launches,         counters.most_pending};
}

}  // namespace emulation

// runtime.h --------------------------------------------------------------------------------------------------------

void enqueue(Stream stream, std::function<void()> work) {
  ++counters.launches;
  if (next_failure) return note_problem(std::exchange(next_failure, nullptr));
  if (current_device != 0) return note_problem("CUDA: a kernel outside the device's scope");
  if (records(stream)) {
    recording->work.push_back(std::move(work));
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(capture_mutex);
    if (captured && captured->stream == stream) {
      captured->work.push_back(std::move(work));
      return;
    }
  }
  work();
}

DeviceScope::DeviceScope() : before_(std::exchange(current_device, 0)) {}
DeviceScope::~DeviceScope() { current_device = before_; }
DeviceScope::operator bool() const { return true; }

void note_problem(const char* words) {
  if (!first_problem) first_problem = words;
}

// An H200's.
int multiprocessors() { return 132; }
std::size_t most_shared_bytes() { return 227 * 1024; }
int capability() { return 0; }

// device.h ---------------------------------------------------------------------------------------------------------

int count() { return 1; }
const char* problem() { return nullptr; }
const char* name(int) { return "emulated device"; }

// Of exactly the size asked for, so that a sanitizer sees what lies beyond.
void* allocate(std::size_t bytes) {
  if (recording) return nullptr;
  disturb();
  void* memory = ::operator new(bytes, kAlignment, std::nothrow);
  if (memory) std::memset(memory, 0, bytes);
  return memory;
}

void release(void* memory) {
  disturb();
  ::operator delete(memory, kAlignment);
}

const char* upload(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (const char* why = refusal(stream, "CUDA: a copy from the host among recorded kernels")) return why;
  ++counters.uploads;
  if (bytes > 0) std::memcpy(to, from, bytes);
  return report();
}

const char* download(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (const char* why = refusal(stream, "CUDA: a copy to the host among recorded kernels")) return why;
  ++counters.downloads;
  if (bytes > 0) std::memcpy(to, from, bytes);
  return report();
}

const char* copy(void* to, const void* from, std::size_t bytes, Stream stream) {
  const DeviceScope scope;
  if (bytes > 0) enqueue(stream, [=] { std::memcpy(to, from, bytes); });
  return report();
}

const char* synchronize(Stream stream) {
  if (const char* why = refusal(stream, "CUDA: a wait for the device among recorded kernels")) return why;
  ++counters.synchronizations;
  return report();
}

// All streams are in order.
const char* wait(Stream stream, Stream other) {
  if (stream != other && !capture(stream) && !capture(other)) ++counters.waits;
  return report();
}

// The values of now, which nobody sees before the end.
void* begin_download(const void* from, std::size_t bytes, Stream stream) {
  if (const char* why = refusal(stream, "CUDA: a copy to the host among recorded kernels")) {
    note_problem(why);
    return nullptr;
  }
  ++counters.downloads;
  if (const long pending = ++counters.pending; pending > counters.most_pending) counters.most_pending = pending;
  const auto* const values = static_cast<const unsigned char*>(from);
  return new Download{{values, values + bytes}};
}

const char* end_download(void* download, void* to) {
  auto* const made = static_cast<Download*>(download);
  --counters.pending;
  if (to && !made->values.empty()) std::memcpy(to, made->values.data(), made->values.size());
  delete made;
  return report();
}

const char* launch_problem() { return report(); }

// A stream is but an address of its own.
Stream make_stream() {
  static char streams[256];
  static std::atomic<unsigned> made{0};
  return streams + made++ % sizeof streams;
}

const char* begin_recording(Stream stream) {
  if (recording) return "CUDA: a recording within another one";
  if (capture(stream)) return kCaptured;
  ++counters.recordings;
  recording = new Recording{stream, {}};
  return nullptr;
}

void* end_recording(Stream stream) { return records(stream) ? std::exchange(recording, nullptr) : nullptr; }

const char* replay(void* made, Stream stream) {
  if (records(stream)) return "CUDA: a replay within a recording";
  ++counters.replays;
  for (const auto& work : static_cast<Recording*>(made)->work) work();
  return report();
}

void release_recording(void* made) { delete static_cast<Recording*>(made); }

std::uint64_t capture(Stream stream) {
  const std::lock_guard<std::mutex> lock(capture_mutex);
  return captured && captured->stream == stream && !records(stream) ? captures : 0;
}

}  // namespace fastmlp::cuda
