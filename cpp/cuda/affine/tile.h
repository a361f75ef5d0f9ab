// How a block's tile of a product is divided among warps and slices and, while it is loaded, among threads.
#pragma once

#include "cuda/block/vectors.h"

namespace fastmlp::cuda {

inline constexpr int kTileThreads = 256, kTileWarps = kTileThreads / kWarp;

// kRows x kColumns of the result; a warp has kWarpRows x kWarpColumns of them, and, so that small tiles have warps enough
// to keep a multiprocessor busy, one of kSlices parts of the sums.
template <int kRows_, int kColumns_, int kWarpRows_, int kWarpColumns_, int kSlices_>
struct Tile {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kWarpRows = kWarpRows_, kWarpColumns = kWarpColumns_, kSlices = kSlices_;
  static constexpr int kWarpsDown = kRows / kWarpRows, kWarpsAcross = kColumns / kWarpColumns;
  static_assert(kRows == kColumns && kWarpsDown * kWarpsAcross * kSlices == kTileWarps);

  // The terms of the sums that are in shared memory at a time: every thread loads two vectors of each operand.
  template <class T>
  static constexpr int kDepth = 2 * kTileThreads * Vector<T>::kLanes / kRows;

  struct Position {
    int slice, row, column, lane;  // the warp's slice and corner in the tile
  };
  static FASTMLP_DEVICE Position position(int thread) {
    constexpr int kSliceWarps = kTileWarps / kSlices;
    const int warp = thread / kWarp, in_slice = warp % kSliceWarps;
    return {warp / kSliceWarps, in_slice / kWarpsAcross * kWarpRows, in_slice % kWarpsAcross * kWarpColumns,
            thread % kWarp};
  }
};

using LargeTile = Tile<128, 128, 32, 64, 1>;
using MediumTile = Tile<64, 64, 32, 32, 2>;
using SmallTile = Tile<32, 32, 16, 32, 4>;

// Which index of an operand is contiguous in memory: that of the sum, or that of the result.
enum class Along { Sum, Result };

template <class T>
struct Operand {
  const T* data;
  Index ld;
  int extent;  // in the result
  bool wide;   // rows begin where a Vector may

  Operand(const T* data, Index ld, Index extent)
      : data(data), ld(ld), extent(static_cast<int>(extent)), wide(takes_vectors(data, ld)) {}
};

// What a thread loads of kExtent (result) x kDepth (sum) values: two vectors.
template <class T, Along kAlong, int kExtent, int kDepth>
struct ThreadLoad {
  static constexpr int V = Vector<T>::kLanes;
  int outer, depth;  // of its first value in the tile

  // Along the sum, a warp takes 16 rows of 32 bytes, a whole sector of memory; so its stores into columns of shared
  // memory meet no bank twice. The second vector is half the depth further on.
  // Along the result, the two vectors are neighbours in the sum, as bfloat16 wants them.
  explicit FASTMLP_DEVICE ThreadLoad(int thread) {
    if constexpr (kAlong == Along::Sum) {
      constexpr int kGroups = kExtent / 16;
      const int warp = thread / kWarp, lane = thread % kWarp;
      outer = warp % kGroups * 16 + lane % 16;
      depth = (warp / kGroups * 2 + lane / 16) * V;
    } else {
      constexpr int kAcross = kExtent / V;
      outer = thread % kAcross * V;
      depth = thread / kAcross * 2;
    }
  }
  static constexpr int kNext = kAlong == Along::Sum ? kDepth / 2 : 1;  // in the sum, of the second vector

  // Of the tile whose first values are outer0 and depth0. Zeros beyond the operand and from depth_end on; `inside`: all of
  // the tile is within them, and vectors can be loaded.
  FASTMLP_DEVICE void load(const Operand<T>& operand, int outer0, int depth0, int depth_end, bool inside,
                           Vector<T> (&vectors)[2]) const {
    const int row = outer0 + outer, term = depth0 + depth;
    const T* const at = operand.data + (kAlong == Along::Sum ? row * operand.ld + term : term * operand.ld + row);
    const Index next = kAlong == Along::Sum ? kNext : operand.ld;
    FASTMLP_UNROLL
    for (int i = 0; i < 2; ++i) {
      if (inside) {
        vectors[i] = *reinterpret_cast<const Vector<T>*>(at + i * next);
      } else {
        const int terms = depth_end - term - i * kNext, rows = operand.extent - row;
        const int along = kAlong == Along::Sum ? terms : rows, across = kAlong == Along::Sum ? rows : terms;
        vectors[i] = load_vector(at + i * next, across > 0 ? along : 0, operand.wide);
      }
    }
  }
  static FASTMLP_DEVICE bool inside(const Operand<T>& operand, int outer0) {
    return operand.wide && outer0 + kExtent <= operand.extent;
  }
};

}  // namespace fastmlp::cuda
