// AVX-512 (F, DQ, BW, VL): 16 floats or 8 doubles. Masks are mask registers.
#pragma once

// g++ 12 reports its own deliberately undefined registers as uninitialised.
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"

namespace fastmlp::avx512 {

template <class T>
struct Native;

template <class BitsType, int lane_count>
struct NativeMask {
  using Bits = BitsType;
  static constexpr int lanes = lane_count;
  static constexpr bool has_scale = true;

  static FASTMLP_INLINE Bits first_n(int n) { return Bits((1U << n) - 1U); }
  static FASTMLP_INLINE Bits mask_and(Bits a, Bits b) { return Bits(a & b); }
  static FASTMLP_INLINE Bits mask_or(Bits a, Bits b) { return Bits(a | b); }
  static FASTMLP_INLINE Bits mask_not(Bits a) { return Bits(~a); }
  static FASTMLP_INLINE bool mask_any(Bits a) { return a != 0; }
};

template <>
struct Native<float> : NativeMask<__mmask16, 16> {
  using Reg = __m512;

  static FASTMLP_INLINE Reg broadcast(float a) { return _mm512_set1_ps(a); }
  static FASTMLP_INLINE Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static FASTMLP_INLINE Reg load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(first_n(n), p); }
  // Element by element: gathers are slower on most machines, and their indices could overflow.
  static FASTMLP_INLINE float element(const float* p, std::ptrdiff_t stride, int i, int n) {
    return i < n ? p[i * stride] : 0.0F;
  }
  static FASTMLP_INLINE __m128 quarter(const float* p, std::ptrdiff_t stride, int i, int n) {
    return _mm_setr_ps(element(p, stride, i, n), element(p, stride, i + 1, n), element(p, stride, i + 2, n),
                       element(p, stride, i + 3, n));
  }
  static FASTMLP_INLINE Reg load_strided(const float* p, std::ptrdiff_t stride, int n) {
    return join(quarter(p, stride, 0, n), quarter(p, stride, 4, n), quarter(p, stride, 8, n),
                quarter(p, stride, 12, n));
  }
  static FASTMLP_INLINE Reg join_quads(const __m128* q) { return join(q[0], q[1], q[2], q[3]); }
  static FASTMLP_INLINE Reg repeat_quad(__m128 q) { return _mm512_broadcast_f32x4(q); }
  template <int i>
  static FASTMLP_INLINE Reg repeat_quad_of(Reg a) {
    return _mm512_shuffle_f32x4(a, a, i * 0x55);
  }
  static FASTMLP_INLINE Reg spread(const float* p) {
    return _mm512_permutevar_ps(repeat_quad(_mm_loadu_ps(p)),
                                _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
  }
  static FASTMLP_INLINE Reg join(__m128 a, __m128 b, __m128 c, __m128 d) {
    const __m256 ab = _mm256_insertf128_ps(_mm256_castps128_ps256(a), b, 1);
    const __m256 cd = _mm256_insertf128_ps(_mm256_castps128_ps256(c), d, 1);
    return _mm512_insertf32x8(_mm512_castps256_ps512(ab), cd, 1);
  }
  static FASTMLP_INLINE void store(float* p, Reg a) { _mm512_storeu_ps(p, a); }
  static FASTMLP_INLINE void store_n(float* p, int n, Reg a) { _mm512_mask_storeu_ps(p, first_n(n), a); }

  static FASTMLP_INLINE Reg select(Bits mask, Reg a, Reg b) { return _mm512_mask_blend_ps(mask, b, a); }
  static FASTMLP_INLINE Reg select_negative(Reg sign, Reg a, Reg b) {
    return select(_mm512_movepi32_mask(_mm512_castps_si512(sign)), a, b);
  }
  static FASTMLP_INLINE Bits lt(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static FASTMLP_INLINE Bits le(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
  static FASTMLP_INLINE Bits eq(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }

  static FASTMLP_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static FASTMLP_INLINE Reg fnma(Reg a, Reg b, Reg c) { return _mm512_fnmadd_ps(a, b, c); }
  static FASTMLP_INLINE Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static FASTMLP_INLINE Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static FASTMLP_INLINE Reg abs(Reg a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0F), a); }
  static FASTMLP_INLINE Reg sqrt(Reg a) { return _mm512_sqrt_ps(a); }
  static FASTMLP_INLINE Reg round_nearest(Reg a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static FASTMLP_INLINE Reg copysign(Reg magnitude, Reg sign) {
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(_mm512_set1_ps(-0.0F)),
                                                         _mm512_castps_si512(sign), _mm512_castps_si512(magnitude),
                                                         0xCA));  // where the first: the second, else the third
  }
  static FASTMLP_INLINE Reg or_sign(Reg magnitude, Reg sign) { return copysign(magnitude, sign); }

