// The form in which packed operands stand. A packed word is a value, or holds several that follow one another in the sum:
//
//   kInPlace                 whether the words are the values themselves, so that B may be read where it lies
//   words(K)                 how many words hold K terms
//   convert(packed, K, ld)   makes words of K rows of values, `ld` apart, in their place; a vector behind them may be read
//   Multiply                 sum + a * b for words a and b
#pragma once

#include "cpu/gemm/blocking.h"
#include "ops/bfloat16.h"

namespace fastmlp::FASTMLP_ISA_NS {

struct MultiplyAdd {
  template <class T>
  static FASTMLP_INLINE Vec<T> apply(Vec<T> a, Vec<T> b, Vec<T> sum) {
    return fma(a, b, sum);
  }
};

template <class T>
struct Exact {
  static constexpr bool kInPlace = true;
  using Multiply = MultiplyAdd;
  static FASTMLP_INLINE Index words(Index K) { return K; }
  static FASTMLP_INLINE void convert(T*, Index, Index) {}
};

// Values of bfloat16 as floats, for processors without instructions of their own for them.
struct Rounded {
  static constexpr bool kInPlace = false;
  using Multiply = MultiplyAdd;
  static FASTMLP_INLINE Index words(Index K) { return K; }
  static void convert(float* packed, Index K, Index ld) {
    for (Index i = 0; i < K * ld; ++i) {
      const std::uint32_t word = ops::bfloat16_of(__builtin_bit_cast(std::uint32_t, packed[i])) << 16;
      packed[i] = __builtin_bit_cast(float, word);
    }
  }
};

}  // namespace fastmlp::FASTMLP_ISA_NS
