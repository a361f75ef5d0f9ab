// How a block's tile of a product is divided among warps and slices and, while it is copied, among threads.
#pragma once

#include "cuda/block/batch_rows.h"
#include "cuda/block/copy_async.h"
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
  static_assert(kWarpsDown * kWarpsAcross * kSlices == kTileWarps);

  // The terms of the sums that one stage of the pipeline has.
  template <class T>
  static constexpr int kDepth = kRows > 64 ? 16 : 128 / static_cast<int>(sizeof(T));

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

// The tiles of a size, by how they are multiplied: a thread of Simt has 8 x 8 sums; Mma takes
// whole steps of bfloat16 from a stage in each slice. Their kernels have kSharedBytes of shared memory at most.
enum class TileKind { Large, Medium, Small };

struct LargeTile {
  static constexpr TileKind kKind = TileKind::Large;
  static constexpr std::size_t kSharedBytes = 98 << 10;
  using Simt = Tile<128, 128, 32, 64, 1>;
  using Mma = Tile<128, 128, 32, 64, 1>;
};
struct MediumTile {
  static constexpr TileKind kKind = TileKind::Medium;
  static constexpr std::size_t kSharedBytes = 82 << 10;
  using Simt = Tile<64, 64, 64, 32, 4>;
  using Mma = Tile<64, 64, 32, 32, 2>;
};
struct SmallTile {
  static constexpr TileKind kKind = TileKind::Small;
  static constexpr std::size_t kSharedBytes = 63 << 10;  // every GPU has so much
  using Simt = Tile<64, 32, 64, 32, 8>;
  using Mma = Tile<64, 32, 32, 16, 2>;
};

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

// An operand's kExtent (result) x kDepth (sum) values in shared memory, in the order of its own memory: lines of what is
// contiguous there, kPad values apart. Threads copy vectors of 16 bytes, kCopies each.
template <class T, Along kAlong, int kExtent, int kDepth, int kPad>
struct OperandTile {
  static constexpr bool kBySum = kAlong == Along::Sum;
  static constexpr int V = Vector<T>::kLanes;
  static constexpr int kLine = kBySum ? kDepth : kExtent, kLines = kBySum ? kExtent : kDepth;
  static constexpr int kStride = kLine + kPad, kBytes = kLines * kStride * static_cast<int>(sizeof(T));
  static constexpr int kPerLine = kLine / V, kStep = kTileThreads / kPerLine, kCopies = kLines / kStep;
  static_assert(kPad % V == 0 && kTileThreads % kPerLine == 0 && kLines % kStep == 0);

  static constexpr FASTMLP_DEVICE int offset(int outer, int term) {
    return kBySum ? outer * kStride + term : term * kStride + outer;
  }

  // The operand's rows that the thread copies, where they are chosen by number: looked up a stage ahead.
  struct Rows {
    Index at[kCopies];

    FASTMLP_DEVICE void look_up(const Operand<T>& operand, const BatchRows& rows, int thread, int outer0, int depth,
                                int end) {
      const int first = (kBySum ? outer0 : depth) + thread / kPerLine;
      const int limit = kBySum ? operand.extent : end;
      FASTMLP_UNROLL
      for (int i = 0; i < kCopies; ++i) at[i] = first + i * kStep < limit ? rows.of(first + i * kStep) : 0;
    }
  };

  // Of the tile whose first values are outer0 and depth; zeros beyond the operand and from `end` on. `rows`: null, or
  // those that are chosen.
  static FASTMLP_DEVICE void copy(CopyGroups& copies, T* tile, const Operand<T>& operand, const Rows* rows, int thread,
                                  int outer0, int depth, int end) {
    const int line = thread / kPerLine, place = thread % kPerLine * V;
    const int first_line = (kBySum ? outer0 : depth) + line, first = (kBySum ? depth : outer0) + place;
    const int lines = (kBySum ? operand.extent : end) - first_line;
    const int along = (kBySum ? end : operand.extent) - first;
    const int present = along < 0 ? 0 : along < V ? along : V;
    const T* from = operand.data + (rows ? Index{0} : first_line * operand.ld) + first;
    const Index step = rows ? 0 : kStep * operand.ld;
    const T* const base = from;
    FASTMLP_UNROLL
    for (int i = 0; i < kCopies; ++i, from += step) {
      if (rows) from = base + rows->at[i] * operand.ld;
      T* const to = tile + (line + i * kStep) * kStride + place;
      const int count = i * kStep < lines ? present : 0;
      if (operand.wide) {
        copies.copy<16>(to, from, count * static_cast<int>(sizeof(T)));
      } else {
        FASTMLP_UNROLL
        for (int j = 0; j < V; ++j) copies.copy<sizeof(T)>(to + j, from + j, j < count ? int{sizeof(T)} : 0);
      }
    }
  }
};

}  // namespace fastmlp::cuda
