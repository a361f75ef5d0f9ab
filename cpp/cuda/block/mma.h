// Tensor core products: how numbers are rounded for them, the instructions, and what they do, for the emulated device.
//
// A warp multiplies A (16 rows) by B (8 columns) and adds to C (16 x 8), all of them spread over its lanes' registers.
// In 32-bit words (one TF32 number, or two bfloat16 numbers that follow one another in the sum) A is 16 x 8, B is 8 x 8,
// and the layouts of m16n8k8 for TF32 and m16n8k16 for bfloat16 are the same. With g = lane / 4 and t = lane % 4, by the PTX
// ISA's "Matrix Fragments for mma.m16n8k8" and "... mma.m16n8k16 with floating point type":
//   A: a[0] is word (g, t), a[1] (g + 8, t), a[2] (g, t + 4), a[3] (g + 8, t + 4)
//   B: b[0] is word (t, g), b[1] (t + 4, g)
//   C: c[0] and c[1] are (g, 2t) and (g, 2t + 1), c[2] and c[3] the same in row g + 8
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "cuda/block/vectors.h"
#include "ops/bfloat16.h"

// Whether this compilation has the instructions. The host's code must not depend on it.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define FASTMLP_TENSOR_CORES 0
#else
#define FASTMLP_TENSOR_CORES 1
#endif

namespace fastmlp::cuda {

inline constexpr int kMmaRows = 16, kMmaColumns = 8, kMmaWords = 8;

// One lane's part of a product.
struct MmaFragments {
  float (&c)[4];
  const std::uint32_t (&a)[4];
  const std::uint32_t (&b)[2];
};

// 8 exponent bits and 10 of the significand; ties are rounded away from zero.
struct TF32 {
  static constexpr int kPerWord = 1;

  static FASTMLP_DEVICE std::uint32_t word(float x) {
#if defined(__CUDA_ARCH__) && FASTMLP_TENSOR_CORES
    std::uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
#elif !defined(__CUDA_ARCH__)
    const auto bits = std::bit_cast<std::uint32_t>(x);
    constexpr std::uint32_t kExponent = 0x7f800000, kDropped = 0x1fff, kHalf = 0x1000;
    if ((bits & kExponent) == kExponent) return x == x ? bits : 0x7fffffff;
    return (bits + kHalf) & ~kDropped;
#else
    return 0;
#endif
  }

  static float value(std::uint32_t word, int) { return std::bit_cast<float>(word); }
};

// A float32 number as the sum of two TF32 numbers, large + small, so that three products of TF32 are one of float32:
//   x y = large(x) large(y) + large(x) small(y) + small(x) large(y), but for small(x) small(y), 2^-22 of it at most.
// `large` is rounded, so that small has 12 bits and either sign, and the one of them that is cut off, as what is left
// out, no sign of its own. TF32 numbers are multiples of 2^-136: where |x| < 2^-113, fewer of its bits are left.
struct SplitFloat {
  static constexpr int kPerWord = 1;

  static FASTMLP_DEVICE std::uint32_t word(float x) { return bits(x); }  // x itself, until a warp multiplies it

  // Small is NaN or infinite where x is, or where it is so large that `large` is.
  static FASTMLP_DEVICE void split(std::uint32_t word, std::uint32_t& large, std::uint32_t& small) {
    large = (word + kHalf) & kKept;
    small = bits(number(word) - number(large)) & kKept;
  }
  // The same for any number: where it would round to infinity, `large` is cut off instead, and what is not finite has no
  // part in the cross products, where zeros may be the other factor.
  static FASTMLP_DEVICE void split_any(std::uint32_t word, bool cross, std::uint32_t& large, std::uint32_t& small) {
    constexpr std::uint32_t kSign = 0x80000000, kInfinite = 0x7f800000, kRoundsToInfinity = kInfinite - kHalf;
    const std::uint32_t size = word & ~kSign;
    if (size < kRoundsToInfinity) return split(word, large, small);
    if (size < kInfinite) {
      large = word & kKept;
      small = TF32::word(number(word) - number(large));
    } else {
      large = cross ? 0 : TF32::word(number(word));
      small = 0;
    }
  }

 private:
  static constexpr std::uint32_t kKept = 0xffffe000, kHalf = 0x1000;

  static FASTMLP_DEVICE std::uint32_t bits(float x) {
#if defined(__CUDA_ARCH__)
    return __float_as_uint(x);
#else
    return std::bit_cast<std::uint32_t>(x);
#endif
  }
  static FASTMLP_DEVICE float number(std::uint32_t word) {
#if defined(__CUDA_ARCH__)
    return __uint_as_float(word);
#else
    return std::bit_cast<float>(word);
#endif
  }
};

// The upper half of a float; ties are rounded to even.
struct BF16 {
  static constexpr int kPerWord = 2;

