// AVX2 and FMA: 8 floats or 4 doubles. Masks are integer registers with all bits of a lane alike.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"

namespace fastmlp::avx2 {

template <class T>
struct Native;

// What does not depend on the element type.
struct NativeMask {
  using Bits = __m256i;
  static constexpr bool has_scale = false;

  static FASTMLP_INLINE Bits mask_and(Bits a, Bits b) { return _mm256_and_si256(a, b); }
  static FASTMLP_INLINE Bits mask_or(Bits a, Bits b) { return _mm256_or_si256(a, b); }
  static FASTMLP_INLINE Bits mask_not(Bits a) { return _mm256_xor_si256(a, _mm256_set1_epi32(-1)); }
  static FASTMLP_INLINE bool mask_any(Bits a) { return !_mm256_testz_si256(a, a); }
};

template <>
struct Native<float> : NativeMask {
  using Reg = __m256;
  static constexpr int lanes = 8;

  static FASTMLP_INLINE Reg broadcast(float a) { return _mm256_set1_ps(a); }
  static FASTMLP_INLINE Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static FASTMLP_INLINE Reg load_n(const float* p, int n) { return _mm256_maskload_ps(p, first_n(n)); }
  // Element by element: gathers are slower on most machines, and their indices could overflow.
  static FASTMLP_INLINE float element(const float* p, std::ptrdiff_t stride, int i, int n) {
    return i < n ? p[i * stride] : 0.0F;
  }
  static FASTMLP_INLINE Reg load_strided(const float* p, std::ptrdiff_t stride, int n) {
    return _mm256_setr_ps(element(p, stride, 0, n), element(p, stride, 1, n), element(p, stride, 2, n),
                          element(p, stride, 3, n), element(p, stride, 4, n), element(p, stride, 5, n),
                          element(p, stride, 6, n), element(p, stride, 7, n));
  }
  static FASTMLP_INLINE void store(float* p, Reg a) { _mm256_storeu_ps(p, a); }
  static FASTMLP_INLINE void store_n(float* p, int n, Reg a) { _mm256_maskstore_ps(p, first_n(n), a); }

  static FASTMLP_INLINE Bits first_n(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static FASTMLP_INLINE Reg select(Bits mask, Reg a, Reg b) {
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(mask));
  }
  static FASTMLP_INLINE Reg select_negative(Reg sign, Reg a, Reg b) { return _mm256_blendv_ps(b, a, sign); }
  static FASTMLP_INLINE Bits lt(Reg a, Reg b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
  static FASTMLP_INLINE Bits le(Reg a, Reg b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LE_OQ)); }
  static FASTMLP_INLINE Bits eq(Reg a, Reg b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }

