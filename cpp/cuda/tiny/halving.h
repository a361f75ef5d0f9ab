// Sums over the lanes of a warp of many values at once, by recursive halving: lanes that face each other exchange halves of
// their values and add, until each lane is left with a few sums of its own. For 64 values and 32 lanes that is 62 exchanges
// where a butterfly for each value takes 320.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda/block/block.h"
#include "cuda/block/vectors.h"

namespace fastmlp::cuda {

// Over each group of `width` neighbouring lanes, a power of two: lane i of a group ends with the sums of its values number
// i n/width to (i + 1) n/width - 1 of `field`, an array of n registers, at the array's begin; where n is less than
// `width`, both a power of two, width/n lanes end with the same one. The order of a sum depends on
// `width` alone; that over wider groups is the same where their other lanes have zeros.
template <int n, int width, auto field, class K>
FASTMLP_DEVICE void halve(Block<K>& block) {
  static_assert((n % width == 0 || width % n == 0) && width <= kWarp);
  block.each_warp([&](int, auto& lanes) {
#if defined(__CUDACC__)
    auto& v = lanes.own.*field;
    using V = std::remove_reference_t<decltype(v[0])>;
    FASTMLP_UNROLL
    for (int bit = width / 2; bit > 0; bit /= 2) {
      const int half = n * bit / width;
      if (half == 0) {
        v[0] += __shfl_xor_sync(~0U, v[0], bit);
        continue;
      }
      const bool upper = lanes.lane & bit;
      FASTMLP_UNROLL
      for (int i = 0; i < n / 2; ++i)
        if (i < half) {
          const V kept = upper ? v[i + half] : v[i], given = upper ? v[i] : v[i + half];
          v[i] = kept + __shfl_xor_sync(~0U, given, bit);
        }
    }
#else
    using V = std::remove_reference_t<decltype((lanes.all[0].*field)[0])>;
    for (int bit = width / 2; bit > 0; bit /= 2) {
      const int half = n * bit / width;
      V before[kWarp][n];
      for (int lane = 0; lane < kWarp; ++lane)
        for (int i = 0; i < std::max(1, 2 * half); ++i) before[lane][i] = (lanes.all[lane].*field)[i];
      for (int lane = 0; lane < kWarp; ++lane)
        for (int i = 0; i < std::max(1, half); ++i) {
          const int at = lane & bit ? i + half : i;
          (lanes.all[lane].*field)[i] = before[lane][at] + before[lane ^ bit][at];
        }
    }
#endif
  });
}

}  // namespace fastmlp::cuda
