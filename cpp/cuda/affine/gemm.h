// A matrix product as a block kernel: a block has a tile of the result and a part of the sum.
//
// The operands' terms come through shared memory in stages of kDepth: while one is multiplied, the copies of the next ones
// are under way, with one barrier a stage. Then the sums go through the same memory, so that every thread finishes values that
// lie side by side; what the epilogue reads for them is asked for some quads at a time, before they are needed.
#pragma once

#include <algorithm>

#include "cuda/affine/column_sums.h"
#include "cuda/affine/epilogue.h"
#include "cuda/affine/multiply.h"

namespace fastmlp::cuda {

// Size: one of tile.h. Format: void for sums in T itself, or TF32 or BF16.
template <class T, class Format, class Size, Along kA, Along kB>
struct MultiplyOf {
  using Plain = Simt<T, typename Size::Simt, kA, kB>;
  using Tensor = Mma<Format, typename Size::Mma, kA, kB>;
#if FASTMLP_TENSOR_CORES
  using Type = Tensor;
#else
  using Type = Plain;
#endif
  // The host does not know which.
  template <template <class> class Bytes>
  static constexpr int kMost = std::max(Bytes<Plain>::value, Bytes<Tensor>::value);
};
template <class T, class Size, Along kA, Along kB>
struct MultiplyOf<T, void, Size, kA, kB> {
  using Type = Simt<T, typename Size::Simt, kA, kB>;
  template <template <class> class Bytes>
  static constexpr int kMost = Bytes<Type>::value;
};

inline constexpr int kStages = 4;  // of which one is multiplied

// result = A B. A's rows are those of the result; B's columns, its columns.
template <class T, class Format, class Size, Along kA, Along kB, class Epilogue>
struct Gemm {
  using Multiply = typename MultiplyOf<T, Format, Size, kA, kB>::Type;
  using Shape = typename Multiply::Shape;
  using TileA = typename Multiply::TileA;
  using TileB = typename Multiply::TileB;
  using Sums = Stage<T, Shape, Multiply::kStageSlices>;
  static constexpr int kThreads = kTileThreads;
  static constexpr bool kSumsColumns = Epilogue::kSumsColumns, kChoosesRows = Epilogue::kChoosesRows;
  static constexpr int kDepth = Multiply::kDepth;
  // 64 sums and fragments of four terms take more than half of the registers.
  static constexpr int kBlocks =
      sizeof(T) == sizeof(double) || (Multiply::kAhead && (kA == Along::Sum || kB == Along::Sum)) ? 1 : 2;

  template <class M>
  struct RingBytes {
    static constexpr int value = std::max({kStages * (M::TileA::kBytes + M::TileB::kBytes), M::kFoldBytes,
                                           Stage<T, typename M::Shape, M::kStageSlices>::kBytes});
  };
  // Then a value of each thread for the column sums, and a word.
  static constexpr int kRingBytes = MultiplyOf<T, Format, Size, kA, kB>::template kMost<RingBytes>;
  static constexpr int kColumnBytes = kSumsColumns ? kThreads * static_cast<int>(sizeof(T)) : 0;
  static constexpr int kSharedBytes = kRingBytes + kColumnBytes + 16;

  // Each thread's share of the tile: kQuads quads, whose neighbours its neighbours have; kBatch of them are read at a time.
  static constexpr int kRowQuads = Shape::kColumns / 4, kPassRows = kThreads / kRowQuads;
  static constexpr int kQuads = Shape::kRows / kPassRows, kBatch = kQuads < 4 ? kQuads : 4;
  static constexpr int kTileValues = Shape::kRows * Shape::kColumns;
  // What a part of a shared sum has in scratch memory.
  static constexpr int kPartValues = kTileValues + (kSumsColumns ? Shape::kColumns : 0);
  using Fetched = typename Epilogue::Fetched;
  // The first batch before the sums are handed round, where beside them there are registers for it.
  static constexpr bool kEarly =
      sizeof(Fetched) / sizeof(T) * kBatch <= (kBlocks > 1 && (kA == Along::Sum || kB == Along::Sum) ? 8 : 32);

