// Products of matrices in a block's shared memory, in float32. A thread adds up a tile of 8 x 8 values over its slice of
// the terms, four terms at a time; the slices' sums meet in the stage, and all threads finish them, four neighbouring
// values each.
//
// Operands keep the order that they have as rows of a network's matrices. `Along`: the terms of the sum lie side by side
// in a row; a thread takes every tile_rows-th row, and of each row four terms at once. `Across`: each term is a row, of
// which a thread takes two quads. Either way 16 loads of 16 bytes serve 256 multiply-adds.
#pragma once

#include "cuda/block/real.h"
#include "cuda/medium/plan.h"

namespace fastmlp::cuda {

enum class Operand { Along, Across };

// n / divisor by a multiplication; exact for n * divisor < 2^32.
struct Divisor {
  unsigned divisor, factor;

  explicit FASTMLP_FORMULA Divisor(int divisor_)
      : divisor(static_cast<unsigned>(divisor_)), factor(0xffffffffU / divisor + 1) {}
  FASTMLP_FORMULA int quotient(int n) const {
    if (divisor == 1) return n;
    return static_cast<int>((static_cast<std::uint64_t>(factor) * static_cast<unsigned>(n)) >> 32);
  }
};

// C = A B: tile_rows * 8 rows, tile_columns * 8 columns, `terms` terms, a multiple of 4. Padded values count as any.
struct GridProduct {
  const float* a;
  int lda;
  const float* b;
  int ldb;
  int tile_rows, tile_columns, terms;
  int turn_rows;   // of tiles, at a time
  int part_terms;  // likewise
};

struct ProductRegisters {
  float sums[kTile][kTile];
  int slice, row, column;  // of the thread's tile
};

namespace product {

// The four terms from number t on of a thread's kTile rows of an operand: v[row][term].
struct Fragment {
  Quad<float> v[kTile];
};

template <Operand operand>
FASTMLP_DEVICE Fragment fragment(const float* from, int ld, int tile, int tiles, int t) {
  Fragment result;
  FASTMLP_UNROLL
  for (int i = 0; i < kTile; ++i) {
    if constexpr (operand == Operand::Along)
      result.v[i] = load_quad(from + (tile + i * tiles) * ld + t);
    else  // v[2 * term + half]
      result.v[i] = load_quad(from + (t + i / 2) * ld + 4 * (tile + i % 2 * tiles));
  }
  return result;
}

template <Operand operand>
FASTMLP_DEVICE float value(const Fragment& fragment, int i, int term) {
  return operand == Operand::Along ? fragment.v[i].v[term] : fragment.v[2 * term + i / 4].v[i % 4];
}

// The column of a thread's j-th value in the stage, and the row of its i-th value among half of the tile's.
template <Operand operand>
FASTMLP_DEVICE int place(int i, int tile, int tiles) {
  return operand == Operand::Along ? tile + i * tiles : 4 * (tile + i / 4 * tiles) + i % 4;
}

template <Operand left, Operand right>
FASTMLP_DEVICE void add_up(const GridProduct& p, const ProductShare& share, ProductRegisters& own, int first_row,
                           int first_term) {
  const int left_terms = p.terms - first_term,
            end = first_term + (left_terms < p.part_terms ? left_terms : p.part_terms);
  const float* const a = p.a + (left == Operand::Along ? first_row * p.lda : first_row);
  FASTMLP_UNROLL_BY(1)
  for (int t = first_term + 4 * own.slice; t < end; t += 4 * share.slices) {
    const Fragment rows = fragment<left>(a, p.lda, own.row, share.tile_rows, t);
    const Fragment columns = fragment<right>(p.b, p.ldb, own.column, share.tile_columns, t);
    FASTMLP_UNROLL
    for (int term = 0; term < 4; ++term) {
      FASTMLP_UNROLL
      for (int i = 0; i < kTile; ++i) {
        FASTMLP_UNROLL
        for (int j = 0; j < kTile; ++j)
          own.sums[i][j] = math::fma(value<left>(rows, i, term), value<right>(columns, j, term), own.sums[i][j]);
      }
    }
  }
}

// Half of the thread's sums, those of rows i with i / 4 == half.
template <Operand left, Operand right>
FASTMLP_DEVICE void put(const ProductShare& share, const ProductRegisters& own, int half, float* stage) {
  float* const to = stage + own.slice * share.stage_rows() * share.stage_ld();
  FASTMLP_UNROLL
  for (int i = 0; i < kTile; ++i) {
    if (i / 4 != half) continue;
    float* const row = to + place<left>(i % 4, own.row, share.tile_rows) * share.stage_ld();
    if constexpr (right == Operand::Along) {
      FASTMLP_UNROLL
      for (int j = 0; j < kTile; ++j) row[place<right>(j, own.column, share.tile_columns)] = own.sums[i][j];
    } else {
      FASTMLP_UNROLL
      for (int j = 0; j < kTile; j += 4)
        store_quad(row + place<right>(j, own.column, share.tile_columns),
                   Quad<float>{{own.sums[i][j], own.sums[i][j + 1], own.sums[i][j + 2], own.sums[i][j + 3]}});
    }
  }
}

}  // namespace product

// arrive(part) is called before each part of the terms is multiplied. finish(for_quads) is called in each thread, several
// times; for_quads(body) calls body(row, column, quad) for the thread's quads, whose first value that is. `stage` has room
// for stage_values().
template <Operand left, Operand right, class K, class Arrive, class Finish>
FASTMLP_DEVICE void multiply(Block<K>& block, const GridProduct& p, float* stage, const Arrive& arrive,
                             const Finish& finish) {
  for (int first = 0; first < p.tile_rows;) {
    const ProductShare share = ProductShare::of(p.tile_rows - first, p.tile_columns, p.terms, p.turn_rows);
    block.each_alone([&](int thread, auto& registers) {
      ProductRegisters& own = registers.product;
      own.slice = thread / share.tiles();
      const int tile = thread - own.slice * share.tiles();
      own.row = tile / share.tile_columns;
      own.column = tile - own.row * share.tile_columns;
      FASTMLP_UNROLL
      for (int i = 0; i < kTile * kTile; ++i) own.sums[i / kTile][i % kTile] = 0;
    });
    FASTMLP_UNROLL_BY(1)
    for (int term = 0; term < p.terms; term += p.part_terms) {
      arrive(term / p.part_terms);
      block.each_alone([&](int, auto& registers) {
        ProductRegisters& own = registers.product;
        if (own.slice < share.slices) product::add_up<left, right>(p, share, own, first * kTile, term);
      });
    }
    const int quads = share.tile_columns * kTile / 4, all = share.stage_rows() * share.stage_ld();
    const Divisor by_quads(quads);
    FASTMLP_UNROLL_BY(1)
    for (int half = 0; half < 2; ++half) {
      block.each([&](int, auto& registers) {
        const ProductRegisters& own = registers.product;
        if (own.slice < share.slices) product::put<left, right>(share, own, half, stage);
      });
      block.each([&](int thread, auto&) {
        finish([&](const auto& body) {
          FASTMLP_UNROLL_BY(1)
          for (int i = thread; i < share.stage_rows() * quads; i += K::kThreads) {
            const int row = by_quads.quotient(i), column = 4 * (i - row * quads);
            const float* const from = stage + row * share.stage_ld() + column;
            Quad<float> sum = load_quad(from);
            FASTMLP_UNROLL_BY(4)
            for (int slice = 1; slice < share.slices; ++slice) {
              const Quad<float> other = load_quad(from + slice * all);
              FASTMLP_UNROLL
              for (int j = 0; j < 4; ++j) sum.v[j] += other.v[j];
            }
            body(first * kTile + half * share.stage_rows() + row, column, sum);
          }
        });
      });
    }
    first += share.tile_rows;
  }
}

}  // namespace fastmlp::cuda