  static FASTMLP_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static FASTMLP_INLINE Reg fnma(Reg a, Reg b, Reg c) { return _mm256_fnmadd_ps(a, b, c); }
  static FASTMLP_INLINE Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static FASTMLP_INLINE Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static FASTMLP_INLINE Reg abs(Reg a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
  static FASTMLP_INLINE Reg sqrt(Reg a) { return _mm256_sqrt_ps(a); }
  static FASTMLP_INLINE Reg round_nearest(Reg a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static FASTMLP_INLINE Reg copysign(Reg magnitude, Reg sign) { return or_sign(abs(magnitude), sign); }
  static FASTMLP_INLINE Reg or_sign(Reg magnitude, Reg sign) {
    return _mm256_or_ps(magnitude, _mm256_and_ps(_mm256_set1_ps(-0.0F), sign));
  }

  // Within each half: elements 0 + 2 and 1 + 3, then those; then the halves.
  static FASTMLP_INLINE float reduce_add(Reg a) {
    const Reg pair = _mm256_add_ps(a, _mm256_permute_ps(a, 0x4E));
    const Reg half = _mm256_add_ps(pair, _mm256_permute_ps(pair, 0xB1));
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  }
  static FASTMLP_INLINE float reduce_max(Reg a) {
    const Reg pair = max(a, _mm256_permute_ps(a, 0x4E));
    const Reg half = max(pair, _mm256_permute_ps(pair, 0xB1));
    return _mm_cvtss_f32(_mm_max_ss(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  }
  // In each quad (a half), the sums of the four registers' quads.
  static FASTMLP_INLINE Reg sums_in_quads(Reg a, Reg b, Reg c, Reg d) {
    const Reg ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const Reg cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    return _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
  }
  static FASTMLP_INLINE Reg reduce_add_each(const float* p) {
    const Reg s0 = sums_in_quads(load(p), load(p + lanes), load(p + 2 * lanes), load(p + 3 * lanes));
    const Reg s1 = sums_in_quads(load(p + 4 * lanes), load(p + 5 * lanes), load(p + 6 * lanes), load(p + 7 * lanes));
    return _mm256_add_ps(_mm256_permute2f128_ps(s0, s1, 0x20), _mm256_permute2f128_ps(s0, s1, 0x31));
  }
  static FASTMLP_INLINE Reg reduce_add_quads(const float* p) {
    const Reg sums = sums_in_quads(load(p), load(p + lanes), load(p + 2 * lanes), load(p + 3 * lanes));
    return _mm256_permutevar8x32_ps(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  static FASTMLP_INLINE Reg join_quads(const __m128* q) { return _mm256_set_m128(q[1], q[0]); }
  static FASTMLP_INLINE Reg repeat_quad(__m128 q) { return _mm256_set_m128(q, q); }
  template <int i>
  static FASTMLP_INLINE Reg repeat_quad_of(Reg a) {
    return _mm256_permute2f128_ps(a, a, i * 0x11);
  }
  static FASTMLP_INLINE Reg spread(const float* p) {
    return _mm256_permutevar_ps(repeat_quad(_mm_loadu_ps(p)), _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
  }
  static FASTMLP_INLINE void reduce_add4(Reg a, Reg b, Reg c, Reg d, float* out) {
    const Reg half = sums_in_quads(a, b, c, d);
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  }

  // Adding 1.5 * 2^23 leaves the integer n in the lowest bits of the fraction, from where it is shifted into the
  // exponent.
  static FASTMLP_INLINE __m256i integer_bits(Reg n, float bias) {
    return _mm256_castps_si256(_mm256_add_ps(n, _mm256_set1_ps(0x1.8p23F + bias)));
  }
  static FASTMLP_INLINE Reg power_of(__m256i biased) { return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23)); }
  static FASTMLP_INLINE Reg power_from(Reg sum) { return power_of(_mm256_castps_si256(sum)); }
  static FASTMLP_INLINE Reg scale2n_unit(Reg v, Reg n) {
    const __m256i biased_twice = integer_bits(n, 2 * 127), half = _mm256_srli_epi32(biased_twice, 1);
    return v * power_of(half) * power_of(_mm256_sub_epi32(biased_twice, half));
  }
  static FASTMLP_INLINE Reg split_exponent(Reg v, Reg& mantissa) {
    const Reg denormal = _mm256_cmp_ps(v, _mm256_set1_ps(0x1p-126F), _CMP_LT_OQ);
    const __m256i bits = _mm256_castps_si256(_mm256_blendv_ps(v, _mm256_mul_ps(v, _mm256_set1_ps(0x1p23F)), denormal));
    const __m256i offset = _mm256_castps_si256(_mm256_set1_ps(0x1.6a09e6p-1F));  // sqrt(1/2)
    const __m256i exponent = _mm256_srai_epi32(_mm256_sub_epi32(bits, offset), 23);
    mantissa = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(exponent, 23)));
    return _mm256_sub_ps(_mm256_cvtepi32_ps(exponent), _mm256_and_ps(denormal, _mm256_set1_ps(23.0F)));
  }

  static FASTMLP_INLINE Reg lookup8(const float* table, Reg s) {
    return _mm256_permutevar8x32_ps(load(table), _mm256_srli_epi32(_mm256_castps_si256(s), 22));
  }

  // Four columns' worth of rows 0-3 and 4-7 in the halves, then 4x4 within the halves.
  static FASTMLP_INLINE void transpose_square(const float* src, std::ptrdiff_t lds, float* dst, std::ptrdiff_t ldd) {
    FASTMLP_UNROLL
    for (int j = 0; j < lanes; j += 4) {
      const Reg r0 = two_quarters(src + j, 4 * lds);
      const Reg r1 = two_quarters(src + j + lds, 4 * lds);
      const Reg r2 = two_quarters(src + j + 2 * lds, 4 * lds);
      const Reg r3 = two_quarters(src + j + 3 * lds, 4 * lds);
      const Reg low01 = _mm256_unpacklo_ps(r0, r1), high01 = _mm256_unpackhi_ps(r0, r1);
      const Reg low23 = _mm256_unpacklo_ps(r2, r3), high23 = _mm256_unpackhi_ps(r2, r3);
      store(dst + j * ldd, _mm256_shuffle_ps(low01, low23, 0x44));
      store(dst + (j + 1) * ldd, _mm256_shuffle_ps(low01, low23, 0xEE));
      store(dst + (j + 2) * ldd, _mm256_shuffle_ps(high01, high23, 0x44));
      store(dst + (j + 3) * ldd, _mm256_shuffle_ps(high01, high23, 0xEE));
    }
  }
  static FASTMLP_INLINE Reg two_quarters(const float* p, std::ptrdiff_t step) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + step), 1);
  }
};