  // Within each quarter: elements 0 + 2 and 1 + 3, then those; then quarters 0 + 2 and 1 + 3.
  static FASTMLP_INLINE __m128 add_quarters(Reg a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  static FASTMLP_INLINE float reduce_add(Reg a) {
    const Reg pair = _mm512_add_ps(a, _mm512_permute_ps(a, 0x4E));
    return _mm_cvtss_f32(add_quarters(_mm512_add_ps(pair, _mm512_permute_ps(pair, 0xB1))));
  }
  static FASTMLP_INLINE float reduce_max(Reg a) {
    const Reg pair = max(a, _mm512_permute_ps(a, 0x4E));
    const Reg quarter = max(pair, _mm512_permute_ps(pair, 0xB1));
    const Reg half = max(quarter, _mm512_shuffle_f32x4(quarter, quarter, 0x4E));
    return _mm512_cvtss_f32(max(half, _mm512_shuffle_f32x4(half, half, 0xB1)));
  }
  // In each quad (a quarter), the sums of the four registers' quads.
  static FASTMLP_INLINE Reg sums_in_quads(Reg a, Reg b, Reg c, Reg d) {
    const Reg ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const Reg cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
  }
  static FASTMLP_INLINE Reg reduce_add_quads(const float* p) {
    const Reg sums = sums_in_quads(load(p), load(p + lanes), load(p + 2 * lanes), load(p + 3 * lanes));
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), sums);
  }
  static FASTMLP_INLINE void reduce_add4(Reg a, Reg b, Reg c, Reg d, float* out) {
    _mm_storeu_ps(out, add_quarters(sums_in_quads(a, b, c, d)));
  }
  static FASTMLP_INLINE Reg reduce_add_each(const float* p) {
    Reg s[4];
    FASTMLP_UNROLL
    for (int i = 0; i < 4; ++i, p += 4 * lanes)
      s[i] = sums_in_quads(load(p), load(p + lanes), load(p + 2 * lanes), load(p + 3 * lanes));
    const Reg s01 = _mm512_add_ps(_mm512_shuffle_f32x4(s[0], s[1], 0x44), _mm512_shuffle_f32x4(s[0], s[1], 0xEE));
    const Reg s23 = _mm512_add_ps(_mm512_shuffle_f32x4(s[2], s[3], 0x44), _mm512_shuffle_f32x4(s[2], s[3], 0xEE));
    return _mm512_add_ps(_mm512_shuffle_f32x4(s01, s23, 0x88), _mm512_shuffle_f32x4(s01, s23, 0xDD));
  }

  static FASTMLP_INLINE Reg power_from(Reg sum) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(sum), 23));
  }
  static FASTMLP_INLINE Reg scale(Reg v, Reg n) { return _mm512_scalef_ps(v, n); }
  static FASTMLP_INLINE Reg scale2n_unit(Reg v, Reg n) { return _mm512_scalef_ps(v, n); }
  static FASTMLP_INLINE Reg split_exponent(Reg v, Reg& mantissa) {
    const Reg exponent = _mm512_getexp_ps(v);
    const Reg one_to_two = _mm512_getmant_ps(v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
    const Bits upper = le(_mm512_set1_ps(0x1.6a09e6p0F), one_to_two);
    mantissa = _mm512_mask_mul_ps(one_to_two, upper, one_to_two, _mm512_set1_ps(0.5F));
    return _mm512_mask_add_ps(exponent, upper, exponent, _mm512_set1_ps(1.0F));
  }

  static FASTMLP_INLINE Reg lookup8(const float* table, Reg s) {
    return _mm512_permutexvar_ps(_mm512_srli_epi32(_mm512_castps_si512(s), 22),
                                 _mm512_broadcast_f32x8(_mm256_loadu_ps(table)));
  }

  // Four columns' worth of rows 0-3, 4-7, 8-11, 12-15 in the quarters, then 4x4 within each.
  static FASTMLP_INLINE void transpose_square(const float* src, std::ptrdiff_t lds, float* dst, std::ptrdiff_t ldd) {
    FASTMLP_UNROLL
    for (int j = 0; j < lanes; j += 4) {
      const Reg r0 = four_quarters(src + j, 4 * lds);
      const Reg r1 = four_quarters(src + j + lds, 4 * lds);
      const Reg r2 = four_quarters(src + j + 2 * lds, 4 * lds);
      const Reg r3 = four_quarters(src + j + 3 * lds, 4 * lds);
      const Reg low01 = _mm512_unpacklo_ps(r0, r1), high01 = _mm512_unpackhi_ps(r0, r1);
      const Reg low23 = _mm512_unpacklo_ps(r2, r3), high23 = _mm512_unpackhi_ps(r2, r3);
      store(dst + j * ldd, _mm512_shuffle_ps(low01, low23, 0x44));
      store(dst + (j + 1) * ldd, _mm512_shuffle_ps(low01, low23, 0xEE));
      store(dst + (j + 2) * ldd, _mm512_shuffle_ps(high01, high23, 0x44));
      store(dst + (j + 3) * ldd, _mm512_shuffle_ps(high01, high23, 0xEE));
    }
  }
  static FASTMLP_INLINE Reg four_quarters(const float* p, std::ptrdiff_t step) {
    return join(_mm_loadu_ps(p), _mm_loadu_ps(p + step), _mm_loadu_ps(p + 2 * step), _mm_loadu_ps(p + 3 * step));
  }
};

