// The device's runtime: memory, streams, errors. On the GPU CUDA's; otherwise that of the emulated device, whose memory is
// the host's and whose kernels run at once, or are recorded.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "core/device.h"

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
void note(cudaError_t status);

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
