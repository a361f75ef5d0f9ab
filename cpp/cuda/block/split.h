// Sums that several blocks share: each writes its part to scratch memory, and the last one to arrive adds them up, in
// the order of the parts. Which block that is differs from run to run; the result does not.
#pragma once

#include "cuda/block/vectors.h"

namespace fastmlp::cuda {

// Scratch memory ends with a counter for each shared result. Kernels find zeros there and leave zeros; the rest is anyone's.
inline constexpr int kMostShared = 1024;
inline constexpr std::size_t kPartBytes = 8 << 20;
inline constexpr std::size_t kCounterBytes = kMostShared * sizeof(unsigned);

// What a product has of it. Products of one launch, or of launches that may run at a time, need pieces of their own: `from`
// counters and `bytes` (a multiple of 16) of the parts' memory further on.
struct SharedSums {
  unsigned char* memory;
  unsigned* counters;

  explicit SharedSums(unsigned char* scratch, int from = 0, std::size_t bytes = 0)
      : memory(scratch + bytes), counters(reinterpret_cast<unsigned*>(scratch + kPartBytes) + from) {}

  template <class T>
  FASTMLP_DEVICE T* parts() const {
    return reinterpret_cast<T*>(memory);
  }
};

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

// Whether this block is the last of `blocks`, after all its threads wrote their parts. `last` is a word of shared memory,
// which nothing else uses before the next barrier. One thread's fence between barriers holds for what the others wrote
// before and read afterwards: the order is cumulative (PTX ISA, "Memory Consistency Model", causality order). The counter
// begins again by itself.
template <class K>
FASTMLP_DEVICE bool arrives_last(Block<K>& block, int* last, unsigned* counter, int blocks) {
  block.each([&](int, auto&) {});
  block.each([&](int thread, auto&) {
    if (thread != 0) return;
    const auto most = static_cast<unsigned>(blocks) - 1;
    unsigned before;
#if defined(__CUDACC__)
    asm volatile(
        "fence.acq_rel.gpu;\n\t"
        "atom.relaxed.gpu.global.inc.u32 %0, [%1], %2;\n\t"
        "fence.acq_rel.gpu;"
        : "=r"(before)
        : "l"(counter), "r"(most)
        : "memory");
#else
    before = *counter;
    *counter = before >= most ? 0 : before + 1;
#endif
    *last = before == most;
  });
  return *last != 0;
}

}  // namespace fastmlp::cuda