template <>
struct Native<double> : NativeMask<__mmask8, 8> {
  using Reg = __m512d;

  static FASTMLP_INLINE Reg broadcast(double a) { return _mm512_set1_pd(a); }
  static FASTMLP_INLINE Reg load(const double* p) { return _mm512_loadu_pd(p); }
  static FASTMLP_INLINE Reg load_n(const double* p, int n) { return _mm512_maskz_loadu_pd(first_n(n), p); }
  static FASTMLP_INLINE double element(const double* p, std::ptrdiff_t stride, int i, int n) {
    return i < n ? p[i * stride] : 0.0;
  }
  static FASTMLP_INLINE __m128d quarter(const double* p, std::ptrdiff_t stride, int i, int n) {
    return _mm_setr_pd(element(p, stride, i, n), element(p, stride, i + 1, n));
  }
  static FASTMLP_INLINE Reg load_strided(const double* p, std::ptrdiff_t stride, int n) {
    return join(quarter(p, stride, 0, n), quarter(p, stride, 2, n), quarter(p, stride, 4, n), quarter(p, stride, 6, n));
  }
  static FASTMLP_INLINE Reg join(__m128d a, __m128d b, __m128d c, __m128d d) {
    const __m256d ab = _mm256_insertf128_pd(_mm256_castpd128_pd256(a), b, 1);
    const __m256d cd = _mm256_insertf128_pd(_mm256_castpd128_pd256(c), d, 1);
    return _mm512_insertf64x4(_mm512_castpd256_pd512(ab), cd, 1);
  }
  static FASTMLP_INLINE Reg join_quads(const __m256d* q) {
    return _mm512_insertf64x4(_mm512_castpd256_pd512(q[0]), q[1], 1);
  }
  static FASTMLP_INLINE void store(double* p, Reg a) { _mm512_storeu_pd(p, a); }
  static FASTMLP_INLINE void store_n(double* p, int n, Reg a) { _mm512_mask_storeu_pd(p, first_n(n), a); }

