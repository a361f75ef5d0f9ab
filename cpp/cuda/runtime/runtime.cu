// CUDA's memory, streams and graphs. Errors are kept for the thread and told in words by its next function that can.
//
// Recorded work goes to a stream of the recording thread's own, never to the caller's: so other threads may go on using
// that, and it may be one that cannot be captured.
#include <pthread.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/large/large.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/runtime.h"
#include "cuda/runtime/transfers.h"

namespace fastmlp::cuda {

namespace {

// Errors -----------------------------------------------------------------------------------------------------------

// What was used before fork() is of no use to the child.
bool forked = false;

constexpr const char* kForked = "CUDA was used before this process was forked: start processes by \"spawn\"";

struct Error {
  cudaError_t status = cudaSuccess;
  const char* doing = "";
  const char* words = nullptr;  // of an error that is not CUDA's
};
thread_local Error first_error;

bool has_error() { return first_error.status != cudaSuccess || first_error.words; }

const char* advice(cudaError_t status) {
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorUnsupportedPtxVersion)
    return "; the library has no code for this device: build it with FASTMLP_CUDA_ARCHS";
  return "";
}

// The thread's first error since the last report, in words, or null.
const char* report() {
  if (!has_error()) return nullptr;
  const Error error = std::exchange(first_error, {});
  if (error.words) return error.words;
  thread_local char words[512];
  std::snprintf(words, sizeof words, "CUDA: %s (%s)%s", cudaGetErrorString(error.status), error.doing,
                advice(error.status));
  return words;
}

// Device -----------------------------------------------------------------------------------------------------------

// The device's scope, in which calls that a capture of another thread's forbids (memory, waiting) leave that alone.
class Aside {
 public:
  Aside() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~Aside() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;

 private:
  const DeviceScope scope_;
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

struct Devices {
  std::vector<cudaDeviceProp> all;
  const char* problem = nullptr;
};

// Those that CUDA showed at first. Kept to the end of the process, as all here: at its exit CUDA may be gone before.
const Devices& devices() {
  static const Devices& found = *[] {
    pthread_atfork(nullptr, nullptr, [] { forked = true; });
    auto* const result = new Devices;
    int driver = 0, count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaSuccess) {
      result->all.resize(static_cast<std::size_t>(count));
      for (int i = 0; i < count; ++i)
        if (cudaGetDeviceProperties(&result->all[static_cast<std::size_t>(i)], i) != cudaSuccess) count = i;
      result->all.resize(static_cast<std::size_t>(count));
    }
    cudaGetLastError();
    if (!result->all.empty()) return result;
    if (status == cudaErrorNoDevice || status == cudaSuccess) {
      result->problem = "no CUDA device: the NVIDIA driver is there, but shows none (see CUDA_VISIBLE_DEVICES)";
    } else if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
      result->problem = "no NVIDIA driver: install the one of the GPU";
    } else {
      static char words[256];
      if (status == cudaErrorInsufficientDriver)
        std::snprintf(words, sizeof words, "NVIDIA driver too old: it knows CUDA %d.%d, and this build needs %d.%d",
                      driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
      else
        std::snprintf(words, sizeof words, "no CUDA device can be used: %s", cudaGetErrorString(status));
      result->problem = words;
    }
    return result;
  }();
  return found;
}

// Streams ----------------------------------------------------------------------------------------------------------

cudaStream_t new_stream() {
  const Aside scope;
  cudaStream_t stream = nullptr;
  note(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  return stream;
}

cudaStream_t own_stream() {
  static const cudaStream_t stream = new_stream();
  return stream;
}

// What the calling thread records: work for `stream` goes to `captured`.
struct Recording {
  bool active = false;
  Stream stream = nullptr;
  cudaStream_t captured = nullptr;
};
thread_local Recording recording;

bool records(Stream stream) { return recording.active && recording.stream == stream; }

// Whether the caller captures the stream. Not what this library records, nor its own stream.
std::uint64_t capture_of(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long id = 0;
  if (cudaStreamGetCaptureInfo(stream, &status, &id) != cudaSuccess) {
    cudaGetLastError();
    return ~std::uint64_t{0};  // the legacy stream, while another one is captured
  }
  return status == cudaStreamCaptureStatusNone ? 0 : id;
}

// Why nothing can be copied or waited for in this stream; null: it can.
const char* refusal(Stream stream, const char* recorded) {
  if (forked) return kForked;
  if (records(stream)) return recorded;
  return capture(stream) ? kCaptured : nullptr;
}

}  // namespace

// runtime.h --------------------------------------------------------------------------------------------------------

cudaStream_t native(Stream stream) {
  if (records(stream)) return recording.captured;
  return stream ? static_cast<cudaStream_t>(stream) : own_stream();
}

void note(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // it is kept here
  if (!has_error()) first_error = {status, doing};
}

void note_problem(const char* words) {
  if (!has_error()) first_error.words = words;
}

DeviceScope::DeviceScope() {
  if (forked || cudaGetDevice(&before_) != cudaSuccess) before_ = 0;
  if (before_ != 0) note(cudaSetDevice(0), "choosing the first device");
}
DeviceScope::~DeviceScope() {
  if (before_ != 0) cudaSetDevice(before_);
}
DeviceScope::operator bool() const {
  if (forked) note_problem(kForked);
  return !forked;
}

int multiprocessors() { return devices().all.empty() ? 1 : devices().all[0].multiProcessorCount; }
std::size_t most_shared_bytes() { return devices().all.empty() ? 0 : devices().all[0].sharedMemPerBlockOptin; }
int capability() { return devices().all.empty() ? 0 : devices().all[0].major * 10 + devices().all[0].minor; }

// device.h ---------------------------------------------------------------------------------------------------------

int count() { return forked ? 0 : static_cast<int>(devices().all.size()); }

const char* problem() { return forked ? kForked : devices().problem; }

const char* name(int device) {
  const auto& all = devices().all;
  return device >= 0 && device < static_cast<int>(all.size()) ? all[static_cast<std::size_t>(device)].name : nullptr;
}

void* allocate(std::size_t bytes) {
  if (recording.active || forked) return nullptr;
  const Aside scope;
  void* memory = nullptr;
  cudaError_t status = cudaMalloc(&memory, std::max<std::size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // told by null
    return nullptr;
  }
  // Streams do not wait for one another, so the zeros have to be there when this returns.
  static const cudaStream_t zeroing = new_stream();
  if (status == cudaSuccess) status = cudaMemsetAsync(memory, 0, bytes, zeroing);
  if (status == cudaSuccess) status = cudaStreamSynchronize(zeroing);
  note(status, "allocating memory");
  if (status == cudaSuccess) return memory;
  cudaFree(memory);
  return nullptr;
}

void release(void* memory) {
  if (forked || !memory) return;
  const Aside scope;
  note(cudaFree(memory), "releasing memory");  // waits for the work that uses it
  large_tidy();
}

const char* upload(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (const char* why = refusal(stream, "CUDA: a copy from the host among recorded kernels")) return why;
  const Aside scope;
  ++enqueued;
  // CUDA has taken over a small piece of pageable memory when it returns.
  constexpr std::size_t kSmall = std::size_t{64} << 10;
  if (bytes > kSmall)
    stage().upload(static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), bytes, native(stream));
  else if (bytes > 0)
    note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, native(stream)), "copying from the host");
  return report();
}

