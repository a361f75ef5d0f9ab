// What a block does with the operands' tiles in shared memory: with multiply-adds of single values (Simt), or on tensor
// cores (Mma). Both say how an operand lies there, multiply, and write the sums to the stage, from where every thread takes
// values that lie side by side.
#pragma once

#include "cuda/affine/tile.h"
#include "cuda/block/mma.h"
#include "cuda/block/real.h"

namespace fastmlp::cuda {

// A tile's sums, of kSlices slices; rows are kStride values apart, so that a warp's rows begin in different banks.
template <class T, class Shape, int kSlices_>
struct Stage {
  static constexpr int kSlices = kSlices_;
  static constexpr int kStride = Shape::kColumns + 8;
  static constexpr int kSliceValues = Shape::kRows * kStride;
  static constexpr int kBytes = kSlices * kSliceValues * static_cast<int>(sizeof(T));
};

// A thread has 8 x 8 values of its warp's. Of an operand along the sum these are every kDown-th row (kAcross-th column), and
// it reads kGroup terms of each at a time; of one along the result, two quads, of one term at a time.
template <class T, class Shape_, Along kA, Along kB>
struct Simt {
  using Shape = Shape_;
  static constexpr int kMine = 8;
  static constexpr int kDown = Shape::kWarpRows / kMine, kAcross = Shape::kWarpColumns / kMine;
  static_assert(kDown * kAcross == kWarp);
  static constexpr int kDepth = Shape::template kDepth<T>;
  static constexpr int kPad = Vector<T>::kLanes;
  using TileA = OperandTile<T, kA, Shape::kRows, kDepth, kPad>;
  using TileB = OperandTile<T, kB, Shape::kColumns, kDepth, kPad>;
  static constexpr bool kAlongSum = kA == Along::Sum || kB == Along::Sum;
  static constexpr int kGroup = !kAlongSum ? 1 : Shape::kSlices == 1 ? 4 : 2;
  static constexpr int kGroups = kDepth / kGroup / Shape::kSlices;  // of a slice in a stage
  static constexpr int kStageSlices = sizeof(T) == sizeof(double) && Shape::kSlices > 2 ? 2
                                      : Shape::kSlices > 4                              ? 4
                                                                                        : Shape::kSlices;
  // Where few warps cover each other's waits, a group is read while the one before is multiplied, beyond the stage's end,
  // too.
  static constexpr bool kAhead = Shape::kSlices == 1;
  static_assert(!kAhead || kGroups % 2 == 0);
  // Operands along the sum leave few registers for groups that are read early, and other warps cover the wait.
  static constexpr int kUnrolled = kAlongSum ? 1 : kGroups;

  struct Fragments {
    T a[kMine][kGroup], b[kMine][kGroup];
  };
  struct NoFragments {};
  struct Registers {
    T sums[kMine][kMine];
    std::conditional_t<kAhead, Fragments, NoFragments> fragments[2];
  };

  static FASTMLP_DEVICE void clear(Registers& own) {
    FASTMLP_UNROLL
    for (int i = 0; i < kMine * kMine; ++i) own.sums[i / kMine][i % kMine] = T(0);
  }

  // The products of a stage. A slice has every kSlices-th group.
  template <class K>
  static FASTMLP_DEVICE void multiply(Block<K>& block, const T* a, const T* b) {
    block.each_alone([&](int thread, auto& registers) {
      FASTMLP_UNROLL_BY(kUnrolled)
      for (int group = 0; group < kGroups; ++group) {
        Fragments fragments;
        read(fragments, a, b, thread, group);
        add(registers.product, fragments);
      }
    });
  }

  // The same in two parts where kAhead: all groups but the last, and that one, while the next stage's first is read.
  static FASTMLP_DEVICE void read_first(Registers& own, const T* a, const T* b, int thread) {
    read(own.fragments[0], a, b, thread, 0);
  }
  static FASTMLP_DEVICE void multiply_most(Registers& own, const T* a, const T* b, int thread) {
    FASTMLP_UNROLL
    for (int group = 0; group + 1 < kGroups; ++group) {
      read(own.fragments[(group + 1) % 2], a, b, thread, group + 1);
      add(own, own.fragments[group % 2]);
    }
  }
  static FASTMLP_DEVICE void multiply_last(Registers& own, const T* next_a, const T* next_b, int thread) {
    read_first(own, next_a, next_b, thread);
    add(own, own.fragments[1]);
  }

  // ---- the sums of slices, added up in shared memory until kStageSlices are left: in each round the upper half's go to the
  // lower half, in kPieces pieces
  static constexpr int kPieces = sizeof(T) / sizeof(float);
  static constexpr int kFoldBytes =
      kStageSlices == Shape::kSlices ? 0 : Shape::kSlices / 2 * Shape::kRows * Shape::kColumns * 4;