template <>
struct Native<double> : NativeMask {
  using Reg = __m256d;
  static constexpr int lanes = 4;

  static FASTMLP_INLINE Reg broadcast(double a) { return _mm256_set1_pd(a); }
  static FASTMLP_INLINE Reg load(const double* p) { return _mm256_loadu_pd(p); }
  static FASTMLP_INLINE Reg load_n(const double* p, int n) { return _mm256_maskload_pd(p, first_n(n)); }
  static FASTMLP_INLINE double element(const double* p, std::ptrdiff_t stride, int i, int n) {
    return i < n ? p[i * stride] : 0.0;
  }
  static FASTMLP_INLINE Reg load_strided(const double* p, std::ptrdiff_t stride, int n) {
    return _mm256_setr_pd(element(p, stride, 0, n), element(p, stride, 1, n), element(p, stride, 2, n),
                          element(p, stride, 3, n));
  }
  static FASTMLP_INLINE void store(double* p, Reg a) { _mm256_storeu_pd(p, a); }
  static FASTMLP_INLINE void store_n(double* p, int n, Reg a) { _mm256_maskstore_pd(p, first_n(n), a); }

  static FASTMLP_INLINE Bits first_n(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static FASTMLP_INLINE Reg select(Bits mask, Reg a, Reg b) {
    return _mm256_blendv_pd(b, a, _mm256_castsi256_pd(mask));
  }
  static FASTMLP_INLINE Reg select_negative(Reg sign, Reg a, Reg b) { return _mm256_blendv_pd(b, a, sign); }
  static FASTMLP_INLINE Bits lt(Reg a, Reg b) { return _mm256_castpd_si256(_mm256_cmp_pd(a, b, _CMP_LT_OQ)); }
  static FASTMLP_INLINE Bits le(Reg a, Reg b) { return _mm256_castpd_si256(_mm256_cmp_pd(a, b, _CMP_LE_OQ)); }
  static FASTMLP_INLINE Bits eq(Reg a, Reg b) { return _mm256_castpd_si256(_mm256_cmp_pd(a, b, _CMP_EQ_OQ)); }

  static FASTMLP_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_pd(a, b, c); }
  static FASTMLP_INLINE Reg fnma(Reg a, Reg b, Reg c) { return _mm256_fnmadd_pd(a, b, c); }
  static FASTMLP_INLINE Reg min(Reg a, Reg b) { return _mm256_min_pd(a, b); }
  static FASTMLP_INLINE Reg max(Reg a, Reg b) { return _mm256_max_pd(a, b); }
  static FASTMLP_INLINE Reg abs(Reg a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }
  static FASTMLP_INLINE Reg sqrt(Reg a) { return _mm256_sqrt_pd(a); }
  static FASTMLP_INLINE Reg round_nearest(Reg a) {
    return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static FASTMLP_INLINE Reg copysign(Reg magnitude, Reg sign) { return or_sign(abs(magnitude), sign); }
  static FASTMLP_INLINE Reg or_sign(Reg magnitude, Reg sign) {
    return _mm256_or_pd(magnitude, _mm256_and_pd(_mm256_set1_pd(-0.0), sign));
  }

  static FASTMLP_INLINE double reduce_add(Reg a) {
    const Reg half = _mm256_add_pd(a, _mm256_permute_pd(a, 0x5));
    return _mm_cvtsd_f64(_mm_add_sd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1)));
  }
  static FASTMLP_INLINE double reduce_max(Reg a) {
    const Reg half = max(a, _mm256_permute_pd(a, 0x5));
    return _mm_cvtsd_f64(_mm_max_sd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1)));
  }
  static FASTMLP_INLINE Reg sums(Reg a, Reg b, Reg c, Reg d) {
    const Reg ab = _mm256_add_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
    const Reg cd = _mm256_add_pd(_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
    return _mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31));
  }
  static FASTMLP_INLINE Reg reduce_add_each(const double* p) {
    return sums(load(p), load(p + lanes), load(p + 2 * lanes), load(p + 3 * lanes));
  }
  static FASTMLP_INLINE void reduce_add4(Reg a, Reg b, Reg c, Reg d, double* out) { store(out, sums(a, b, c, d)); }

  // As for float.
  static FASTMLP_INLINE __m256i integer_bits(Reg n, double bias) {
    return _mm256_castpd_si256(_mm256_add_pd(n, _mm256_set1_pd(0x1.8p52 + bias)));
  }
  static FASTMLP_INLINE Reg power_of(__m256i biased) { return _mm256_castsi256_pd(_mm256_slli_epi64(biased, 52)); }
  static FASTMLP_INLINE Reg power_from(Reg sum) { return power_of(_mm256_castpd_si256(sum)); }
  static FASTMLP_INLINE Reg scale2n_unit(Reg v, Reg n) {
    const __m256i biased_twice = integer_bits(n, 2 * 1023), half = _mm256_srli_epi64(biased_twice, 1);
    return v * power_of(half) * power_of(_mm256_sub_epi64(biased_twice, half));
  }
  static FASTMLP_INLINE Reg split_exponent(Reg v, Reg& mantissa) {
    const Reg denormal = _mm256_cmp_pd(v, _mm256_set1_pd(0x1p-1022), _CMP_LT_OQ);
    const __m256i bits = _mm256_castpd_si256(_mm256_blendv_pd(v, _mm256_mul_pd(v, _mm256_set1_pd(0x1p52)), denormal));
    // The difference is kept positive by a bias, since there is no arithmetic 64-bit shift; the
    // biased exponent becomes a double as the lowest bits of 2^52.
    const __m256i sqrt_half = _mm256_castpd_si256(_mm256_set1_pd(0x1.6a09e667f3bcdp-1));
    const __m256i one = _mm256_castpd_si256(_mm256_set1_pd(1.0));
    const __m256i difference = _mm256_add_epi64(_mm256_sub_epi64(bits, sqrt_half), one);
    const __m256i exponent = _mm256_srli_epi64(difference, 52);
    const __m256i fraction = _mm256_sub_epi64(difference, _mm256_slli_epi64(exponent, 52));
    mantissa = _mm256_castsi256_pd(_mm256_add_epi64(fraction, sqrt_half));
    const Reg biased = _mm256_castsi256_pd(_mm256_or_si256(exponent, _mm256_castpd_si256(_mm256_set1_pd(0x1p52))));
    return _mm256_sub_pd(
        biased, select(_mm256_castpd_si256(denormal), broadcast(0x1p52 + 1023 + 52), broadcast(0x1p52 + 1023)));
  }

  static FASTMLP_INLINE void transpose_square(const double* src, std::ptrdiff_t lds, double* dst, std::ptrdiff_t ldd) {
    FASTMLP_UNROLL
    for (int j = 0; j < lanes; j += 2) {
      const Reg r0 = two_halves(src + j, 2 * lds), r1 = two_halves(src + j + lds, 2 * lds);
      store(dst + j * ldd, _mm256_unpacklo_pd(r0, r1));
      store(dst + (j + 1) * ldd, _mm256_unpackhi_pd(r0, r1));
    }
  }
  static FASTMLP_INLINE Reg two_halves(const double* p, std::ptrdiff_t step) {
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + step), 1);
  }
};

// Integers in 64-bit lanes, with the operators of the language's vectors.
typedef std::uint64_t Words __attribute__((vector_size(32)));
// 64-bit products of the lower halves.
FASTMLP_INLINE Words multiply_lower(Words a, Words b) { return Words(_mm256_mul_epu32(__m256i(a), __m256i(b))); }
FASTMLP_INLINE Words interleave_first(Words a, Words b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
FASTMLP_INLINE Words interleave_second(Words a, Words b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }

}  // namespace fastmlp::avx2

#include "cpu/simd/vec.h"
