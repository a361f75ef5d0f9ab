// A matrix product as a block kernel: a block has a tile of the result and a part of the sum.
//
// While a block multiplies what lies in one half of its shared memory, it loads the next terms into registers, and then
// stores them, rounded where the product is not of float32, into the other half: one barrier for every kDepth terms.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda/affine/epilogue.h"
#include "cuda/affine/multiply_split.h"
#include "cuda/block/split.h"

namespace fastmlp::cuda {

// Format: void for sums in T itself, or TF32, BF16 or SplitFloat.
template <class T, class Format, class Shape>
struct MultiplyOf {
#if FASTMLP_TENSOR_CORES
  using Type = std::conditional_t<std::is_same_v<Format, SplitFloat>, SplitMma<Shape>, Mma<Format, Shape>>;
#else
  using Type = Simt<T, Shape>;
#endif
  static constexpr int kOperandBytes =
      std::max(Mma<Format, Shape>::kOperandBytes, static_cast<int>(Simt<T, Shape>::kOperandBytes));
};
template <class T, class Shape>
struct MultiplyOf<T, void, Shape> {
  using Type = Simt<T, Shape>;
  static constexpr int kOperandBytes = Type::kOperandBytes;
};

// result = A B. A's rows are those of the result; B's columns, its columns.
template <class T, class Format, class Shape, Along kA, Along kB, class Epilogue>
struct Gemm {
  using Multiply = typename MultiplyOf<T, Format, Shape>::Type;
  static constexpr int kThreads = kTileThreads;
  static constexpr bool kSplits = std::is_same_v<Format, SplitFloat>;  // and so needs more registers
  static constexpr int kBlocks = sizeof(T) == sizeof(double) ? 1 : (Shape::kRows > 32 ? 2 : 3) - (kSplits ? 1 : 0);
  static constexpr int kDepth = Shape::template kDepth<T>;
  static constexpr int kOperandBytes = MultiplyOf<T, Format, Shape>::kOperandBytes;
  static constexpr int kSharedBytes = std::max(4 * kOperandBytes, Stage<T, Shape>::kBytes);

  struct Params {
    Operand<T> a, b;
    int depth, tiles_across;
    int parts;  // of the sum, each in a block of its own
    int part;   // the length of one
    unsigned char* scratch;
    Epilogue epilogue;
  };
  struct Registers {
    typename Multiply::Registers product;
    Vector<T> a[2], b[2];
  };

  static FASTMLP_DEVICE void run(Block<Gemm>& block, const Params& p) {
    int id = block.index().x;
    if constexpr (Epilogue::kSumsColumns) {
      const auto& column_sums = p.epilogue.column_sums;
      if (id < column_sums.blocks) return column_sums.run(block, p.epilogue.step);
      id -= column_sums.blocks;
    }
    const int part = id % p.parts, tile = id / p.parts;
    const Corner corner{tile / p.tiles_across * Shape::kRows, tile % p.tiles_across * Shape::kColumns};
    const int begin = part * p.part, length = p.depth - begin;
    const int end = begin + (length < p.part ? length : p.part);
    multiply<Multiply>(block, p, corner, begin, end);
    if constexpr (requires { typename Multiply::AnySize; }) {
      if (Multiply::is_unsure(block)) multiply<typename Multiply::AnySize>(block, p, corner, begin, end);
    }
    finish(block, p, corner, tile, part);
  }

 private:
  struct Corner {
    int row, column;
  };

  static FASTMLP_DEVICE unsigned char* tile_a(unsigned char* shared, int half) {
    return shared + half * 2 * kOperandBytes;
  }
  static FASTMLP_DEVICE unsigned char* tile_b(unsigned char* shared, int half) {
    return tile_a(shared, half) + kOperandBytes;
  }

  using LoadA = ThreadLoad<T, kA, Shape::kRows, kDepth>;
  using LoadB = ThreadLoad<T, kB, Shape::kColumns, kDepth>;
  static FASTMLP_DEVICE void load(int thread, Registers& own, const Params& p, const Corner& corner, int depth,
                                  int end) {
    const bool whole = depth + kDepth <= end;
    LoadA(thread).load(p.a, corner.row, depth, end, whole && LoadA::inside(p.a, corner.row), own.a);
    LoadB(thread).load(p.b, corner.column, depth, end, whole && LoadB::inside(p.b, corner.column), own.b);
  }
  static FASTMLP_DEVICE void store(int thread, Registers& own, unsigned char* shared, int half) {
    Multiply::template store<kA>(tile_a(shared, half), thread, own.a);
    Multiply::template store<kB>(tile_b(shared, half), thread, own.b);
  }