  // `low` is the first of the two.
  static FASTMLP_DEVICE std::uint32_t word(float low, float high) {
#if defined(__CUDA_ARCH__) && FASTMLP_TENSOR_CORES
    std::uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
#elif !defined(__CUDA_ARCH__)
    const auto half = [](float x) { return ops::bfloat16_of(std::bit_cast<std::uint32_t>(x)); };
    return half(low) | half(high) << 16;
#else
    return 0;
#endif
  }

  static float value(std::uint32_t word, int which) {
    return std::bit_cast<float>(which == 0 ? word << 16 : word & 0xffff0000);
  }
};

// C += A B; fragments_of(a lane's registers) are that lane's.
#if defined(__CUDACC__)

template <class Format, class Lanes, class FragmentsOf>
FASTMLP_DEVICE void mma(Lanes& lanes, const FragmentsOf& fragments_of) {
#if FASTMLP_TENSOR_CORES
  const MmaFragments f = fragments_of(lanes.own);
  if constexpr (Format::kPerWord == 1)
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(f.c[0]), "+f"(f.c[1]), "+f"(f.c[2]), "+f"(f.c[3])
        : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2]), "r"(f.a[3]), "r"(f.b[0]), "r"(f.b[1]));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(f.c[0]), "+f"(f.c[1]), "+f"(f.c[2]), "+f"(f.c[3])
        : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2]), "r"(f.a[3]), "r"(f.b[0]), "r"(f.b[1]));
#endif
}

#else

// c + the sum of the products as the least exact of tensor cores do it, a few products at a time: all are cut off at the
// last bit of the largest one's float32 significand, and their sum at its own. (How the instruction rounds is not
// specified; see Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor cores, PeerJ CS 7:e330, 2021.)
inline float cut_off_sum(float c, const double* products, int count) {
  constexpr int kBits = 24, kBias = 1023, kMantissa = 52, kLeast = -149;
  double sum = static_cast<double>(c), largest = std::abs(sum);
  for (int i = 0; i < count; ++i) {
    sum += products[i];
    largest = std::max(largest, std::abs(products[i]));
  }
  if (!std::isfinite(sum)) return static_cast<float>(sum);
  const auto power = [](int exponent) {
    return std::bit_cast<double>(static_cast<std::uint64_t>(kBias + exponent) << kMantissa);
  };
  const int exponent = static_cast<int>(std::bit_cast<std::uint64_t>(largest) >> kMantissa) - kBias;
  const int last = std::max(exponent - (kBits - 1), kLeast);
  const auto cut = [scale = power(-last)](double x) { return static_cast<std::int64_t>(x * scale); };
  std::int64_t whole = cut(static_cast<double>(c));
  for (int i = 0; i < count; ++i) whole += cut(products[i]);
  const std::uint64_t size = static_cast<std::uint64_t>(whole < 0 ? -whole : whole);
  const int beyond = std::max(static_cast<int>(std::bit_width(size)) - kBits, 0);
  const double result = static_cast<double>(size >> beyond << beyond) * power(last);
  const float value = result < 0x1p128 ? static_cast<float>(result) : HUGE_VALF;
  return whole < 0 ? -value : value;
}

// Products of such numbers are exact in double.
template <class Format, class Lanes, class FragmentsOf>
void mma(Lanes& lanes, const FragmentsOf& fragments_of) {
  std::uint32_t a[kMmaRows][kMmaWords], b[kMmaWords][kMmaColumns];
  for (int lane = 0; lane < kWarp; ++lane) {
    const int g = lane / 4, t = lane % 4;
    const MmaFragments f = fragments_of(lanes.all[lane]);
    for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 4] = f.a[i];
    for (int i = 0; i < 2; ++i) b[t + i * 4][g] = f.b[i];
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    const int g = lane / 4, t = lane % 4;
    const MmaFragments f = fragments_of(lanes.all[lane]);
    for (int i = 0; i < 4; ++i) {
      const int row = g + i / 2 * 8, column = 2 * t + i % 2;
      constexpr int kAtOnce = 4;
      double products[kAtOnce];
      for (int first = 0; first < kMmaWords * Format::kPerWord; first += kAtOnce) {
        for (int k = 0; k < kAtOnce; ++k) {
          const int word = (first + k) / Format::kPerWord, which = (first + k) % Format::kPerWord;
          products[k] = static_cast<double>(Format::value(a[row][word], which)) *
                        static_cast<double>(Format::value(b[word][column], which));
        }
        f.c[i] = cut_off_sum(f.c[i], products, kAtOnce);
      }
    }
  }
}

#endif

}  // namespace fastmlp::cuda
