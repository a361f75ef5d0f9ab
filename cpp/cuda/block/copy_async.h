// Copies from the device's memory to a block's shared memory on which no thread waits before it says so (and the others
// not before a barrier after that).
#pragma once

#include "cuda/block/block.h"

#if defined(__CUDACC__)
#include <cuda_pipeline.h>
#else
#include <vector>
#endif

namespace fastmlp::cuda {

// A pointer into the device's memory that the compiler has no such knowledge of, as it comes from memory itself: loads need
// not ask first where they go.
template <class T>
FASTMLP_DEVICE const T* in_device_memory(const T* p) {
#if defined(__CUDACC__)
  __builtin_assume(__isGlobal(p));
#endif
  return p;
}

// 4, 8 or 16 bytes, aligned to as many.
template <int bytes>
FASTMLP_DEVICE void copy_async(void* to, const void* from) {
#if defined(__CUDACC__)
  __pipeline_memcpy_async(to, from, bytes);
#else
  std::memcpy(to, from, bytes);
#endif
}

// Waits for all copies of this thread.
FASTMLP_DEVICE void await_copies() {
#if defined(__CUDACC__)
  __pipeline_commit();
  __pipeline_wait_prior(0);
#endif
}

// A thread's copies in groups. On the emulated device a copy arrives when its group is awaited, and NaNs stand in its place
// until then, so that a missing wait shows.
class CopyGroups {
 public:
  // The first `valid` of so many bytes (a multiple of 4), and zeros; `from` may be anything where there are none.
  template <int bytes>
  FASTMLP_DEVICE void copy(void* to, const void* from, int valid) {
    static_assert(bytes == 4 || bytes == 8 || bytes == 16);
#if !defined(__CUDACC__)
    std::memset(to, 0xff, bytes);
    pending_.push_back({to, from, valid, bytes, group_});
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const auto place = static_cast<unsigned>(__cvta_generic_to_shared(to));
    if constexpr (bytes == 16)
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(valid) : "memory");
    else
      asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(place), "l"(from), "n"(bytes), "r"(valid)
                   : "memory");
#else
    struct alignas(bytes) Piece {
      int words[bytes / 4];
    };
    Piece piece = {};
    if (valid == bytes) piece = *static_cast<const Piece*>(from);
#pragma unroll
    for (int i = 0; i < bytes / 4; ++i)
      if (valid < bytes && 4 * i < valid) piece.words[i] = static_cast<const int*>(from)[i];
    *static_cast<Piece*>(to) = piece;
#endif
  }

  // Ends a group, which may be empty.
  FASTMLP_DEVICE void commit() {
#if defined(__CUDACC__)
    __pipeline_commit();
#else
    ++group_;
#endif
  }

  // Waits for all groups but the last n.
  template <int n>
  FASTMLP_DEVICE void await_but() {
#if defined(__CUDACC__)
    __pipeline_wait_prior(n);
#else
    std::size_t arrived = 0;
    for (; arrived < pending_.size() && pending_[arrived].group < group_ - n; ++arrived) {
      const Pending& copy = pending_[arrived];
      std::memset(copy.to, 0, static_cast<std::size_t>(copy.bytes));
      if (copy.valid > 0) std::memcpy(copy.to, copy.from, static_cast<std::size_t>(copy.valid));
    }
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(arrived));
#endif
  }

#if !defined(__CUDACC__)

 private:
  struct Pending {
    void* to;
    const void* from;
    int valid, bytes, group;
  };
  std::vector<Pending> pending_;
  int group_ = 0;
#endif
};

// Fetches the line of memory to the cache that all multiprocessors share.
FASTMLP_DEVICE void prefetch([[maybe_unused]] const void* p) {
#if defined(__CUDACC__)
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
#endif
}

}  // namespace fastmlp::cuda
