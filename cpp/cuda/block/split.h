// Sums that several blocks share: each writes its part to scratch memory, and the last one to arrive adds them up, in
// the order of the parts. Which block that is differs from run to run; the result does not.
#pragma once

#include "cuda/block/vectors.h"

namespace fastmlp::cuda {

// Scratch memory ends with a counter for each shared result. Kernels find zeros there and leave zeros; the rest is anyone's.
inline constexpr int kMostShared = 1024;
inline constexpr std::size_t kPartBytes = 8 << 20;
inline constexpr std::size_t kCounterBytes = kMostShared * sizeof(unsigned);

FASTMLP_DEVICE unsigned* counters(unsigned char* scratch) { return reinterpret_cast<unsigned*>(scratch + kPartBytes); }
template <class T>
FASTMLP_DEVICE T* parts(unsigned char* scratch) {
  return reinterpret_cast<T*>(scratch);
}

FASTMLP_DEVICE void fence() {
#if defined(__CUDACC__)
  __threadfence();
#endif
}

// Past the cache of this multiprocessor, to what another one wrote.
template <class T>
FASTMLP_DEVICE T load_part(const T* p) {
#if defined(__CUDACC__)
  return __ldcg(p);
#else
  return *p;
#endif
}
FASTMLP_DEVICE Quad<float> load_part_quad(const float* p) {
#if defined(__CUDACC__)
  const float4 q = __ldcg(reinterpret_cast<const float4*>(p));
  return {{q.x, q.y, q.z, q.w}};
#else
  return load_quad(p);
#endif
}
FASTMLP_DEVICE Quad<double> load_part_quad(const double* p) {
#if defined(__CUDACC__)
  const double2 low = __ldcg(reinterpret_cast<const double2*>(p)),
                high = __ldcg(reinterpret_cast<const double2*>(p) + 1);
  return {{low.x, low.y, high.x, high.y}};
#else
  return load_quad(p);
#endif
}

// Whether this block is the last of `blocks`, after all its threads wrote their parts. Uses a word of shared memory.
template <class K>
FASTMLP_DEVICE bool arrives_last(Block<K>& block, unsigned* counter, int blocks) {
  auto* const last = reinterpret_cast<int*>(block.shared());
  block.each([&](int, auto&) { fence(); });
  block.each([&](int thread, auto&) {
    if (thread != 0) return;
#if defined(__CUDACC__)
    const unsigned before = atomicAdd(counter, 1U);
#else
    const unsigned before = (*counter)++;
#endif
    *last = before + 1 == static_cast<unsigned>(blocks);
    if (*last) *counter = 0;
  });
  if (!*last) return false;
  fence();
  return true;
}

}  // namespace fastmlp::cuda
