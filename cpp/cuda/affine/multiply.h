// What a block does with two tiles in shared memory: with multiply-adds of single values (SIMT), or on tensor cores (MMA).
//
// Both say how an operand lies in shared memory, multiply, and write `rounds` of 16 rows of each warp's sums to the
// stage, from where every thread takes values that lie side by side.
#pragma once

#include "cuda/affine/tile.h"
#include "cuda/block/mma.h"
#include "cuda/block/real.h"

namespace fastmlp::cuda {

inline constexpr int kRoundRows = 16;

// The sums of a round, of all slices; rows are kStride values apart.
template <class T, class Shape>
struct Stage {
  static constexpr int kStride = Shape::kColumns + Vector<T>::kLanes;
  static constexpr int kRows = kRoundRows * Shape::kWarpsDown;
  static constexpr int kRounds = Shape::kWarpRows / kRoundRows;
  static constexpr int kBytes = Shape::kSlices * kRows * kStride * static_cast<int>(sizeof(T));

  static FASTMLP_DEVICE T* row(T* stage, const typename Shape::Position& position, int row) {
    return stage +
           ((position.slice * kRows + position.row / Shape::kWarpRows * kRoundRows + row) * kStride + position.column);
  }
};

// A thread has 4 x 4 values of every 16 x 32 of its warp's.
template <class T, class Shape>
struct Simt {
  static constexpr int kDepth = Shape::template kDepth<T>;
  static constexpr int kDown = Shape::kWarpRows / 16, kAcross = Shape::kWarpColumns / 32;
  static constexpr int kStride = Shape::kRows + Vector<T>::kLanes;
  static constexpr int kOperandBytes = kDepth * kStride * static_cast<int>(sizeof(T));
  // Where 64 sums leave few registers for operands, other warps have to cover the way from shared memory.
  static constexpr int kUnrolled = kDown * kAcross > 2 ? 2 : kDepth / Shape::kSlices;

  struct Registers {
    T sums[kDown * 4][kAcross * 4];
  };

  static FASTMLP_DEVICE void clear(Registers& own) {
    FASTMLP_UNROLL
    for (int r = 0; r < kDown * 4; ++r) {
      FASTMLP_UNROLL
      for (int c = 0; c < kAcross * 4; ++c) own.sums[r][c] = T(0);
    }
  }

  // A row for each term of the sum.
  template <Along kAlong>
  static FASTMLP_DEVICE void store(unsigned char* tile, int thread, const Vector<T> (&vectors)[2]) {
    using P = ThreadLoad<T, kAlong, Shape::kRows, kDepth>;
    const P mine(thread);
    T* const values = reinterpret_cast<T*>(tile);
    FASTMLP_UNROLL
    for (int i = 0; i < 2; ++i) {
      T* const at = values + (mine.depth + i * P::kNext) * kStride + mine.outer;
      if constexpr (kAlong == Along::Sum) {
        FASTMLP_UNROLL
        for (int j = 0; j < P::V; ++j) at[j * kStride] = vectors[i].v[j];
      } else {
        *reinterpret_cast<Vector<T>*>(at) = vectors[i];
      }
    }
  }

  // Adds the products of the tiles' first `terms` terms. A slice has every kSlices-th, so that few are shared out, too.
  template <class K, Along, Along>
  static FASTMLP_DEVICE void multiply(Block<K>& block, const unsigned char* a_tile, const unsigned char* b_tile,
                                      int terms) {
    block.each_alone([&](int thread, auto& registers) {
      Registers& own = registers.product;
      const auto position = Shape::position(thread);
      const T* const a =
          reinterpret_cast<const T*>(a_tile) + position.slice * kStride + position.row + position.lane / 8 * 4;
      const T* const b =
          reinterpret_cast<const T*>(b_tile) + position.slice * kStride + position.column + position.lane % 8 * 4;
      constexpr int kStep = Shape::kSlices * kStride;
      if (terms == kDepth) {
        FASTMLP_UNROLL_BY(kUnrolled)
        for (int k = 0; k < kDepth / Shape::kSlices; ++k) add_term(own, a + k * kStep, b + k * kStep);
      } else {
        FASTMLP_UNROLL_BY(1)
        for (int k = 0; k * Shape::kSlices < terms; ++k) add_term(own, a + k * kStep, b + k * kStep);
      }
    });
  }

  static FASTMLP_DEVICE void stage(T* stage, int thread, int round, const Registers& own) {
    const auto position = Shape::position(thread);
    FASTMLP_UNROLL
    for (int r = 0; r < kDown * 4; ++r) {
      if (r / 4 != round) continue;
      T* const row = Stage<T, Shape>::row(stage, position, position.lane / 8 * 4 + r % 4) + position.lane % 8 * 4;
      FASTMLP_UNROLL
      for (int j = 0; j < kAcross; ++j) {
        const T* const sums = own.sums[r] + j * 4;
        store_quad(row + j * 32, Quad<T>{{sums[0], sums[1], sums[2], sums[3]}});
      }
    }
  }