  template <class K>
  static FASTMLP_DEVICE void fold(Block<K>& block, T* memory) {
    for (int slices = Shape::kSlices; slices > kStageSlices; slices /= 2) {
      FASTMLP_UNROLL
      for (int piece = 0; piece < kPieces; ++piece) {
        block.each([&](int thread, auto& registers) {
          const int slice = Shape::position(thread).slice;
          if (slice >= slices / 2 && slice < slices)
            exchange(memory, thread, slices / 2, piece, [&](T* at, int row, int column) {
              const T* const sums = registers.product.sums[row] + column;
              store_quad(at, Quad<T>{{sums[0], sums[1], sums[2], sums[3]}});
            });
        });
        block.each([&](int thread, auto& registers) {
          if (Shape::position(thread).slice < slices / 2)
            exchange(memory, thread, slices / 2, piece, [&](const T* at, int row, int column) {
              const Quad<T> others = load_quad(at);
              FASTMLP_UNROLL
              for (int j = 0; j < 4; ++j) registers.product.sums[row][column + j] += others.v[j];
            });
        });
      }
    }
  }

  static FASTMLP_DEVICE void stage(T* stage, int thread, const Registers& own) {
    using S = Stage<T, Shape, kStageSlices>;
    const auto position = Shape::position(thread);
    if (position.slice >= kStageSlices) return;
    T* const corner = stage + position.slice * S::kSliceValues + position.row * S::kStride + position.column;
    const int down = position.lane / kAcross, across = position.lane % kAcross;
    FASTMLP_UNROLL
    for (int r = 0; r < kMine; ++r) {
      T* const row = corner + place<kA, kDown>(down, r) * S::kStride;
      if constexpr (kB == Along::Sum) {
        FASTMLP_UNROLL
        for (int c = 0; c < kMine; ++c) row[place<kB, kAcross>(across, c)] = own.sums[r][c];
      } else {
        FASTMLP_UNROLL
        for (int c = 0; c < kMine; c += 4)
          store_quad(row + place<kB, kAcross>(across, c),
                     Quad<T>{{own.sums[r][c], own.sums[r][c + 1], own.sums[r][c + 2], own.sums[r][c + 3]}});
      }
    }
  }

 private:
  // Where the thread's index i lies in its warp's; `lane` of `lanes`.
  template <Along kAlong, int lanes>
  static constexpr FASTMLP_DEVICE int place(int lane, int i) {
    return kAlong == Along::Sum ? lane + i * lanes : (lane + i / 4 * lanes) * 4 + i % 4;
  }

  template <class OperandTile, Along kAlong, int lanes>
  static FASTMLP_DEVICE void read_operand(T (&to)[kMine][kGroup], const T* tile, int outer, int lane, int term) {
    if constexpr (kAlong == Along::Sum) {
      struct alignas(kGroup * sizeof(T)) Terms {
        T v[kGroup];
      };
      FASTMLP_UNROLL
      for (int i = 0; i < kMine; ++i) {
        const auto terms =
            *reinterpret_cast<const Terms*>(tile + OperandTile::offset(outer + place<kAlong, lanes>(lane, i), term));
        FASTMLP_UNROLL
        for (int t = 0; t < kGroup; ++t) to[i][t] = terms.v[t];
      }
    } else {
      FASTMLP_UNROLL
      for (int t = 0; t < kGroup; ++t) {
        FASTMLP_UNROLL
        for (int i = 0; i < kMine; i += 4) {
          const Quad<T> quad = load_quad(tile + OperandTile::offset(outer + place<kAlong, lanes>(lane, i), term + t));
          FASTMLP_UNROLL
          for (int j = 0; j < 4; ++j) to[i + j][t] = quad.v[j];
        }
      }
    }
  }

  static FASTMLP_DEVICE void read(Fragments& to, const T* a, const T* b, int thread, int group) {
    const auto position = Shape::position(thread);
    const int term = (group * Shape::kSlices + position.slice) * kGroup;
    read_operand<TileA, kA, kDown>(to.a, a, position.row, position.lane / kAcross, term);
    read_operand<TileB, kB, kAcross>(to.b, b, position.column, position.lane % kAcross, term);
  }

  static FASTMLP_DEVICE void add(Registers& own, const Fragments& fragments) {
    FASTMLP_UNROLL
    for (int t = 0; t < kGroup; ++t) {
      FASTMLP_UNROLL
      for (int r = 0; r < kMine; ++r) {
        FASTMLP_UNROLL
        for (int c = 0; c < kMine; ++c)
          own.sums[r][c] = math::fma(fragments.a[r][t], fragments.b[c][t], own.sums[r][c]);
      }
    }
  }