  struct Params {
    Operand<T> a, b;
    BatchRows a_rows;
    int depth, tiles_across;
    int parts;  // of the sum, each in a block of its own
    int part;   // the length of one
    SharedSums shared;
    Epilogue epilogue;
  };
  struct Registers {
    typename Multiply::Registers product;
    typename TileA::Rows rows;
    CopyGroups copies;
    LongSum<T> column;
    Fetched fetched[kBatch];
  };

  static FASTMLP_DEVICE void run(Block<Gemm>& block, const Params& p) { run(block, p, block.index().x); }

  // As block `index` of the product's, in a kernel whose Registers are, or are derived from, the above.
  template <class K>
  static FASTMLP_DEVICE void run(Block<K>& block, const Params& p, int index) {
    const int part = index % p.parts, tile = index / p.parts;
    const Corner corner{tile / p.tiles_across * Shape::kRows, tile % p.tiles_across * Shape::kColumns};
    const int begin = part * p.part, length = p.depth - begin;
    multiply(block, p, corner, begin, begin + (length < p.part ? length : p.part));
    finish(block, p, corner, tile, part);
  }

 private:
  struct Corner {
    int row, column;
  };

  static FASTMLP_DEVICE bool chooses_rows(const Params& p) {
    if constexpr (kChoosesRows)
      return p.a_rows.chosen;
    else
      return false;
  }

  // ---- the pipeline
  static FASTMLP_DEVICE T* tile_a(unsigned char* shared, int slot) {
    return reinterpret_cast<T*>(shared + slot * (TileA::kBytes + TileB::kBytes));
  }
  static FASTMLP_DEVICE T* tile_b(unsigned char* shared, int slot) {
    return tile_a(shared, slot) + TileA::kBytes / sizeof(T);
  }

  // Of the stage that begins at `depth`; afterwards the rows are the next one's.
  static FASTMLP_DEVICE void copy(unsigned char* shared, int slot, int thread, auto& own, const Params& p,
                                  const Corner& corner, int depth, int end) {
    if (depth < end) {
      if (chooses_rows(p)) {
        TileA::copy(own.copies, tile_a(shared, slot), p.a, &own.rows, thread, corner.row, depth, end);
        if constexpr (!TileA::kBySum) own.rows.look_up(p.a, p.a_rows, thread, corner.row, depth + kDepth, end);
      } else {
        TileA::copy(own.copies, tile_a(shared, slot), p.a, nullptr, thread, corner.row, depth, end);
      }
      TileB::copy(own.copies, tile_b(shared, slot), p.b, nullptr, thread, corner.column, depth, end);
    }
    own.copies.commit();
  }

  template <class K>
  static FASTMLP_DEVICE void multiply(Block<K>& block, const Params& p, const Corner& corner, int begin, int end) {
    unsigned char* const shared = block.shared();
    const bool sums_columns = takes_columns(p, corner);
    block.each_alone([&](int thread, auto& own) {
      own.column = {};
      Multiply::clear(own.product);
      if (chooses_rows(p)) own.rows.look_up(p.a, p.a_rows, thread, corner.row, begin, end);
      FASTMLP_UNROLL
      for (int stage = 0; stage < kStages - 1; ++stage)
        copy(shared, stage, thread, own, p, corner, begin + stage * kDepth, end);
      if constexpr (kSumsColumns) prefetch_results(p, corner, thread);
    });
    const auto next = [](int slot) { return slot + 1 == kStages ? 0 : slot + 1; };
    const auto await = [&] { block.each([](int, auto& own) { own.copies.template await_but<kStages - 2>(); }); };
    int slot = 0, free = kStages - 1;
    if constexpr (Multiply::kAhead) {
      await();
      block.each_alone([&](int thread, auto& own) {
        Multiply::read_first(own.product, tile_a(shared, 0), tile_b(shared, 0), thread);
      });
    }
    FASTMLP_UNROLL_BY(1)
    for (int depth = begin; depth < end; depth += kDepth) {
      if constexpr (!Multiply::kAhead) await();
      const T* const a = tile_a(shared, slot);
      const T* const b = tile_b(shared, slot);
      block.each_alone([&](int thread, auto& own) {
        copy(shared, free, thread, own, p, corner, depth + (kStages - 1) * kDepth, end);
        if (sums_columns) add_columns(own, b, thread);
      });
      free = slot;
      slot = next(slot);
      if constexpr (Multiply::kAhead) {
        block.each_alone([&](int thread, auto& own) { Multiply::multiply_most(own.product, a, b, thread); });
        await();
        block.each_alone([&](int thread, auto& own) {
          Multiply::multiply_last(own.product, tile_a(shared, slot), tile_b(shared, slot), thread);
        });
      } else {
        Multiply::multiply(block, a, b);
      }
    }
    block.each([](int, auto& own) { own.copies.template await_but<0>(); });
  }

