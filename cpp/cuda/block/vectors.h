// Memory in pieces of 16 bytes, the widest that a thread loads or stores at once.
#pragma once

#include "cuda/block/block.h"
#include "ops/common.h"

// Before a loop over registers: its index must be a constant, or they become memory.
#if defined(__CUDACC__)
#define FASTMLP_UNROLL _Pragma("unroll")
#define FASTMLP_UNROLL_BY(n) FASTMLP_UNROLL_PRAGMA(unroll n)
#define FASTMLP_UNROLL_PRAGMA(text) _Pragma(#text)
#else
#define FASTMLP_UNROLL
#define FASTMLP_UNROLL_BY(n)
#endif

namespace fastmlp::cuda {

template <class V>
struct alignas(16) Vector {
  static constexpr int kLanes = 16 / sizeof(V);
  V v[kLanes];
};

// Whether rows `ld` apart, the first at `data`, all begin where a Vector may.
template <class V>
FASTMLP_FORMULA bool takes_vectors(const V* data, Index ld) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && ld % Vector<V>::kLanes == 0;
}

// Up to `count` values (which may be more than there is room for, or negative) and zeros; `wide`: p is aligned.
template <class V>
FASTMLP_DEVICE Vector<V> load_vector(const V* p, int count, bool wide) {
  if (wide && count >= Vector<V>::kLanes) return *reinterpret_cast<const Vector<V>*>(p);
  Vector<V> result;
  FASTMLP_UNROLL
  for (int i = 0; i < Vector<V>::kLanes; ++i) result.v[i] = i < count ? p[i] : V(0);
  return result;
}

// Four values side by side in a row: what one thread finishes at a time.
template <class T>
struct Quad {
  static constexpr int kVectors = 4 / Vector<T>::kLanes;
  T v[4];
};

template <class T>
FASTMLP_DEVICE Quad<T> load_quad(const T* p, int count, bool wide) {
  Quad<T> result;
  if (wide && count >= 4) {
    FASTMLP_UNROLL
    for (int i = 0; i < Quad<T>::kVectors; ++i) {
      const auto part = reinterpret_cast<const Vector<T>*>(p)[i];
      FASTMLP_UNROLL
      for (int j = 0; j < Vector<T>::kLanes; ++j) result.v[i * Vector<T>::kLanes + j] = part.v[j];
    }
  } else {
    FASTMLP_UNROLL
    for (int i = 0; i < 4; ++i) result.v[i] = i < count ? p[i] : T(0);
  }
  return result;
}

template <class T>
FASTMLP_DEVICE void store_quad(T* p, const Quad<T>& quad, int count, bool wide) {
  if (wide && count >= 4) {
    FASTMLP_UNROLL
    for (int i = 0; i < Quad<T>::kVectors; ++i) {
      Vector<T> part;
      FASTMLP_UNROLL
      for (int j = 0; j < Vector<T>::kLanes; ++j) part.v[j] = quad.v[i * Vector<T>::kLanes + j];
      reinterpret_cast<Vector<T>*>(p)[i] = part;
    }
  } else {
    FASTMLP_UNROLL
    for (int i = 0; i < 4; ++i)
      if (i < count) p[i] = quad.v[i];
  }
}

// The same in shared memory and in scratch, where every quad is whole and aligned.
template <class T>
FASTMLP_DEVICE Quad<T> load_quad(const T* p) {
  return load_quad(p, 4, true);
}
template <class T>
FASTMLP_DEVICE void store_quad(T* p, const Quad<T>& quad) {
  store_quad(p, quad, 4, true);
}

}  // namespace fastmlp::cuda
