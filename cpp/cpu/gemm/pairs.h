// Words of two bfloat16 numbers, of which AVX-512's VDPBF16PS multiplies and adds both pairs to a float sum, denormals taken
// as zero. A sliver holds twice as many terms as one of floats.
#pragma once

#include "cpu/products.h"

namespace fastmlp::FASTMLP_ISA_NS {

struct PairProduct {
  static FASTMLP_INLINE Vec<float> apply(Vec<float> a, Vec<float> b, Vec<float> sum) {
    return Vec<float>::of(
        _mm512_dpbf16_ps(sum.reg, reinterpret_cast<__m512bh>(a.reg), reinterpret_cast<__m512bh>(b.reg)));
  }
};

struct Pairs {
  using Multiply = PairProduct;
  static FASTMLP_INLINE Index words(Index K) { return ceil_div(K, 2); }

  static FASTMLP_INLINE bool in_place(const Gemm<float>&) { return false; }

  static void convert(const Gemm<float>&, float* packed, Index K, Index ld) {
    for (Index k = 0; k < K; k += 2) {
      const float* low = packed + k * ld;
      float* out = packed + k / 2 * ld;
      for (Index i = 0; i < ld; i += Vec<float>::lanes) {
        const __mmask16 exist = Native<float>::first_n(static_cast<int>(smaller(ld - i, Vec<float>::lanes)));
        const __m512i first = halves(low + i);
        const __m512i second = k + 1 < K ? halves(low + ld + i) : _mm512_setzero_si512();
        _mm512_mask_storeu_epi32(out + i, exist, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
      }
    }
  }

 private:
  static FASTMLP_INLINE __m512i halves(const float* values) {
    return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(values))));
  }
};

inline void multiply(const Gemm<float>& g, const Part& part, float* scratch) { fused_part<Pairs>(g, part, scratch); }

}  // namespace fastmlp::FASTMLP_ISA_NS