  static FASTMLP_INLINE Reg select(Bits mask, Reg a, Reg b) { return _mm512_mask_blend_pd(mask, b, a); }
  static FASTMLP_INLINE Reg select_negative(Reg sign, Reg a, Reg b) {
    return select(_mm512_movepi64_mask(_mm512_castpd_si512(sign)), a, b);
  }
  static FASTMLP_INLINE Bits lt(Reg a, Reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
  static FASTMLP_INLINE Bits le(Reg a, Reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
  static FASTMLP_INLINE Bits eq(Reg a, Reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }

  static FASTMLP_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  static FASTMLP_INLINE Reg fnma(Reg a, Reg b, Reg c) { return _mm512_fnmadd_pd(a, b, c); }
  static FASTMLP_INLINE Reg min(Reg a, Reg b) { return _mm512_min_pd(a, b); }
  static FASTMLP_INLINE Reg max(Reg a, Reg b) { return _mm512_max_pd(a, b); }
  static FASTMLP_INLINE Reg abs(Reg a) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), a); }
  static FASTMLP_INLINE Reg sqrt(Reg a) { return _mm512_sqrt_pd(a); }
  static FASTMLP_INLINE Reg round_nearest(Reg a) {
    return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static FASTMLP_INLINE Reg copysign(Reg magnitude, Reg sign) {
    return _mm512_castsi512_pd(_mm512_ternarylogic_epi64(
        _mm512_castpd_si512(_mm512_set1_pd(-0.0)), _mm512_castpd_si512(sign), _mm512_castpd_si512(magnitude), 0xCA));
  }
  static FASTMLP_INLINE Reg or_sign(Reg magnitude, Reg sign) { return copysign(magnitude, sign); }

  static FASTMLP_INLINE double reduce_add(Reg a) {
    const Reg pair = _mm512_add_pd(a, _mm512_permute_pd(a, 0x55));
    const Reg half = _mm512_add_pd(pair, _mm512_shuffle_f64x2(pair, pair, 0xB1));
    return _mm512_cvtsd_f64(_mm512_add_pd(half, _mm512_shuffle_f64x2(half, half, 0x4E)));
  }
  static FASTMLP_INLINE double reduce_max(Reg a) {
    const Reg pair = max(a, _mm512_permute_pd(a, 0x55));
    const Reg half = max(pair, _mm512_shuffle_f64x2(pair, pair, 0xB1));
    return _mm512_cvtsd_f64(max(half, _mm512_shuffle_f64x2(half, half, 0x4E)));
  }
  // Quarters: a b of the lower half, a b of the upper, c d of the lower, c d of the upper.
  static FASTMLP_INLINE Reg sums_in_halves(Reg a, Reg b, Reg c, Reg d) {
    const Reg ab = _mm512_add_pd(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
    const Reg cd = _mm512_add_pd(_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
    return _mm512_add_pd(_mm512_shuffle_f64x2(ab, cd, 0x88), _mm512_shuffle_f64x2(ab, cd, 0xDD));
  }
  static FASTMLP_INLINE Reg reduce_add_each(const double* p) {
    const Reg s0 = sums_in_halves(load(p), load(p + lanes), load(p + 2 * lanes), load(p + 3 * lanes));
    const Reg s1 = sums_in_halves(load(p + 4 * lanes), load(p + 5 * lanes), load(p + 6 * lanes), load(p + 7 * lanes));
    return _mm512_add_pd(_mm512_shuffle_f64x2(s0, s1, 0x88), _mm512_shuffle_f64x2(s0, s1, 0xDD));
  }
  static FASTMLP_INLINE Reg reduce_add_quads(const double* p) {
    const Reg sums = sums_in_halves(load(p), load(p + lanes), load(p + 2 * lanes), load(p + 3 * lanes));
    return _mm512_permutexvar_pd(_mm512_setr_epi64(0, 2, 1, 3, 4, 6, 5, 7), sums);
  }
  static FASTMLP_INLINE void reduce_add4(Reg a, Reg b, Reg c, Reg d, double* out) {
    const Reg half = sums_in_halves(a, b, c, d);
    const Reg lower = _mm512_shuffle_f64x2(half, half, 0x08);
    const Reg upper = _mm512_shuffle_f64x2(half, half, 0x0D);
    _mm256_storeu_pd(out, _mm256_add_pd(_mm512_castpd512_pd256(lower), _mm512_castpd512_pd256(upper)));
  }

  static FASTMLP_INLINE Reg power_from(Reg sum) {
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(sum), 52));
  }
  static FASTMLP_INLINE Reg scale(Reg v, Reg n) { return _mm512_scalef_pd(v, n); }
  static FASTMLP_INLINE Reg scale2n_unit(Reg v, Reg n) { return _mm512_scalef_pd(v, n); }
  static FASTMLP_INLINE Reg split_exponent(Reg v, Reg& mantissa) {
    const Reg exponent = _mm512_getexp_pd(v);
    const Reg one_to_two = _mm512_getmant_pd(v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
    const Bits upper = le(_mm512_set1_pd(0x1.6a09e667f3bcdp0), one_to_two);
    mantissa = _mm512_mask_mul_pd(one_to_two, upper, one_to_two, _mm512_set1_pd(0.5));
    return _mm512_mask_add_pd(exponent, upper, exponent, _mm512_set1_pd(1.0));
  }

  static FASTMLP_INLINE void transpose_square(const double* src, std::ptrdiff_t lds, double* dst, std::ptrdiff_t ldd) {
    FASTMLP_UNROLL
    for (int j = 0; j < lanes; j += 2) {
      const Reg r0 = four_quarters(src + j, 2 * lds), r1 = four_quarters(src + j + lds, 2 * lds);
      store(dst + j * ldd, _mm512_unpacklo_pd(r0, r1));
      store(dst + (j + 1) * ldd, _mm512_unpackhi_pd(r0, r1));
    }
  }
  static FASTMLP_INLINE Reg four_quarters(const double* p, std::ptrdiff_t step) {
    return join(_mm_loadu_pd(p), _mm_loadu_pd(p + step), _mm_loadu_pd(p + 2 * step), _mm_loadu_pd(p + 3 * step));
  }
};

// Integers in 64-bit lanes, with the operators of the language's vectors.
typedef std::uint64_t Words __attribute__((vector_size(64)));
// 64-bit products of the lower halves.
FASTMLP_INLINE Words multiply_lower(Words a, Words b) { return Words(_mm512_mul_epu32(__m512i(a), __m512i(b))); }
FASTMLP_INLINE Words interleave_first(Words a, Words b) {
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
FASTMLP_INLINE Words interleave_second(Words a, Words b) {
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

}  // namespace fastmlp::avx512

#include "cpu/simd/vec.h"
