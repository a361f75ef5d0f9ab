// The head of a network (core/contracts/head.h) takes two launches: its forward half shares out the rows, for each row's
// loss wants all of its outputs, and its backward half the inputs, whose gradients want all rows. Sizes and order of sums
// follow from the shape alone.
#pragma once

#include "core/contracts/head.h"
#include "cuda/block/block.h"
#include "cuda/block/vectors.h"

namespace fastmlp::cuda {

inline constexpr int kHeadThreads = 256, kHeadWarps = kHeadThreads / kWarp;
inline constexpr Index kMostHeadRows = 512, kMostHeadInputs = 1024, kMostHeadOutputs = kWarp;
// Rows of a block of the forward half: every block reads the whole weight.
inline constexpr int kHeadRows = 4;
// Inputs of a block of the backward half: their values in a row are a sector of memory.
inline constexpr int kHeadInputs = 8;

// Shared memory before all else, for sums over a block's threads.
inline constexpr int kHeadSumBytes = kHeadWarps * static_cast<int>(sizeof(double));

// Shared memory of the forward half.
template <class T>
std::size_t head_forward_bytes(Index N, Index K);

inline int head_blocks(Index M) { return static_cast<int>((M + kHeadRows - 1) / kHeadRows); }

// Adds `field`, an array, over a warp's lanes whose numbers differ by multiples of `distance`, a power of two.
template <auto field, class K>
FASTMLP_DEVICE void add_lanes(Block<K>& block, int distance) {
  block.each_warp([&](int, auto& lanes) {
#if defined(__CUDACC__)
    auto& values = lanes.own.*field;
    constexpr int kCount = sizeof(values) / sizeof(values[0]);
    for (; distance < kWarp; distance *= 2) {
      FASTMLP_UNROLL
      for (int i = 0; i < kCount; ++i) values[i] += __shfl_xor_sync(~0U, values[i], distance);
    }
#else
    constexpr int kCount = sizeof(lanes.all[0].*field) / sizeof((lanes.all[0].*field)[0]);
    for (int apart = distance; apart < kWarp; apart *= 2)
      for (int i = 0; i < kCount; ++i)
        for (int lane = 0; lane < kWarp; ++lane)
          if (const int other = lane ^ apart; lane < other) {
            auto &one = (lanes.all[lane].*field)[i], &two = (lanes.all[other].*field)[i];
            one = two = one + two;
          }
#endif
  });
}

}  // namespace fastmlp::cuda
