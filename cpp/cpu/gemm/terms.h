// The form in which packed operands stand. A packed word is a value, or holds several that follow one another in the sum:
//
//   words(K)                    how many words hold K terms
//   in_place(g)                 whether the words are the values themselves, so that B may be read where it lies
//   convert(g, packed, K, ld)   makes words of K rows of values, `ld` apart, in their place; a vector behind may be read
//   Multiply                    sum + a * b for words a and b
#pragma once

#include "cpu/bf16.h"
#include "cpu/gemm/blocking.h"
#include "ops/bfloat16.h"

namespace fastmlp::FASTMLP_ISA_NS {

struct MultiplyAdd {
  template <class T>
  static FASTMLP_INLINE Vec<T> apply(Vec<T> a, Vec<T> b, Vec<T> sum) {
    return fma(a, b, sum);
  }
};

FASTMLP_NOINLINE inline void round_to_bf16(float* values, Index n) {
  for (Index i = 0; i < n; ++i) {
    const std::uint32_t word = ops::bfloat16_of(__builtin_bit_cast(std::uint32_t, values[i])) << 16;
    values[i] = __builtin_bit_cast(float, word);
  }
}

// Values as they are, or those of bfloat16 as floats.
struct Values {
  using Multiply = MultiplyAdd;
  static FASTMLP_INLINE Index words(Index K) { return K; }
  template <class T>
  static FASTMLP_INLINE bool in_place(const Gemm<T>& g) {
    return !has_bf16<T> || !g.bf16;
  }
  template <class T>
  static FASTMLP_INLINE void convert(const Gemm<T>& g, T* packed, Index K, Index ld) {
    if constexpr (has_bf16<T>)
      if (g.bf16) round_to_bf16(packed, K * ld);
  }
};

}  // namespace fastmlp::FASTMLP_ISA_NS
