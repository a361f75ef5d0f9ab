// Values and counters that blocks exchange through the device's memory while all of them run.
//
// A block writes its values, its threads meet at a barrier, and one of them raises a counter with release semantics; the
// reader's one thread polls the counter with acquire semantics, and the barrier after that lets the others read. Loads
// bypass the first-level cache, which may still have a value of an earlier step.
#pragma once

#include "core/types.h"
#include "cuda/block/copy_async.h"
#include "cuda/block/vectors.h"

namespace fastmlp::cuda {

#if !defined(__CUDACC__)
// What a test wants to see of the exchanges: it is called with each access, if it is set.
struct ExchangeWatch {
  enum class Access { Read, Write };
  static inline std::function<void(const void* address, std::size_t bytes, Access access)> see;

  static void tell(const void* address, std::size_t bytes, Access access) {
    if (see) see(address, bytes, access);
  }
};
#endif

FASTMLP_DEVICE float load_exchanged(const float* from) {
#if defined(__CUDACC__)
  return __ldcg(from);
#else
  ExchangeWatch::tell(from, sizeof(float), ExchangeWatch::Access::Read);
  return *from;
#endif
}

FASTMLP_DEVICE Quad<float> load_exchanged_quad(const float* from) {
#if defined(__CUDACC__)
  const float4 v = __ldcg(reinterpret_cast<const float4*>(from));
  return {{v.x, v.y, v.z, v.w}};
#else
  ExchangeWatch::tell(from, 4 * sizeof(float), ExchangeWatch::Access::Read);
  return load_quad(from);
#endif
}

FASTMLP_DEVICE void store_exchanged(float* to, float value) {
#if !defined(__CUDACC__)
  ExchangeWatch::tell(to, sizeof(float), ExchangeWatch::Access::Write);
#endif
  *to = value;
}

FASTMLP_DEVICE void store_exchanged_quad(float* to, const Quad<float>& quad) {
#if !defined(__CUDACC__)
  ExchangeWatch::tell(to, 4 * sizeof(float), ExchangeWatch::Access::Write);
#endif
  store_quad(to, quad);
}

// Of another block's shared memory.
FASTMLP_DEVICE Quad<float> load_of_cluster(const float* from) {
#if !defined(__CUDACC__)
  ExchangeWatch::tell(from, 4 * sizeof(float), ExchangeWatch::Access::Read);
#endif
  return load_quad(from);
}

// Four values to shared memory; copies of 16 bytes bypass the first-level cache, too.
FASTMLP_DEVICE void copy_exchanged_quad(float* to, const float* from) {
#if !defined(__CUDACC__)
  ExchangeWatch::tell(from, 4 * sizeof(float), ExchangeWatch::Access::Read);
  ExchangeWatch::tell(to, 4 * sizeof(float), ExchangeWatch::Access::Write);  // where a cluster's sums may have been
#endif
  copy_async<16>(to, from);
}

#if defined(__CUDACC__)

// By all threads of a block; returns when the counter has come to `target`. It traps after some ten seconds, so that a
// schedule that is wrong is an error and no hang.
FASTMLP_DEVICE void await_counter(const unsigned* counter, unsigned target) {
  if (threadIdx.x == 0) {
    constexpr unsigned kMostPolls = 1U << 25;
    unsigned now, polls = 0;
    do {
      if (++polls == kMostPolls) __trap();
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
    } while (static_cast<int>(now - target) < 0);
  }
  __syncthreads();
}

// By all threads, after a barrier.
FASTMLP_DEVICE void raise_counter(unsigned* counter) {
  if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

// The cluster's barrier in two halves, and where in the shared memory of block `rank` of the cluster the value is that
// is at `own` here. Other devices than Hopper have no clusters.
FASTMLP_DEVICE void arrive_at_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
FASTMLP_DEVICE void await_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
FASTMLP_DEVICE const float* in_cluster(const float* own, int rank) {
#if __CUDA_ARCH__ >= 900
  const float* there;
  asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(own), "r"(rank));
  return there;
#else
  return own + 0 * rank;
#endif
}

#endif

}  // namespace fastmlp::cuda