  // ---- column sums of B: the blocks of the first row of tiles see all of it
  static FASTMLP_DEVICE bool takes_columns(const Params& p, const Corner& corner) {
    if constexpr (kSumsColumns)
      return p.epilogue.sums_columns && corner.row == 0;
    else
      return false;
  }
  // A thread has one column and some of a stage's terms, zeros beyond the last one.
  static FASTMLP_DEVICE void add_columns(auto& own, const T* b, int thread) {
    constexpr int kGroups = kThreads / Shape::kColumns, kTerms = kDepth / kGroups;
    static_assert(kTerms % 2 == 0);
    T terms[kTerms];
    FASTMLP_UNROLL
    for (int i = 0; i < kTerms; ++i)
      terms[i] = b[TileB::offset(thread % Shape::kColumns, thread / Shape::kColumns + i * kGroups)];
    FASTMLP_UNROLL
    for (int i = 0; i < kTerms; ++i) own.column.add(terms[i]);
  }

  // ---- the sums
  static FASTMLP_DEVICE T* staged(T* stage, int q, int thread) {
    return stage + (thread / kRowQuads + q * kPassRows) * Sums::kStride + thread % kRowQuads * 4;
  }
  // Of quad q in a tile's part.
  static FASTMLP_DEVICE int part_offset(int q, int thread) { return (q * kThreads + thread) * 4; }

  // body(row, column, count) for quad q where it is in the result.
  template <class Body>
  static FASTMLP_DEVICE void with_quad(const Params& p, const Corner& corner, int q, int thread, const Body& body) {
    const int row = corner.row + thread / kRowQuads + q * kPassRows, column = corner.column + thread % kRowQuads * 4;
    if (row < p.a.extent && column < p.b.extent) body(Index{row}, Index{column}, p.b.extent - column);
  }

  static FASTMLP_DEVICE void prefetch_results(const Params& p, const Corner& corner, int thread) {
    constexpr int kLineQuads = 128 / (4 * sizeof(T));
    if (p.parts > 1 || thread % kRowQuads % kLineQuads != 0) return;
    FASTMLP_UNROLL_BY(1)
    for (int q = 0; q < kQuads; ++q)
      with_quad(p, corner, q, thread, [&](Index row, Index column, int) { p.epilogue.prefetch(row, column); });
  }

  // The quads from number `first` on.
  static FASTMLP_DEVICE void fetch(auto& own, const Params& p, const Corner& corner, int first, int thread) {
    FASTMLP_UNROLL
    for (int q = 0; q < kBatch; ++q)
      with_quad(p, corner, first + q, thread,
                [&](Index row, Index column, int count) { own.fetched[q] = p.epilogue.fetch(row, column, count); });
  }

