// Quad<T>: four values, for the few rows of a tiny batch on machines whose vectors have room for more.
//
// Where a vector has four lanes or fewer (kHasQuads false), it is not used.
#pragma once

#include "cpu/isa.h"
#include FASTMLP_ISA_HEADER

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
constexpr bool kHasQuads = Vec<T>::lanes > 4;

template <class T>
struct Quad;

#if defined(__FMA__)
template <>
struct Quad<float> {
  static constexpr int lanes = 4;
  __m128 reg;
  FASTMLP_INLINE Quad() = default;
  FASTMLP_INLINE Quad(__m128 r) : reg(r) {}
  FASTMLP_INLINE Quad(float value) : reg(_mm_set1_ps(value)) {}
  static FASTMLP_INLINE Quad load(const float* p) { return _mm_loadu_ps(p); }
  FASTMLP_INLINE void store(float* p) const { _mm_storeu_ps(p, reg); }
  friend FASTMLP_INLINE Quad operator*(Quad a, Quad b) { return a.reg * b.reg; }
  friend FASTMLP_INLINE Quad operator+(Quad a, Quad b) { return a.reg + b.reg; }
  friend FASTMLP_INLINE Quad fma(Quad a, Quad b, Quad c) { return _mm_fmadd_ps(a.reg, b.reg, c.reg); }
};

template <>
struct Quad<double> {
  static constexpr int lanes = 4;
  __m256d reg;
  FASTMLP_INLINE Quad() = default;
  FASTMLP_INLINE Quad(__m256d r) : reg(r) {}
  FASTMLP_INLINE Quad(double value) : reg(_mm256_set1_pd(value)) {}
  static FASTMLP_INLINE Quad load(const double* p) { return _mm256_loadu_pd(p); }
  FASTMLP_INLINE void store(double* p) const { _mm256_storeu_pd(p, reg); }
  friend FASTMLP_INLINE Quad operator*(Quad a, Quad b) { return a.reg * b.reg; }
  friend FASTMLP_INLINE Quad operator+(Quad a, Quad b) { return a.reg + b.reg; }
  friend FASTMLP_INLINE Quad fma(Quad a, Quad b, Quad c) { return _mm256_fmadd_pd(a.reg, b.reg, c.reg); }
};
#endif

// A vector of as many quads as it has room for.
template <class T>
FASTMLP_INLINE Vec<T> join_quads(const Quad<T>* quads) {
  decltype(quads->reg) regs[Vec<T>::lanes / 4];
  for (int i = 0; i < Vec<T>::lanes / 4; ++i) regs[i] = quads[i].reg;
  return Vec<T>::of(Native<T>::join_quads(regs));
}

// A vector of the same quad again and again.
template <class T>
FASTMLP_INLINE Vec<T> repeat_quad(Quad<T> q) {
  return Vec<T>::of(Native<T>::repeat_quad(q.reg));
}
// Likewise, with quad i of a vector.
template <class T, int i>
FASTMLP_INLINE Vec<T> repeat_quad_of(Vec<T> v) {
  return Vec<T>::of(Native<T>::template repeat_quad_of<i>(v.reg));
}
// Quad i is p[i] four times; reads four values.
template <class T>
FASTMLP_INLINE Vec<T> spread_to_quads(const T* p) {
  return Vec<T>::of(Native<T>::spread(p));
}

// Value i of quad q is the sum of that quad of vector i.
template <class T>
FASTMLP_INLINE Vec<T> sums_in_quads(const Vec<T> (&v)[4]) {
  return Vec<T>::of(Native<T>::sums_in_quads(v[0].reg, v[1].reg, v[2].reg, v[3].reg));
}
// Lane i is the sum of the quad at p + 4 i.
template <class T>
FASTMLP_INLINE Vec<T> reduce_add_quads(const T* p) {
  return Vec<T>::of(Native<T>::reduce_add_quads(p));
}

}  // namespace fastmlp::FASTMLP_ISA_NS