 private:
  static FASTMLP_DEVICE void add_term(Registers& own, const T* a, const T* b) {
    Quad<T> rows[kDown], columns[kAcross];
    FASTMLP_UNROLL
    for (int i = 0; i < kDown; ++i) rows[i] = load_quad(a + i * 16);
    FASTMLP_UNROLL
    for (int j = 0; j < kAcross; ++j) columns[j] = load_quad(b + j * 32);
    FASTMLP_UNROLL
    for (int r = 0; r < kDown * 4; ++r) {
      FASTMLP_UNROLL
      for (int c = 0; c < kAcross * 4; ++c)
        own.sums[r][c] = math::fma(rows[r / 4].v[r % 4], columns[c / 4].v[c % 4], own.sums[r][c]);
    }
  }
};

// Operands keep their order in shared memory, a row for each index of the result (Along::Sum) or for each word of the sum;
// rows are so far apart that the words of a fragment lie in different banks.
template <class Format, class Shape>
struct Mma {
  static constexpr int kDepth = Shape::template kDepth<float>;
  static constexpr int kWords = kDepth / Format::kPerWord;
  static constexpr int kSliceWords = kWords / Shape::kSlices;
  static constexpr int kDown = Shape::kWarpRows / kMmaRows, kAcross = Shape::kWarpColumns / kMmaColumns;
  static constexpr int kLongStride = kWords + 4, kWideStride = Shape::kRows + 8;
  static constexpr int kOperandBytes =
      4 * (Shape::kRows * kLongStride > kWords * kWideStride ? Shape::kRows * kLongStride : kWords * kWideStride);

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

  template <Along kAlong>
  static FASTMLP_DEVICE void store(unsigned char* tile, int thread, const Vector<float> (&vectors)[2]) {
    using P = ThreadLoad<float, kAlong, Shape::kRows, kDepth>;
    const P mine(thread);
    auto* const words = reinterpret_cast<std::uint32_t*>(tile);
    if constexpr (Format::kPerWord == 1) {
      FASTMLP_UNROLL
      for (int i = 0; i < 2; ++i) {
        Vector<std::uint32_t> rounded;
        FASTMLP_UNROLL
        for (int j = 0; j < 4; ++j) rounded.v[j] = Format::word(vectors[i].v[j]);
        *reinterpret_cast<Vector<std::uint32_t>*>(words + offset<kAlong>(mine.outer, mine.depth + i * P::kNext)) =
            rounded;
      }
    } else if constexpr (kAlong == Along::Sum) {
      FASTMLP_UNROLL
      for (int i = 0; i < 2; ++i) {
        struct alignas(8) Half {
          std::uint32_t word[2];
        };
        const auto& v = vectors[i].v;
        *reinterpret_cast<Half*>(words + offset<kAlong>(mine.outer, (mine.depth + i * P::kNext) / 2)) = {
            {Format::word(v[0], v[1]), Format::word(v[2], v[3])}};
      }
    } else {
      Vector<std::uint32_t> rounded;
      FASTMLP_UNROLL
      for (int j = 0; j < 4; ++j) rounded.v[j] = Format::word(vectors[0].v[j], vectors[1].v[j]);
      *reinterpret_cast<Vector<std::uint32_t>*>(words + offset<kAlong>(mine.outer, mine.depth / 2)) = rounded;
    }
  }

  // Terms that are not there are zeros.
  template <class K, Along kA, Along kB>
  static FASTMLP_DEVICE void multiply(Block<K>& block, const unsigned char* a_tile, const unsigned char* b_tile, int) {
    const auto* const a = reinterpret_cast<const std::uint32_t*>(a_tile);
    const auto* const b = reinterpret_cast<const std::uint32_t*>(b_tile);
    FASTMLP_UNROLL
    for (int step = 0; step < kSliceWords; step += kMmaWords) {
      block.each_alone(
          [&](int thread, auto& registers) { load_fragments<kA, kB>(registers.product, thread, a, b, step); });
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

  static FASTMLP_DEVICE void stage(float* stage, int thread, int round, const Registers& own) {
    const auto position = Shape::position(thread);
    struct alignas(8) Pair {
      float v[2];
    };
    FASTMLP_UNROLL
    for (int i = 0; i < kDown; ++i) {
      if (i != round) continue;
      FASTMLP_UNROLL
      for (int half = 0; half < 2; ++half) {
        float* const row =
            Stage<float, Shape>::row(stage, position, position.lane / 4 + half * 8) + position.lane % 4 * 2;
        FASTMLP_UNROLL
        for (int j = 0; j < kAcross; ++j)
          *reinterpret_cast<Pair*>(row + j * kMmaColumns) = {{own.sums[i][j][half * 2], own.sums[i][j][half * 2 + 1]}};
      }
    }
  }

 protected:
  // The thread's words of a warp's operands, from word `step` of its slice on.
  template <Along kA, Along kB>
  static FASTMLP_DEVICE void load_fragments(Registers& own, int thread, const std::uint32_t* a, const std::uint32_t* b,
                                            int step) {
    const auto position = Shape::position(thread);
    const int g = position.lane / 4, word = position.slice * kSliceWords + step + position.lane % 4;
    FASTMLP_UNROLL
    for (int i = 0; i < kDown; ++i) {
      FASTMLP_UNROLL
      for (int f = 0; f < 4; ++f)
        own.a[i][f] = a[offset<kA>(position.row + i * kMmaRows + g + f % 2 * 8, word + f / 2 * 4)];
    }
    FASTMLP_UNROLL
    for (int j = 0; j < kAcross; ++j) {
      FASTMLP_UNROLL
      for (int f = 0; f < 2; ++f) own.b[j][f] = b[offset<kB>(position.column + j * kMmaColumns + g, word + f * 4)];
    }
  }

  // Of a word, by its index in the result and in the sum.
  template <Along kAlong>
  static constexpr FASTMLP_DEVICE int offset(int outer, int word) {
    return kAlong == Along::Sum ? outer * kLongStride + word : word * kWideStride + outer;
  }
};

}  // namespace fastmlp::cuda