  template <class By>
  static FASTMLP_DEVICE void multiply(Block<Gemm>& block, const Params& p, const Corner& corner, int begin, int end) {
    unsigned char* const shared = block.shared();
    block.each([&](int thread, Registers& own) {
      Multiply::clear(own.product);
      load(thread, own, p, corner, begin, end);
      store(thread, own, shared, 0);
    });
    int half = 0;
    for (int depth = begin; depth < end; depth += kDepth, half ^= 1) {
      const int next = depth + kDepth;
      if (next < end) block.each_alone([&](int thread, Registers& own) { load(thread, own, p, corner, next, end); });
      const int terms = next < end ? kDepth : end - depth;
      By::template multiply<Gemm, kA, kB>(block, tile_a(shared, half), tile_b(shared, half), terms);
      block.each([&](int thread, Registers& own) {
        if (next < end) store(thread, own, shared, half ^ 1);
      });
    }
  }

  // Each thread's share of a round: kQuads quads, whose neighbours its neighbours have.
  using Sums = Stage<T, Shape>;
  static constexpr int kRowQuads = Shape::kColumns / 4, kPassRows = kTileThreads / kRowQuads;
  static constexpr int kQuads = Sums::kRows / kPassRows;
  static constexpr int kTileValues = Shape::kRows * Shape::kColumns;

  // Of quad q of a round in a tile's part.
  static FASTMLP_DEVICE int part_offset(int round, int q, int thread) {
    return ((round * kQuads + q) * kTileThreads + thread) * 4;
  }

  static FASTMLP_DEVICE void hand_over(const Params& p, const typename Epilogue::Constants& constants,
                                       const Corner& corner, int thread, int round, int q, const Quad<T>& sums) {
    const int staged = thread / kRowQuads + q * kPassRows;
    const int row = corner.row + staged / kRoundRows * Shape::kWarpRows + round * kRoundRows + staged % kRoundRows;
    const int column = corner.column + thread % kRowQuads * 4;
    if (row < p.a.extent && column < p.b.extent) p.epilogue.finish(constants, row, column, p.b.extent - column, sums);
  }

  static FASTMLP_DEVICE void finish(Block<Gemm>& block, const Params& p, const Corner& corner, int tile, int part) {
    T* const stage = reinterpret_cast<T*>(block.shared());
    T* const tile_parts = parts<T>(p.scratch) + Index{tile} * p.parts * kTileValues;
    const auto constants = p.epilogue.prepare();
    FASTMLP_UNROLL
    for (int round = 0; round < Sums::kRounds; ++round) {
      block.each([&](int thread, Registers& own) { Multiply::stage(stage, thread, round, own.product); });
      block.each([&](int thread, Registers&) {
        FASTMLP_UNROLL_BY(1)
        for (int q = 0; q < kQuads; ++q) {
          const T* const at = stage + (thread / kRowQuads + q * kPassRows) * Sums::kStride + thread % kRowQuads * 4;
          Quad<T> sums = load_quad(at);
          FASTMLP_UNROLL
          for (int slice = 1; slice < Shape::kSlices; ++slice)
            add(sums, load_quad(at + slice * Sums::kRows * Sums::kStride));
          if (p.parts == 1)
            hand_over(p, constants, corner, thread, round, q, sums);
          else
            store_quad(tile_parts + Index{part} * kTileValues + part_offset(round, q, thread), sums);
        }
      });
    }
    if (p.parts == 1 || !arrives_last(block, counters(p.scratch) + tile, p.parts)) return;
    block.each_alone([&](int thread, Registers&) {
      FASTMLP_UNROLL_BY(1)
      for (int i = 0; i < Sums::kRounds * kQuads; ++i) {
        const int round = i / kQuads, q = i % kQuads;
        const T* const at = tile_parts + part_offset(round, q, thread);
        Quad<T> sums = load_part_quad(at);
        FASTMLP_UNROLL_BY(8)
        for (int other = 1; other < p.parts; ++other) add(sums, load_part_quad(at + Index{other} * kTileValues));
        hand_over(p, constants, corner, thread, round, q, sums);
      }
    });
  }

  static FASTMLP_DEVICE void add(Quad<T>& sums, const Quad<T>& others) {
    FASTMLP_UNROLL
    for (int i = 0; i < 4; ++i) sums.v[i] += others.v[i];
  }
};

}  // namespace fastmlp::cuda
