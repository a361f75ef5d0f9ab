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

namespace fastmlp::cuda {

namespace {

// Errors -----------------------------------------------------------------------------------------------------------

// What was used before fork() is of no use to the child.
bool forked = false;

struct Error {
  cudaError_t status = cudaSuccess;
  const char* doing = "";
};
thread_local Error first_error;

void note(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // it is kept here
  if (first_error.status == cudaSuccess) first_error = {status, doing};
}

const char* advice(cudaError_t status) {
  int device = 0;
  if (forked) return "; CUDA was used before this process was forked: start processes by \"spawn\"";
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorUnsupportedPtxVersion)
    return "; the library has no code for this device: build it with FASTMLP_CUDA_ARCHS";
  if (cudaGetDevice(&device) == cudaSuccess && device != 0)
    return "; the thread's current device is not the first one, which alone is used (see CUDA_VISIBLE_DEVICES)";
  return "";
}

// The thread's first error since the last report, in words, or null.
const char* report() {
  const Error error = std::exchange(first_error, {});
  if (error.status == cudaSuccess) return nullptr;
  thread_local char words[512];
  std::snprintf(words, sizeof words, "CUDA: %s (%s)%s", cudaGetErrorString(error.status), error.doing,
                advice(error.status));
  return words;
}

// Device -----------------------------------------------------------------------------------------------------------

// The thread's current device is the first one while this lives.
class FirstDevice {
 public:
  FirstDevice() {
    if (cudaGetDevice(&before_) != cudaSuccess) before_ = 0;
    if (before_ != 0) note(cudaSetDevice(0), "choosing the first device");
  }
  ~FirstDevice() {
    if (before_ != 0) cudaSetDevice(before_);
  }
  FirstDevice(const FirstDevice&) = delete;
  FirstDevice& operator=(const FirstDevice&) = delete;

 private:
  int before_ = 0;
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
  const FirstDevice scope;
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

// Uploads ----------------------------------------------------------------------------------------------------------

// Pageable memory goes through two pieces of pinned memory in turns, so that one is filled while the other is under way.
class Stage {
 public:
  static constexpr std::size_t kBytes = std::size_t{4} << 20;

  // Without the pinned memory CUDA copies by itself, more slowly.
  void upload(unsigned char* to, const unsigned char* from, std::size_t bytes, cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!ready()) return note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), kDoing);
    for (std::size_t at = 0; at < bytes; at += kBytes) {
      PinnedBuffer& buffer = buffers_[turn_];
      turn_ = 1 - turn_;
      const std::size_t count = std::min(kBytes, bytes - at);
      note(cudaEventSynchronize(buffer.taken), kDoing);
      std::memcpy(buffer.memory, from + at, count);
      note(cudaMemcpyAsync(to + at, buffer.memory, count, cudaMemcpyHostToDevice, stream), kDoing);
      note(cudaEventRecord(buffer.taken, stream), kDoing);
    }
  }

 private:
  static constexpr const char* kDoing = "copying from the host";
  struct PinnedBuffer {
    void* memory = nullptr;
    cudaEvent_t taken = nullptr;  // after its last copy
  };

  bool ready() {
    for (PinnedBuffer& buffer : buffers_) {
      if (!buffer.memory && cudaMallocHost(&buffer.memory, kBytes) != cudaSuccess) buffer.memory = nullptr;
      if (!buffer.taken && cudaEventCreateWithFlags(&buffer.taken, cudaEventDisableTiming) != cudaSuccess)
        buffer.taken = nullptr;
      if (buffer.memory && buffer.taken) continue;
      cudaGetLastError();
      return false;
    }
    return true;
  }

  std::mutex mutex_;
  PinnedBuffer buffers_[2];
  int turn_ = 0;
};

Stage& stage() {
  static Stage& instance = *new Stage;
  return instance;
}

}  // namespace

// runtime.h --------------------------------------------------------------------------------------------------------

cudaStream_t native(Stream stream) {
  if (records(stream)) return recording.captured;
  return stream ? static_cast<cudaStream_t>(stream) : own_stream();
}

void note(cudaError_t status) { note(status, "starting a kernel"); }

int multiprocessors() { return devices().all.empty() ? 1 : devices().all[0].multiProcessorCount; }
std::size_t most_shared_bytes() { return devices().all.empty() ? 0 : devices().all[0].sharedMemPerBlockOptin; }
int capability() { return devices().all.empty() ? 0 : devices().all[0].major * 10 + devices().all[0].minor; }

// device.h ---------------------------------------------------------------------------------------------------------

int count() { return forked ? 0 : static_cast<int>(devices().all.size()); }

const char* problem() {
  if (forked) return "CUDA was used before this process was forked: start processes by \"spawn\"";
  return devices().problem;
}

const char* name(int device) {
  const auto& all = devices().all;
  return device >= 0 && device < static_cast<int>(all.size()) ? all[static_cast<std::size_t>(device)].name : nullptr;
}

void* allocate(std::size_t bytes) {
  if (recording.active) return nullptr;
  const FirstDevice scope;
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
  const FirstDevice scope;
  note(cudaFree(memory), "releasing memory");  // waits for the work that uses it
  large_tidy();
}

const char* upload(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (records(stream)) return "CUDA: a copy from the host among recorded kernels";
  const FirstDevice scope;
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
  if (records(stream)) return "CUDA: a copy to the host among recorded kernels";
  const FirstDevice scope;
  if (bytes > 0) note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, native(stream)), "copying to the host");
  note(cudaStreamSynchronize(native(stream)), "waiting for the device");
  return report();
}

const char* copy(void* to, const void* from, std::size_t bytes, Stream stream) {
  const FirstDevice scope;
  ++enqueued;
  if (bytes > 0) note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, native(stream)), "copying");
  return report();
}

const char* synchronize(Stream stream) {
  if (records(stream)) return "CUDA: a wait for the device among recorded kernels";
  const FirstDevice scope;
  note(cudaStreamSynchronize(native(stream)), "waiting for the device");
  return report();
}

Stream make_stream() {
  Stream made = new_stream();
  return report() ? nullptr : made;
}

const char* begin_recording(Stream stream) {
  if (recording.active) return "CUDA: a recording within another one";
  const FirstDevice scope;
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
  const FirstDevice scope;
  const cudaStream_t captured = std::exchange(recording, {}).captured;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t steps = nullptr;
  note(cudaStreamEndCapture(captured, &graph), "ending a recording");
  if (graph) {
    note(cudaGraphInstantiate(&steps, graph, 0), "making a graph of a recording");
    cudaGraphDestroy(graph);
  }
  cudaStreamDestroy(captured);
  return steps;
}

const char* replay(void* made, Stream stream) {
  const FirstDevice scope;
  note(cudaGraphLaunch(static_cast<cudaGraphExec_t>(made), native(stream)), "replaying a recording");
  return report();
}

void release_recording(void* made) {
  if (forked || !made) return;
  const FirstDevice scope;
  note(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(made)), "releasing a recording");  // at its end, if it runs
}

}  // namespace fastmlp::cuda