  // body(place, row, column) for the quads of a piece of the thread's sums, which lie beside those of its neighbours.
  template <class Body>
  static FASTMLP_DEVICE void exchange(T* memory, int thread, int slices, int piece, const Body& body) {
    constexpr int kSliceThreads = kTileThreads / Shape::kSlices, kQuads = kMine * kMine / 4;
    const int slice = thread / kSliceThreads % slices;
    T* const own = memory + slice * (Shape::kRows * Shape::kColumns / kPieces) + thread % kSliceThreads * 4;
    FASTMLP_UNROLL
    for (int q = 0; q < kQuads / kPieces; ++q) {
      const int quad = piece * (kQuads / kPieces) + q;
      body(own + q * kSliceThreads * 4, quad / 2, quad % 2 * 4);
    }
  }
};

// Values are rounded when they are read from shared memory; lines lie so far apart that the words of a fragment come from
// different banks.
template <class Format, class Shape_, Along kA, Along kB>
struct Mma {
  using Shape = Shape_;
  static constexpr int kDepth = Shape::template kDepth<float>;
  static constexpr int kWords = kDepth / Format::kPerWord;
  static constexpr int kSliceWords = kWords / Shape::kSlices;
  static_assert(kSliceWords % kMmaWords == 0);
  static constexpr int kDown = Shape::kWarpRows / kMmaRows, kAcross = Shape::kWarpColumns / kMmaColumns;
  template <Along kAlong>
  static constexpr int kPad = (kAlong == Along::Sum) == (Format::kPerWord == 1) ? 4 : 8;
  using TileA = OperandTile<float, kA, Shape::kRows, kDepth, kPad<kA>>;
  using TileB = OperandTile<float, kB, Shape::kColumns, kDepth, kPad<kB>>;
  static constexpr int kStageSlices = Shape::kSlices, kFoldBytes = 0;
  static constexpr bool kAhead = false;

  struct Registers {
    float sums[kDown][kAcross][4];
    std::uint32_t a[kDown][4], b[kAcross][2];
  };

  static FASTMLP_DEVICE void clear(Registers& own) {
    FASTMLP_UNROLL
    for (int i = 0; i < kDown * kAcross; ++i) {
      FASTMLP_UNROLL
      for (int c = 0; c < 4; ++c) own.sums[i / kAcross][i % kAcross][c] = 0;
    }
  }

  template <class K>
  static FASTMLP_DEVICE void multiply(Block<K>& block, const float* a, const float* b) {
    FASTMLP_UNROLL
    for (int step = 0; step < kSliceWords; step += kMmaWords) {
      block.each_alone([&](int thread, auto& registers) { read_fragments(registers.product, a, b, thread, step); });
      block.each_warp([&](int, auto& lanes) {
        FASTMLP_UNROLL
        for (int i = 0; i < kDown; ++i) {
          FASTMLP_UNROLL
          for (int j = 0; j < kAcross; ++j)
            mma<Format>(lanes, [&](auto& registers) {
              Registers& own = registers.product;
              return MmaFragments{own.sums[i][j], own.a[i], own.b[j]};
            });
        }
      });
    }
  }

  template <class K>
  static FASTMLP_DEVICE void fold(Block<K>&, float*) {}

  static FASTMLP_DEVICE void stage(float* stage, int thread, const Registers& own) {
    using S = Stage<float, Shape, kStageSlices>;
    const auto position = Shape::position(thread);
    float* const corner = stage + position.slice * S::kSliceValues + (position.row + position.lane / 4) * S::kStride +
                          position.column + position.lane % 4 * 2;
    struct alignas(8) Pair {
      float v[2];
    };
    FASTMLP_UNROLL
    for (int i = 0; i < kDown * 2; ++i) {
      float* const row = corner + i * 8 * S::kStride;
      FASTMLP_UNROLL
      for (int j = 0; j < kAcross; ++j) {
        const auto& sums = own.sums[i / 2][j];
        *reinterpret_cast<Pair*>(row + j * kMmaColumns) = {{sums[i % 2 * 2], sums[i % 2 * 2 + 1]}};
      }
    }
  }

 protected:
  // The thread's words of a warp's operands, from word `step` of its slice on.
  static FASTMLP_DEVICE void read_fragments(Registers& own, const float* a, const float* b, int thread, int step) {
    const auto position = Shape::position(thread);
    const int g = position.lane / 4, word = position.slice * kSliceWords + step + position.lane % 4;
    FASTMLP_UNROLL
    for (int i = 0; i < kDown; ++i) {
      FASTMLP_UNROLL
      for (int f = 0; f < 4; ++f)
        own.a[i][f] = read<TileA>(a, position.row + i * kMmaRows + g + f % 2 * 8, word + f / 2 * 4);
    }
    FASTMLP_UNROLL
    for (int j = 0; j < kAcross; ++j) {
      FASTMLP_UNROLL
      for (int f = 0; f < 2; ++f) own.b[j][f] = read<TileB>(b, position.column + j * kMmaColumns + g, word + f * 4);
    }
  }

 private:
  // A word, by its index in the result and in the sum.
  template <class OperandTile>
  static FASTMLP_DEVICE std::uint32_t read(const float* tile, int outer, int word) {
    if constexpr (Format::kPerWord == 1) {
      return Format::word(tile[OperandTile::offset(outer, word)]);
    } else if constexpr (OperandTile::kBySum) {
      struct alignas(8) Pair {
        float v[2];
      };
      const auto pair = *reinterpret_cast<const Pair*>(tile + OperandTile::offset(outer, 2 * word));
      return Format::word(pair.v[0], pair.v[1]);
    } else {
      return Format::word(tile[OperandTile::offset(outer, 2 * word)], tile[OperandTile::offset(outer, 2 * word + 1)]);
    }
  }
};

}  // namespace fastmlp::cuda
