// The device's runtime: memory, streams, errors. On the GPU CUDA's; otherwise that of the emulated device, whose memory is
// the host's and whose kernels run at once, or are recorded.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <limits>

#include "core/device.h"
#include "core/types.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include <cstring>
#include <functional>
#include <memory>
#endif

namespace fastmlp::cuda {

#if defined(__CUDACC__)

// The stream itself, or the device's own for null.
cudaStream_t native(Stream stream);
// Keeps the thread's first error for the next function that reports one.
void note(cudaError_t status, const char* doing = "starting a kernel");

#else

// Runs the work, or records it.
void enqueue(Stream stream, std::function<void()> work);

// A block's shared memory, of exactly the size asked for, so that a sanitizer sees what lies beyond.
class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes) : memory_(static_cast<unsigned char*>(::operator new(bytes, kAlignment))) {
    std::memset(memory_, 0xff, bytes);
  }
  ~SharedMemory() { ::operator delete(memory_, kAlignment); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  unsigned char* data() const { return memory_; }

 private:
  static constexpr std::align_val_t kAlignment{128};
  unsigned char* memory_;
};

#endif

// While it lives, the library's device is the thread's current one, whatever the thread's other libraries have made current:
// every kernel of the table, and every function of the device, runs within one.
class DeviceScope {
 public:
  DeviceScope();
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

  // False in a process that was forked after CUDA was used; the thread's next report says so.
  explicit operator bool() const;

 private:
  int before_ = 0;
};

// Keeps a problem, in words that stay, for the thread's next report, unless there is one already.
void note_problem(const char* words);

// Whether these rows and columns are few enough for kernels, which count them as int. Notes a problem where not.
inline bool takes_extents(std::initializer_list<Index> extents) {
  for (const Index extent : extents)
    if (extent > std::numeric_limits<int>::max()) {
      note_problem("CUDA: a matrix of more than 2147483647 rows or columns");
      return false;
    }
  return true;
}

// Kernels and copies that the calling thread has enqueued so far: while it stands still, no matrix changes.
inline thread_local std::uint64_t enqueued = 0;

// Multiprocessors and shared memory of a block at most, in bytes; of the emulated device those of an H200.
int multiprocessors();
std::size_t most_shared_bytes();
// Compute capability times 10: 90 for an H200; 0: emulated.
int capability();

// Whether kernels may run that no device has run before.
inline bool unproved() {
  const char* const said = std::getenv("FASTMLP_CUDA_UNPROVED");
  return said && said[0] == '1' && said[1] == 0;
}

}  // namespace fastmlp::cuda