  template <class K>
  static FASTMLP_DEVICE void finish(Block<K>& block, const Params& p, const Corner& corner, int tile, int part) {
    T* const stage = reinterpret_cast<T*>(block.shared());
    T* const columns = reinterpret_cast<T*>(block.shared() + kRingBytes);
    T* const tile_parts = p.shared.template parts<T>() + Index{tile} * p.parts * kPartValues;
    const auto constants = p.epilogue.prepare();
    const bool sums_columns = takes_columns(p, corner), early = kEarly && p.parts == 1;
    if (early) block.each_alone([&](int thread, auto& own) { fetch(own, p, corner, 0, thread); });
    Multiply::fold(block, stage);
    block.each([&](int thread, auto& own) {
      Multiply::stage(stage, thread, own.product);
      if constexpr (kSumsColumns) columns[thread] = own.column.value();
    });
    if (sums_columns) tree_sums(block, columns, Shape::kColumns, kThreads);

    if (Sums::kSlices > 1 || p.parts > 1)
      block.each_alone(
          [&](int thread, auto&) { add_slices(stage, p.parts == 1 ? nullptr : part_of(tile_parts, part), thread); });
    if (p.parts > 1) {
      block.each_alone([&](int thread, auto&) {
        if (sums_columns && thread < Shape::kColumns) part_of(tile_parts, part)[kTileValues + thread] = columns[thread];
      });
      int* const last = reinterpret_cast<int*>(block.shared() + kRingBytes + kColumnBytes);
      if (!arrives_last(block, last, p.shared.counters + tile, p.parts)) return;
      block.each_alone([&](int thread, auto&) {
        add_parts(stage, tile_parts, p.parts, thread);
        if (sums_columns && thread < Shape::kColumns) {
          T sum = T(0);
          FASTMLP_UNROLL_BY(8)
          for (int other = 0; other < p.parts; ++other)
            sum += load_part(part_of(tile_parts, other) + kTileValues + thread);
          columns[thread] = sum;
        }
      });
    }
    block.each_alone([&](int thread, auto& own) {
      FASTMLP_UNROLL_BY(1)
      for (int first = 0; first < kQuads; first += kBatch) {
        if (first > 0 || !early) fetch(own, p, corner, first, thread);
        FASTMLP_UNROLL_BY(1)
        for (int q = first; q < first + kBatch; ++q) {
          with_quad(p, corner, q, thread, [&](Index row, Index column, int count) {
            p.epilogue.finish(constants, own.fetched[0], row, column, count, load_quad(staged(stage, q, thread)));
          });
          FASTMLP_UNROLL
          for (int i = 1; i < kBatch; ++i) own.fetched[i - 1] = own.fetched[i];
        }
      }
      if constexpr (kSumsColumns)
        if (sums_columns && thread < Shape::kColumns && corner.column + thread < p.b.extent)
          p.epilogue.finish_column(corner.column + thread, columns[thread]);
    });
  }

  static FASTMLP_DEVICE T* part_of(T* tile_parts, int part) { return tile_parts + Index{part} * kPartValues; }

  // Each quad's sum over the slices, to `part` of a shared sum or, where that is null, to its first slice.
  static FASTMLP_DEVICE void add_slices(T* stage, T* part, int thread) {
    FASTMLP_UNROLL_BY(2)
    for (int q = 0; q < kQuads; ++q) {
      T* const at = staged(stage, q, thread);
      Quad<T> sums = load_quad(at);
      FASTMLP_UNROLL
      for (int slice = 1; slice < Sums::kSlices; ++slice) add(sums, load_quad(at + slice * Sums::kSliceValues));
      store_quad(part ? part + part_offset(q, thread) : at, sums);
    }
  }
  static FASTMLP_DEVICE void add_parts(T* stage, const T* tile_parts, int parts, int thread) {
    FASTMLP_UNROLL_BY(1)
    for (int q = 0; q < kQuads; ++q) {
      const T* const at = tile_parts + part_offset(q, thread);
      Quad<T> sums = load_part_quad(at);
      FASTMLP_UNROLL_BY(8)
      for (int other = 1; other < parts; ++other) add(sums, load_part_quad(at + Index{other} * kPartValues));
      store_quad(staged(stage, q, thread), sums);
    }
  }

  static FASTMLP_DEVICE void add(Quad<T>& sums, const Quad<T>& others) {
    FASTMLP_UNROLL
    for (int i = 0; i < 4; ++i) sums.v[i] += others.v[i];
  }
};

}  // namespace fastmlp::cuda
