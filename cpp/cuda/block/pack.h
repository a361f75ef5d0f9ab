// Loops over contiguous values, 16 bytes at a time where all addresses allow, spread over threads.
//
// A body is called as body(offset, width), where width is Width<n> for n values; load makes a pack of as many and store
// takes it, so that a body is written once.
#pragma once

#include <cstdint>

#include "core/types.h"
#include "cuda/block/block.h"

namespace fastmlp::cuda {

inline constexpr int kPackBytes = 16;

template <int n>
struct Width {
  static constexpr int value = n;
};

template <class T, int n>
struct alignas(n * sizeof(T)) Pack {
  T value[n];
};

template <class T, int n>
FASTMLP_DEVICE Pack<T, n> load(const T* p, Width<n>) {
  return *reinterpret_cast<const Pack<T, n>*>(p);
}
template <class T, int n>
FASTMLP_DEVICE void store(T* p, const Pack<T, n>& pack) {
  *reinterpret_cast<Pack<T, n>*>(p) = pack;
}

// Whether packs may begin at all of these addresses.
template <class... Pointer>
FASTMLP_FORMULA bool aligned(const Pointer*... p) {
  return (... | reinterpret_cast<std::uintptr_t>(p)) % kPackBytes == 0;
}

// The share of thread `first` among `threads` in n values.
template <class T, class Body>
FASTMLP_DEVICE void for_values(Index first, Index threads, Index n, bool packs, const Body& body) {
  constexpr int width = kPackBytes / sizeof(T);
  const Index whole = packs ? n / width : 0;
  for (Index pack = first; pack < whole; pack += threads) body(pack * width, Width<width>{});
  for (Index i = whole * width + first; i < n; i += threads) body(i, Width<1>{});
}

// The same for a thread of the whole grid.
template <class T, class K, class Body>
FASTMLP_DEVICE void for_values(const Block<K>& block, int thread, Index n, bool packs, const Body& body) {
  for_values<T>(Index{block.index().x} * K::kThreads + thread, Index{block.grid().x} * K::kThreads, n, packs, body);
}

// Blocks of K for so many threads, or for as many as run at a time.
template <class K>
int blocks_for(Index threads) {
  const Index blocks = (threads + K::kThreads - 1) / K::kThreads;
  const Index most = Index{multiprocessors()} * (2048 / K::kThreads);
  return static_cast<int>(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

// Blocks that give each thread a pack of n values.
template <class K, class T>
int blocks_of_packs(Index n) {
  constexpr Index width = kPackBytes / sizeof(T);
  return blocks_for<K>((n + width - 1) / width);
}

}  // namespace fastmlp::cuda
