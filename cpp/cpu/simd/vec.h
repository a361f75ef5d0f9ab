// Vec<T> and Mask<T>: the vector vocabulary that all kernels are written in.
//
// Included at the end of each ISA header, after it has defined Native<T>: the register type and
// the operations that differ between instruction sets. Everything here is the same for all.
//
// Contracts that hold for every ISA:
//   min, max          as on x86: the SECOND argument is returned if either is NaN
//   comparisons       false if either side is NaN
//   *_n, load_strided touch exactly the n elements they name, 0 <= n <= lanes
//   reduce_*          a fixed order: a pairwise tree over the lanes, the same in all sums
#pragma once

#include <cstddef>

#include "cpu/isa.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
struct Vec;

template <class T>
struct Mask {
  using N = Native<T>;

  typename N::Bits bits;

  static FASTMLP_INLINE Mask of(typename N::Bits bits) {
    Mask mask;
    mask.bits = bits;
    return mask;
  }

  friend FASTMLP_INLINE Mask operator&(Mask a, Mask b) { return of(N::mask_and(a.bits, b.bits)); }
  friend FASTMLP_INLINE Mask operator|(Mask a, Mask b) { return of(N::mask_or(a.bits, b.bits)); }
  friend FASTMLP_INLINE Mask operator~(Mask a) { return of(N::mask_not(a.bits)); }
  friend FASTMLP_INLINE bool any(Mask a) { return N::mask_any(a.bits); }
  friend FASTMLP_INLINE Vec<T> select(Mask mask, Vec<T> if_true, Vec<T> if_false) {
    return Vec<T>::of(N::select(mask.bits, if_true.reg, if_false.reg));
  }
};

template <class T>
struct Vec {
  using value_type = T;
  using N = Native<T>;
  static constexpr int lanes = N::lanes;

  typename N::Reg reg;

  Vec() = default;  // uninitialised
  FASTMLP_INLINE Vec(T value) : reg(N::broadcast(value)) {}

  static FASTMLP_INLINE Vec of(typename N::Reg reg) {
    Vec v;
    v.reg = reg;
    return v;
  }

  static FASTMLP_INLINE Vec load(const T* p) { return of(N::load(p)); }
  static FASTMLP_INLINE Vec load_n(const T* p, int n) { return of(N::load_n(p, n)); }
  // Lane i is p[i * stride] for i < n, the others are 0.
  static FASTMLP_INLINE Vec load_strided(const T* p, std::ptrdiff_t stride, int n) {
    return of(N::load_strided(p, stride, n));
  }
  FASTMLP_INLINE void store(T* p) const { N::store(p, reg); }
  FASTMLP_INLINE void store_n(T* p, int n) const { N::store_n(p, n, reg); }

  friend FASTMLP_INLINE Vec operator+(Vec a, Vec b) { return of(a.reg + b.reg); }
  friend FASTMLP_INLINE Vec operator-(Vec a, Vec b) { return of(a.reg - b.reg); }
  friend FASTMLP_INLINE Vec operator*(Vec a, Vec b) { return of(a.reg * b.reg); }
  friend FASTMLP_INLINE Vec operator/(Vec a, Vec b) { return of(a.reg / b.reg); }
  friend FASTMLP_INLINE Vec operator-(Vec a) { return of(-a.reg); }
  FASTMLP_INLINE Vec& operator+=(Vec b) { return *this = *this + b; }
  FASTMLP_INLINE Vec& operator-=(Vec b) { return *this = *this - b; }
  FASTMLP_INLINE Vec& operator*=(Vec b) { return *this = *this * b; }

  friend FASTMLP_INLINE Mask<T> operator<(Vec a, Vec b) { return Mask<T>::of(N::lt(a.reg, b.reg)); }
  friend FASTMLP_INLINE Mask<T> operator<=(Vec a, Vec b) { return Mask<T>::of(N::le(a.reg, b.reg)); }
  friend FASTMLP_INLINE Mask<T> operator>(Vec a, Vec b) { return b < a; }
  friend FASTMLP_INLINE Mask<T> operator>=(Vec a, Vec b) { return b <= a; }
  friend FASTMLP_INLINE Mask<T> operator==(Vec a, Vec b) { return Mask<T>::of(N::eq(a.reg, b.reg)); }

  // a * b + c and c - a * b, with one rounding except in the scalar ISA.
  friend FASTMLP_INLINE Vec fma(Vec a, Vec b, Vec c) { return of(N::fma(a.reg, b.reg, c.reg)); }
  friend FASTMLP_INLINE Vec fnma(Vec a, Vec b, Vec c) { return of(N::fnma(a.reg, b.reg, c.reg)); }