const char* download(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (const char* why = refusal(stream, "CUDA: a copy to the host among recorded kernels")) return why;
  const Aside scope;
  if (bytes > 0) note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, native(stream)), "copying to the host");
  note(cudaStreamSynchronize(native(stream)), "waiting for the device");
  return report();
}

const char* copy(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (forked) return kForked;
  const DeviceScope scope;
  ++enqueued;
  if (bytes > 0) note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, native(stream)), "copying");
  return report();
}

const char* synchronize(Stream stream) {
  if (const char* why = refusal(stream, "CUDA: a wait for the device among recorded kernels")) return why;
  const Aside scope;
  note(cudaStreamSynchronize(native(stream)), "waiting for the device");
  return report();
}

const char* launch_problem() { return report(); }

std::uint64_t capture(Stream stream) {
  return stream && !forked && !records(stream) ? capture_of(static_cast<cudaStream_t>(stream)) : 0;
}

const char* wait(Stream stream, Stream other) {
  if (forked) return kForked;
  // A capture may not depend on what is outside, nor the other way round.
  if (stream == other || capture(stream) || capture(other)) return nullptr;
  const Aside scope;
  // One event for all: a later use of it changes nothing for those who wait already.
  static std::mutex& mutex = *new std::mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  static const cudaEvent_t event = new_event();
  note(cudaEventRecord(event, native(other)), "marking the end of a stream's work");
  note(cudaStreamWaitEvent(native(stream), event, 0), "waiting for another stream");
  return report();
}

void* begin_download(const void* from, std::size_t bytes, Stream stream) {
  if (const char* why = refusal(stream, "CUDA: a copy to the host among recorded kernels")) {
    note_problem(why);
    return nullptr;
  }
  const Aside scope;
  return downloads().begin(from, bytes, native(stream));
}

const char* end_download(void* download, void* to) {
  if (forked) return kForked;
  const Aside scope;
  downloads().end(static_cast<Downloads::One*>(download), to);
  return report();
}

Stream make_stream() {
  Stream made = new_stream();
  return report() ? nullptr : made;
}

const char* begin_recording(Stream stream) {
  if (recording.active) return "CUDA: a recording within another one";
  const Aside scope;
  cudaStream_t captured = new_stream();
  if (const char* why = report()) return why;
  note(cudaStreamBeginCapture(captured, cudaStreamCaptureModeThreadLocal), "beginning a recording");
  if (const char* why = report()) {
    cudaStreamDestroy(captured);
    return why;
  }
  recording = {true, stream, captured};
  return nullptr;
}

void* end_recording(Stream stream) {
  if (!records(stream)) return nullptr;
  const Aside scope;
  const cudaStream_t captured = std::exchange(recording, {}).captured;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t steps = nullptr;
  note(cudaStreamEndCapture(captured, &graph), "ending a recording");
  if (graph) {
    note(cudaGraphInstantiate(&steps, graph, 0), "making a graph of a recording");
    cudaGraphDestroy(graph);
    if (steps) note(cudaGraphUpload(steps, native(stream)), "bringing a recording to the device");
  }
  cudaStreamDestroy(captured);
  return steps;
}

const char* replay(void* made, Stream stream) {
  if (forked) return kForked;
  const DeviceScope scope;
  note(cudaGraphLaunch(static_cast<cudaGraphExec_t>(made), native(stream)), "replaying a recording");
  return report();
}

void release_recording(void* made) {
  if (forked || !made) return;
  const Aside scope;
  note(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(made)), "releasing a recording");  // at its end, if it runs
}

}  // namespace fastmlp::cuda
