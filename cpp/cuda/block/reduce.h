// Sums and maxima over threads of a block, in an order that depends on their number alone.
#pragma once

#include <type_traits>

#include "cuda/block/block.h"
#include "ops/common.h"

namespace fastmlp::cuda {

struct Sum {
  template <class V>
  static FASTMLP_DEVICE V of(V a, V b) {
    return a + b;
  }
};
struct Largest {
  template <class V>
  static FASTMLP_DEVICE V of(V a, V b) {
    return a > b ? a : b;
  }
};

// A thread's sum of many terms, by TwoSum (Knuth, 1969), which keeps what each addition rounds off: its error does not
// grow with their number.
template <class T>
class LongSum {
 public:
  FASTMLP_FORMULA void add(T term) {
    const T sum = sum_ + term, part = sum - sum_;
    lost_ += (sum_ - (sum - part)) + (term - part);
    sum_ = sum;
  }
  // The rounded-off parts are NaN where a term is infinite.
  FASTMLP_FORMULA T value() const { return lost_ == lost_ ? sum_ + lost_ : sum_; }

 private:
  T sum_ = 0, lost_ = 0;
};

// Combines `field` of the registers over each group of `width` neighbouring threads, a power of two, at most kThreads;
// all of them receive the result. Beyond a warp it takes shared memory for a value of each warp.
template <class Op, auto field, class K>
FASTMLP_DEVICE void combine(Block<K>& block, int width) {
  using Registers = typename K::Registers;
  using V = std::remove_reference_t<decltype(static_cast<Registers*>(nullptr)->*field)>;
  // Butterflies: both sides of an exchange compute the same.
  block.each_warp([&](int, auto& lanes) {
#if defined(__CUDACC__)
    V value = lanes.own.*field;
    for (int distance = 1; distance < kWarp && distance < width; distance *= 2)
      value = Op::of(value, __shfl_xor_sync(~0U, value, distance));
    lanes.own.*field = value;
#else
    for (int distance = 1; distance < kWarp && distance < width; distance *= 2) {
      V before[kWarp];
      for (int lane = 0; lane < kWarp; ++lane) before[lane] = lanes.all[lane].*field;
      for (int lane = 0; lane < kWarp; ++lane) lanes.all[lane].*field = Op::of(before[lane], before[lane ^ distance]);
    }
#endif
  });
  if (width <= kWarp) return;
  V* const of_warp = reinterpret_cast<V*>(block.shared());
  block.each([&](int thread, Registers& own) {
    if (thread % kWarp == 0) of_warp[thread / kWarp] = own.*field;
  });
  block.each([&](int thread, Registers& own) {
    const int warps = width / kWarp, first = (thread / kWarp) & -warps;
    V value = of_warp[first];
    for (int warp = 1; warp < warps; ++warp) value = Op::of(value, of_warp[first + warp]);
    own.*field = value;
  });
}

// The shared memory of `combine` over values of at most 8 bytes.
template <class K>
inline constexpr std::size_t kCombineBytes = K::kThreads / kWarp * sizeof(double);

}  // namespace fastmlp::cuda