  // a where the sign's bit is set, even of a zero.
  friend FASTMLP_INLINE Vec select_negative(Vec sign, Vec a, Vec b) {
    return of(N::select_negative(sign.reg, a.reg, b.reg));
  }
  friend FASTMLP_INLINE Vec min(Vec a, Vec b) { return of(N::min(a.reg, b.reg)); }
  friend FASTMLP_INLINE Vec max(Vec a, Vec b) { return of(N::max(a.reg, b.reg)); }
  friend FASTMLP_INLINE Vec abs(Vec a) { return of(N::abs(a.reg)); }
  friend FASTMLP_INLINE Vec sqrt(Vec a) { return of(N::sqrt(a.reg)); }
  // To the nearest integer, halves to even.
  friend FASTMLP_INLINE Vec round_nearest(Vec a) { return of(N::round_nearest(a.reg)); }
  friend FASTMLP_INLINE Vec copysign(Vec magnitude, Vec sign) { return of(N::copysign(magnitude.reg, sign.reg)); }
  // The same for a magnitude that is not negative.
  friend FASTMLP_INLINE Vec or_sign(Vec magnitude, Vec sign) { return of(N::or_sign(magnitude.reg, sign.reg)); }

  friend FASTMLP_INLINE T reduce_add(Vec a) { return N::reduce_add(a.reg); }
  friend FASTMLP_INLINE T reduce_max(Vec a) { return N::reduce_max(a.reg); }
  // out[0..3] = the four sums, bit for bit those of reduce_add, for the price of about two.
  friend FASTMLP_INLINE void reduce_add4(Vec a, Vec b, Vec c, Vec d, T* out) {
    N::reduce_add4(a.reg, b.reg, c.reg, d.reg, out);
  }

  // Lane i is the sum of the vector at p + i * lanes, bit for bit that of reduce_add.
  static FASTMLP_INLINE Vec reduce_add_each(const T* p) { return of(N::reduce_add_each(p)); }

  // 2^n for integral n with a normal result. From a sum n + power_shift, whose lowest bits are the exponent's, too.
  static constexpr T power_shift = sizeof(T) == 4 ? T(0x1.8p23 + 127) : T(0x1.8p52 + 1023);
  friend FASTMLP_INLINE Vec power_from(Vec sum) { return of(N::power_from(sum.reg)); }
  friend FASTMLP_INLINE Vec pow2n(Vec n) { return power_from(n + power_shift); }

  // v * 2^n for 1/2 <= |v| <= 2 and integral |n| <= 252 (float) or 2044 (double), rounded once
  // and correct where the result overflows or is denormal. The exponential's last step.
  friend FASTMLP_INLINE Vec scale2n_unit(Vec v, Vec n) { return of(N::scale2n_unit(v.reg, n.reg)); }

  // v * 2^n for any v and integral n in [-2200, 2200], rounded once, through overflow and
  // gradual underflow.
  friend FASTMLP_INLINE Vec scale2n(Vec v, Vec n) {
    if constexpr (N::has_scale) {
      return of(N::scale(v.reg, n.reg));
    } else {
      constexpr T max_exponent = sizeof(T) == 4 ? 127 : 1023;
      constexpr T min_exponent = 1 - max_exponent;
      // A step down leaves the last factor below 2^-digits: if the step had to round a
      // denormal, the final result is 0 whichever way it was rounded.
      constexpr T step_down = min_exponent + (sizeof(T) == 4 ? 24 : 53);
      for (int i = 0; i < 2; ++i) {
        const Vec step = select(n < min_exponent, step_down, min(Vec(max_exponent), max(n, T(0))));
        v *= pow2n(step);
        n -= step;
      }
      return v * pow2n(max(min(n, max_exponent), min_exponent));
    }
  }

  // v = mantissa * 2^exponent with mantissa in [sqrt(1/2), sqrt(2)); returns the exponent.
  // For positive finite v, denormals included.
  friend FASTMLP_INLINE Vec split_exponent(Vec v, Vec& mantissa) { return of(N::split_exponent(v.reg, mantissa.reg)); }
};

// True in lanes 0..n-1.
template <class T>
FASTMLP_INLINE Mask<T> first_n_mask(int n) {
  return Mask<T>::of(Native<T>::first_n(n));
}

// table[(bits of s) >> 22 & 7] in each lane: a value for the half octave that s > 0 is in, modulo four octaves.
FASTMLP_INLINE Vec<float> lookup8(const float (&table)[8], Vec<float> s) {
  return Vec<float>::of(Native<float>::lookup8(table, s.reg));
}

// Transposes one block of lanes x lanes elements: dst[j * ldd + i] = src[i * lds + j], stored in ascending order of j.
// The two blocks must not overlap.
template <class T>
FASTMLP_INLINE void transpose_square(const T* src, std::ptrdiff_t lds, T* dst, std::ptrdiff_t ldd) {
  Native<T>::transpose_square(src, lds, dst, ldd);
}

}  // namespace fastmlp::FASTMLP_ISA_NS
