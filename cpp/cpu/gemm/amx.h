// The product in AMX's tiles: 32 x 32 sums of C in four tiles, from two tiles of A and two of B for each 32 terms.
//
// A tile's row has 16 words, pairs of bfloat16 (see pairs.h). A tile of A has 16 rows of the matrix and 16 pairs of terms,
// one of B 16 pairs of terms and 16 columns; packed, each is 1 KB in one piece, filled up with zeros. The loops are those
// of gemm.h, whose epilogues take the sums row by row.
#pragma once

#include "cpu/gemm/gemm.h"

namespace fastmlp::FASTMLP_ISA_NS {

constexpr Index kTileSide = 16, kTileWords = kTileSide * kTileSide, kTileTerms = 2 * kTileSide;
constexpr Index kStep = 2 * kTileSide;  // rows and columns of C that are computed at once

FASTMLP_INLINE float pair_word(float first, float second) {
  const std::uint32_t low = ops::bfloat16_of(__builtin_bit_cast(std::uint32_t, first));
  const std::uint32_t high = ops::bfloat16_of(__builtin_bit_cast(std::uint32_t, second));
  return __builtin_bit_cast(float, low | high << 16);
}

// One tile: words of the terms from k0 on (k0 + 2 w and the next) of the vectors from i0 on, V(i, k) being V's row i. With
// `by_vector` a tile's row is a vector's words, as in A, else word w of all vectors, as in B.
inline void pack_tile(const Strided<float>& V, Index i0, Index i_end, Index k0, Index k_end, bool by_vector,
                      float* tile) {
  float words[kTileWords];
  const bool whole = i0 + kTileSide <= i_end && k0 + kTileTerms <= k_end;
  const bool turn = whole && by_vector != (V.column == 1);
  float* const out = turn ? words : tile;
  if (!whole) {
    const auto value = [&](Index i, Index k) { return i < i_end && k < k_end ? *V.at(i, k) : 0.0F; };
    for (Index i = 0; i < kTileSide; ++i)
      for (Index w = 0; w < kTileSide; ++w)
        out[by_vector ? i * kTileSide + w : w * kTileSide + i] =
            pair_word(value(i0 + i, k0 + 2 * w), value(i0 + i, k0 + 2 * w + 1));
  } else if (V.column == 1) {
    for (Index i = 0; i < kTileSide; ++i) {
      const float* terms = V.at(i0 + i, k0);
      for (Index w = 0; w < kTileSide; ++w) out[i * kTileSide + w] = pair_word(terms[2 * w], terms[2 * w + 1]);
    }
  } else {
    for (Index w = 0; w < kTileSide; ++w) {
      const float *first = V.at(i0, k0 + 2 * w), *second = V.at(i0, k0 + 2 * w + 1);
      for (Index i = 0; i < kTileSide; ++i) out[w * kTileSide + i] = pair_word(first[i], second[i]);
    }
  }
  if (!turn) return;
  constexpr Index lanes = Vec<float>::lanes;
  for (Index i = 0; i < kTileSide; i += lanes)
    for (Index j = 0; j < kTileSide; j += lanes)
      transpose_square<float>(words + i * kTileSide + j, kTileSide, tile + j * kTileSide + i, kTileSide);
}

// Two rows of tiles: the vectors from i0 on, all terms.
inline void pack_tiles(const Strided<float>& V, Index i0, Index i_end, Index k0, Index k_end, bool by_vector,
                       float* tiles) {
  for (Index k = k0; k < k_end; k += kTileTerms)
    for (Index half = 0; half < 2; ++half, tiles += kTileWords)
      pack_tile(V, i0 + half * kTileSide, i_end, k, k_end, by_vector, tiles);
}

// sums (32 x 32) += A B over `steps` pairs of tiles.
FASTMLP_INLINE void multiply_tiles(Tiles& tiles, Index steps, const float* a, const float* b, float* sums) {
  float* const lower = sums + kTileSide * kStep;
  tiles.template load<0>(sums, kStep);
  tiles.template load<1>(sums + kTileSide, kStep);
  tiles.template load<2>(lower, kStep);
  tiles.template load<3>(lower + kTileSide, kStep);
  for (Index step = 0; step < steps; ++step, a += 2 * kTileWords, b += 2 * kTileWords) {
    tiles.template load<4>(a, kTileSide);
    tiles.template load<6>(b, kTileSide);
    tiles.template multiply_add<0, 4, 6>();
    tiles.template load<7>(b + kTileWords, kTileSide);
    tiles.template multiply_add<1, 4, 7>();
    tiles.template load<5>(a + kTileWords, kTileSide);
    tiles.template multiply_add<2, 5, 6>();
    tiles.template multiply_add<3, 5, 7>();
  }
  tiles.template store<0>(sums, kStep);
  tiles.template store<1>(sums + kTileSide, kStep);
  tiles.template store<2>(lower, kStep);
  tiles.template store<3>(lower + kTileSide, kStep);
}

// Hands the sums of one step, with what `before` adds to them, to the epilogue in tiles of float32.
inline void finish_step(const Epilogue<float>& epilogue, const Partial<float>& before, const float* sums, Index i0,
                        Index rows, Index j0, Index columns, float* tile) {
  constexpr Index MR = Blocking<float>::MR, NR = Blocking<float>::NR;
  for (Index j = 0; j < columns; j += NR) {
    const Index width = smaller(NR, columns - j);
    for (Index i = 0; i < rows; i += MR) {
      const Index height = smaller(MR, rows - i);
      const float* from = sums + i * kStep + j;
      copy_rows(from, kStep, static_cast<int>(height), static_cast<int>(NR), tile, NR);
      if (before.sums) {
        for (Index r = 0; r < height; ++r) {
          const float* earlier = before.sums + (i0 + i + r) * before.ld + j0 + j;
          for_vectors<float>(width, [&](Index c, auto part) {
            float* const sum = tile + r * NR + c;
            store(sum, load(sum, part) + load(earlier + c, part), part);
          });
        }
      }
      epilogue.apply(epilogue.context, tile, i0 + i, static_cast<int>(height), j0 + j, static_cast<int>(width));
    }
  }
}

inline void multiply(const Gemm<float>& g, const Part& part, float* scratch) {
  using Block = Blocking<float>;
  constexpr Index kMostPackedA = Block::kMostPackedA / 2;
  static_assert(kStep % Block::NR == 0 &&
                kMostPackedA + Block::kMostDepth / 2 * kStep + kStep * kStep < Block::kMostPackedA);
  float* const packed_a = scratch;
  float* const packed_b = packed_a + kMostPackedA;
  float* const sums = packed_b + Block::kMostDepth / 2 * kStep;
  float* const tile = scratch + Block::kMostPackedA;  // of the epilogues
  const Strided<float> columns_of_b{g.B.p, g.B.column, g.B.row};
  const Store<float> partial{g.partial, g.ld_partial};
  const Epilogue<float> store{store_tile<float>, &partial};

  Tiles tiles;
  for (Index kb = 0; kb < part.depth_blocks; ++kb) {
    const Index k0 = block_begin(kb, part.depth_blocks, g.K), k1 = block_begin(kb + 1, part.depth_blocks, g.K);
    const Index steps = ceil_div(k1 - k0, kTileTerms), panel = steps * 2 * kTileWords;
    const bool start = kb == 0 && g.start.values;
    const Epilogue<float>& epilogue = kb == part.depth_blocks - 1 ? g.epilogue : store;
    const Partial<float> before = kb == 0 && !g.accumulate ? Partial<float>{} : Partial<float>{g.partial, g.ld_partial};
    const Index most_rows = larger(smaller(block_sizes<float>().packed_a, kMostPackedA) / panel, 1) * kStep;
    for (Index m0 = part.m_begin; m0 < part.m_end; m0 += most_rows) {
      const Index m1 = smaller(part.m_end, m0 + most_rows);
      for (Index i = m0; i < m1; i += kStep) pack_tiles(g.A, i, m1, k0, k1, true, packed_a + (i - m0) / kStep * panel);
      for (Index n0 = part.n_begin; n0 < part.n_end; n0 += kStep) {
        const Index n1 = smaller(part.n_end, n0 + kStep);
        pack_tiles(columns_of_b, n0, n1, k0, k1, false, packed_b);
        for (Index i = m0; i < m1; i += kStep) {
          for (Index r = 0; r < kStep; ++r)
            for (Index j = 0; j < kStep; ++j)
              sums[r * kStep + j] = start && n0 + j < n1 ? g.start.values[n0 + j] : 0.0F;
          multiply_tiles(tiles, steps, packed_a + (i - m0) / kStep * panel, packed_b, sums);
          finish_step(epilogue, before, sums, i, smaller(kStep, m1 - i), n0, n1 - n0, tile);
        }
      }
    }
  }
}

}  // namespace fastmlp::FASTMLP_ISA_NS
