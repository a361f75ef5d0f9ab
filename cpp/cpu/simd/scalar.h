// One lane in plain C++: the portable fallback, and the reference for the other instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"

namespace fastmlp::scalar {

// The layout of an IEEE number, and the operations that need it.
template <class T>
struct Format;
template <>
struct Format<float> {
  using Int = std::int32_t;
  using Unsigned = std::uint32_t;
  static constexpr int fraction_bits = 23, bias = 127;
  static constexpr float round_shift = 0x1.8p23F, smallest_normal = 0x1p-126F;
  static constexpr float sqrt_half = 0x1.6a09e6p-1F;
  static FASTMLP_INLINE float sqrt(float a) { return __builtin_sqrtf(a); }
  static FASTMLP_INLINE float copysign(float a, float b) { return __builtin_copysignf(a, b); }
};
template <>
struct Format<double> {
  using Int = std::int64_t;
  using Unsigned = std::uint64_t;
  static constexpr int fraction_bits = 52, bias = 1023;
  static constexpr double round_shift = 0x1.8p52, smallest_normal = 0x1p-1022;
  static constexpr double sqrt_half = 0x1.6a09e667f3bcdp-1;
  static FASTMLP_INLINE double sqrt(double a) { return __builtin_sqrt(a); }
  static FASTMLP_INLINE double copysign(double a, double b) { return __builtin_copysign(a, b); }
};

template <class T>
struct Native {
  using Reg = T;
  using Bits = bool;
  using F = Format<T>;
  using Int = typename F::Int;
  using Unsigned = typename F::Unsigned;
  static constexpr int lanes = 1;
  static constexpr bool has_scale = false;

  static FASTMLP_INLINE T broadcast(T a) { return a; }
  static FASTMLP_INLINE T load(const T* p) { return *p; }
  static FASTMLP_INLINE T load_n(const T* p, int n) { return n > 0 ? *p : T(0); }
  static FASTMLP_INLINE T load_strided(const T* p, std::ptrdiff_t, int n) { return load_n(p, n); }
  static FASTMLP_INLINE void store(T* p, T a) { *p = a; }
  static FASTMLP_INLINE void store_n(T* p, int n, T a) {
    if (n > 0) *p = a;
  }

  static FASTMLP_INLINE bool first_n(int n) { return n > 0; }
  static FASTMLP_INLINE bool mask_and(bool a, bool b) { return a && b; }
  static FASTMLP_INLINE bool mask_or(bool a, bool b) { return a || b; }
  static FASTMLP_INLINE bool mask_not(bool a) { return !a; }
  static FASTMLP_INLINE bool mask_any(bool a) { return a; }
  static FASTMLP_INLINE T select(bool mask, T a, T b) { return mask ? a : b; }
  static FASTMLP_INLINE bool lt(T a, T b) { return a < b; }
  static FASTMLP_INLINE bool le(T a, T b) { return a <= b; }
  static FASTMLP_INLINE bool eq(T a, T b) { return a == b; }

  static FASTMLP_INLINE T fma(T a, T b, T c) { return a * b + c; }
  static FASTMLP_INLINE T fnma(T a, T b, T c) { return c - a * b; }
  static FASTMLP_INLINE T min(T a, T b) { return a < b ? a : b; }
  static FASTMLP_INLINE T max(T a, T b) { return a > b ? a : b; }
  static FASTMLP_INLINE T select_negative(T sign, T a, T b) { return __builtin_signbit(sign) ? a : b; }
  static FASTMLP_INLINE T sqrt(T a) { return F::sqrt(a); }
  static FASTMLP_INLINE T copysign(T magnitude, T sign) { return F::copysign(magnitude, sign); }
  static FASTMLP_INLINE T or_sign(T magnitude, T sign) { return copysign(magnitude, sign); }
  static FASTMLP_INLINE T abs(T a) { return F::copysign(a, T(1)); }
  static FASTMLP_INLINE T round_nearest(T a) {
    // Numbers of 2^fraction_bits and more are integers already; so are NaN and infinity kept.
    constexpr T limit = T(Int(1) << F::fraction_bits);
    const T magnitude = abs(a);
    const T rounded = (magnitude + limit) - limit;
    return copysign(magnitude < limit ? rounded : magnitude, a);
  }

  static FASTMLP_INLINE T reduce_add(T a) { return a; }
  static FASTMLP_INLINE T reduce_max(T a) { return a; }
  static FASTMLP_INLINE T reduce_add_each(const T* p) { return *p; }
  static FASTMLP_INLINE void reduce_add4(T a, T b, T c, T d, T* out) {
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
  }

  // Adding round_shift leaves the integer n in the lowest bits of the fraction, from where it is shifted into the
  // exponent. All this in unsigned arithmetic, where no argument, NaN included, is undefined.
  static FASTMLP_INLINE Unsigned bits_of(T a) { return __builtin_bit_cast(Unsigned, a); }
  static FASTMLP_INLINE T power_of(Unsigned biased) { return __builtin_bit_cast(T, biased << F::fraction_bits); }
  static FASTMLP_INLINE T power_from(T sum) { return power_of(bits_of(sum)); }
  static FASTMLP_INLINE T scale2n_unit(T v, T n) {
    const Unsigned biased_twice = bits_of(n + (F::round_shift + 2 * F::bias)), half = biased_twice >> 1;
    return v * power_of(half) * power_of(biased_twice - half);
  }
  static FASTMLP_INLINE T split_exponent(T v, T& mantissa) {
    const bool denormal = v < F::smallest_normal;
    const Unsigned bits = bits_of(denormal ? v * T(Int(1) << F::fraction_bits) : v);
    const Int exponent = Int(bits - bits_of(F::sqrt_half)) >> F::fraction_bits;
    mantissa = __builtin_bit_cast(T, bits - (Unsigned(exponent) << F::fraction_bits));
    return T(exponent - (denormal ? F::fraction_bits : 0));
  }

  static FASTMLP_INLINE float lookup8(const float* table, float s) {
    return table[(__builtin_bit_cast(std::uint32_t, s) >> 22) & 7];
  }

  static FASTMLP_INLINE void transpose_square(const T* src, std::ptrdiff_t, T* dst, std::ptrdiff_t) { *dst = *src; }
};

// Integers in 64-bit lanes, here a single one, with the operators of the language's vectors.
typedef std::uint64_t Words __attribute__((vector_size(8)));
// 64-bit products of the lower halves.
FASTMLP_INLINE Words multiply_lower(Words a, Words b) { return (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF); }
FASTMLP_INLINE Words interleave_first(Words a, Words) { return a; }
FASTMLP_INLINE Words interleave_second(Words, Words b) { return b; }

}  // namespace fastmlp::scalar

#include "cpu/simd/vec.h"
