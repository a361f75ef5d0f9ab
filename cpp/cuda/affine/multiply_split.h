// Products of float32 numbers on tensor cores: each is split into two TF32 numbers (SplitFloat), and three of their four
// products are summed up.
//
// Tensor cores cut sums off instead of rounding them, which adds up to an error that grows with the number of terms. So
// they sum up 8 terms alone, the smallest products first; these sums are added up in float32 by ordinary additions, four
// for each three instructions of a tensor core.
#pragma once

#include "cuda/affine/multiply.h"

namespace fastmlp::cuda {

template <class Shape, Along kA, Along kB>
struct SplitMma : Mma<SplitFloat, Shape, kA, kB> {
  using Base = Mma<SplitFloat, Shape, kA, kB>;
  using Base::kDown, Base::kAcross;

  struct Registers : Base::Registers {  // a and b: the large parts
    std::uint32_t a_small[kDown][4], b_small[kAcross][2];
    float partial[kAcross][4];
  };

  // The same for numbers of any size, more slowly: for tiles in which some sum is_unsure().
  struct AnySize;

  template <class K>
  static FASTMLP_DEVICE void multiply(Block<K>& block, const float* a, const float* b) {
    multiply<K, false>(block, a, b);
  }

  // Whether a sum of the block's tile is NaN, for all threads: perhaps only because a number is infinite, or so large that
  // its large part is.
  template <class K>
  static FASTMLP_DEVICE bool is_unsure(Block<K>& block) {
    auto* const found = reinterpret_cast<volatile int*>(block.shared());
    block.each([&](int thread, auto&) {
      if (thread == 0) *found = 0;
    });
    block.each([&](int, auto& registers) {
      bool nan = false;
      FASTMLP_UNROLL
      for (int i = 0; i < kDown * kAcross * 4; ++i) {
        const float sum = registers.product.sums[i / (kAcross * 4)][i / 4 % kAcross][i % 4];
        nan |= sum != sum;
      }
      if (nan) *found = 1;
    });
    const bool result = *found != 0;
    block.each([](int, auto&) {});  // before the memory is used again
    return result;
  }

 private:
  template <class K, bool kAnySize>
  static FASTMLP_DEVICE void multiply(Block<K>& block, const float* a, const float* b) {
    FASTMLP_UNROLL_BY(1)  // two steps at once would take more registers than there are
    for (int step = 0; step < Base::kSliceWords; step += kMmaWords) {
      const auto load = [&](bool cross) {
        block.each_alone([&](int thread, auto& registers) {
          Base::read_fragments(registers.product, a, b, thread, step);
          split<kAnySize>(registers.product, cross);
        });
      };
      if (!kAnySize) load(true);
      FASTMLP_UNROLL
      for (int i = 0; i < kDown; ++i) {
        if (kAnySize) load(true);
        block.each_alone([&](int, auto& registers) {
          FASTMLP_UNROLL
          for (int c = 0; c < kAcross * 4; ++c) registers.product.partial[c / 4][c % 4] = 0;
        });
        add_products(block,
                     [i](Registers& own, int j) { return MmaFragments{own.partial[j], own.a_small[i], own.b[j]}; });
        add_products(block,
                     [i](Registers& own, int j) { return MmaFragments{own.partial[j], own.a[i], own.b_small[j]}; });
        if (kAnySize) load(false);
        add_products(block, [i](Registers& own, int j) { return MmaFragments{own.partial[j], own.a[i], own.b[j]}; });
        block.each_alone([&](int, auto& registers) {
          Registers& own = registers.product;
          FASTMLP_UNROLL
          for (int c = 0; c < kAcross * 4; ++c) own.sums[i][c / 4][c % 4] += own.partial[c / 4][c % 4];
        });
      }
    }
  }

  template <class K, class FragmentsOf>
  static FASTMLP_DEVICE void add_products(Block<K>& block, const FragmentsOf& fragments_of) {
    block.each_warp([&](int, auto& lanes) {
      FASTMLP_UNROLL
      for (int j = 0; j < kAcross; ++j)
        mma<TF32>(lanes, [&](auto& registers) { return fragments_of(registers.product, j); });
    });
  }

  template <bool kAnySize>
  static FASTMLP_DEVICE void split(Registers& own, bool cross) {
    const auto part = [cross](std::uint32_t& word, std::uint32_t& small) {
      if constexpr (kAnySize)
        SplitFloat::split_any(word, cross, word, small);
      else
        SplitFloat::split(word, word, small);
    };
    FASTMLP_UNROLL
    for (int f = 0; f < kDown * 4; ++f) part(own.a[f / 4][f % 4], own.a_small[f / 4][f % 4]);
    FASTMLP_UNROLL
    for (int f = 0; f < kAcross * 2; ++f) part(own.b[f / 2][f % 2], own.b_small[f / 2][f % 2]);
  }
};

template <class Shape, Along kA, Along kB>
struct SplitMma<Shape, kA, kB>::AnySize : SplitMma<Shape, kA, kB> {
  template <class K>
  static FASTMLP_DEVICE void multiply(Block<K>& block, const float* a, const float* b) {
    SplitMma::template multiply<K, true>(block, a, b);
  }
};

}  // namespace fastmlp::cuda
