// Skinny products, with few rows, few columns or short sums: bound by memory, or too short for packing to pay.
//
// Two kernels read both matrices where they are. `broadcast_tile` scales rows of B by elements of A; `dot_tile` multiplies
// rows of A with columns of B, where the sum runs along memory in both. The drivers take the same description, with the
// same epilogues, as gemm.
#pragma once

#include "cpu/elementwise.h"
#include "cpu/gemm/gemm.h"
#include "cpu/gemm/threads.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
struct Skinny {
  static constexpr int kRegisters = Blocking<T>::MR * Blocking<T>::NV;  // for accumulators
  static constexpr int kMostRows = Blocking<T>::MR;
  static constexpr int kMostVectors = 8;  // in a row of a broadcast tile
  // Of the last ones: whole tiles of the epilogue.
  static constexpr int kTailVectors = kSmallCode ? Blocking<T>::NV : 4;
  static constexpr int kDotRows = kSmallCode ? 2 : sizeof(T) == 8 ? 4 : 8;
  static constexpr int kDotColumns = kSmallCode ? 2 : 4;
  static constexpr Index kWide = 512;  // columns whose sums are in L1 while B passes
  static constexpr Index kTile = larger(kMostRows, kDotRows) * Blocking<T>::NR;
  static constexpr Index kCopy = Blocking<T>::kMostPackedA;  // values of a copy of a narrow matrix

  // Whole tiles of the epilogue.
  static constexpr int vectors(int rows) {
    return rows * kMostVectors <= kRegisters ? kMostVectors : rows * 4 <= kRegisters ? 4 : Blocking<T>::NV;
  }
  static constexpr int dot_rows(int columns) { return static_cast<int>(smaller(kDotRows, kRegisters / columns)); }
};

// A table of tile kernels: entry (i, j) at (i - 1) * columns + j - 1.
template <class T, template <class, int, int> class Kernel, int columns, class Indices>
struct TileTable;
template <class T, template <class, int, int> class Kernel, int columns, int... I>
struct TileTable<T, Kernel, columns, Ints<I...>> {
  static constexpr typename Kernel<T, 1, 1>::Function table[] = {Kernel<T, I / columns + 1, I % columns + 1>::get()...};
};

// How far ahead of their use rows of B are asked for: they lie apart, where the processor foresees little. From L2 by few,
// for rows a power of two apart share the sets of L1; into L2, from beyond, by as many lines as hide the way.
constexpr Index kRowsAhead = 8;

// The terms [k0, k1) of the sums of a product whose B lies in rows, or in packed slivers.
template <class T>
struct BroadcastTerms {
  static constexpr Index NR = Blocking<T>::NR;
  const Gemm<T>& g;
  Index k0, k1;
  bool first;  // the tiles' sums begin with them
  int rows;    // of a tile; a single one reads B as it lies
  bool packed = g.slivers && rows > 1;
  bool far = g.K * g.N * Index{sizeof(T)} > processor::caches().l2;  // from where B comes
  const T* b = packed ? g.slivers + k0 * NR : g.B.at(k0, 0);
  Index row_step = packed ? NR : g.B.row, sliver_step = packed ? g.K * NR : NR;  // of NR columns

  // n0 is a multiple of NR.
  FASTMLP_INLINE const T* columns_from(Index n0) const { return b + n0 / NR * sliver_step; }
};

// The tile C[m0 .. m0 + MR)[n0 .. ), NV vectors wide, the last of them `last`; added to what is in the tile unless `first`.
// Every NR columns form a tile for the epilogue.
template <class T, int MR, int NV, class Part>
void broadcast_tile(const BroadcastTerms<T>& terms, Index m0, Index n0, Part last, T* tile) {
  using V = Vec<T>;
  constexpr int lanes = V::lanes, NR = Blocking<T>::NR;
  constexpr Index kFarAhead = 48 * 64 / sizeof(T) / lanes;  // 48 lines of vectors
  const Gemm<T>& g = terms.g;
  const Index k0 = terms.k0, k1 = terms.k1, row_step = terms.row_step;
  const Index sliver_step = MR == 1 ? NR : terms.sliver_step;
  // More rows wait for their sums instead. Last columns, a small part of a wide B, do without a loop of their own.
  const bool far = MR <= 3 && __is_same(Part, Full) && terms.far;
  const T* a = g.A.at(m0, k0);
  const T* b = terms.columns_from(n0);
  V acc[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[r][v] = V(T(0));
  if (g.start.values && k0 == 0) {
    FASTMLP_UNROLL
    for (int v = 0; v < NV; ++v) {
      const T* const own = g.start.values + n0 + v * lanes;
      const V start = v + 1 < NV ? V::load(own) : load(own, last);
      FASTMLP_UNROLL
      for (int r = 0; r < MR; ++r) acc[r][v] = start;
    }
  }
  for (Index k = k0; k < k1; ++k) {
    V row[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      const T* const from = b + v / Blocking<T>::NV * sliver_step + v % Blocking<T>::NV * lanes;
      if (v * lanes * sizeof(T) % 64 == 0) {
        if (far)
          __builtin_prefetch(from + kFarAhead / NV * row_step, 0, 2);
        else
          __builtin_prefetch(from + kRowsAhead * row_step);
      }
      row[v] = v + 1 < NV ? V::load(from) : load(from, last);
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const V scalar(a[r * g.A.row]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v] = fma(scalar, row[v], acc[r][v]);
    }
    a += g.A.column;
    b += row_step;
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      T* out = tile + v / Blocking<T>::NV * MR * NR + r * NR + v % Blocking<T>::NV * lanes;
      (terms.first ? acc[r][v] : V::load(out) + acc[r][v]).store(out);
    }
}

// Full: the widest tile, of whole vectors; Tail: of up to kTailVectors, for the last columns.
template <class Part>
struct BroadcastTiles {
  template <class T, int MR, int NV>
  struct Kernel {
    using Function = void (*)(const BroadcastTerms<T>&, Index, Index, Part, T*);
    static constexpr Function get() {
      constexpr int widest = Skinny<T>::vectors(MR);
      if constexpr (__is_same(Part, Full) ? NV == widest : NV <= smaller(widest, Skinny<T>::kTailVectors))
        return broadcast_tile<T, MR, NV, Part>;
      else
        return nullptr;
    }
  };
  template <class T>
  using Table = TileTable<T, Kernel, Skinny<T>::kMostVectors,
                          typename MakeInts<Skinny<T>::kMostRows * Skinny<T>::kMostVectors>::type>;
};

// The terms of the sums of a tile's rows and `columns` columns, into (or, unless they are the first, added to) `tile`: NR
// columns of all rows after the other.
template <class T>
void broadcast_block(const BroadcastTerms<T>& terms, Index m0, Index n0, Index columns, T* tile) {
  constexpr int lanes = Vec<T>::lanes, kMost = Skinny<T>::kMostVectors;
  const int rows = terms.rows;
  const Index widest = Skinny<T>::vectors(rows), most = smaller(widest, Skinny<T>::kTailVectors);
  for (Index n = 0; n < columns;) {
    const auto entry = [&](Index vectors) { return (rows - 1) * kMost + vectors - 1; };
    if (n + widest * lanes <= columns) {
      BroadcastTiles<Full>::Table<T>::table[entry(widest)](terms, m0, n0 + n, {}, tile + n * rows);
      n += widest * lanes;
      continue;
    }
    const Index left = smaller(columns - n, most * lanes), vectors = ceil_div(left, lanes);
    const Tail last{static_cast<int>(left - (vectors - 1) * lanes)};
    BroadcastTiles<Tail>::Table<T>::table[entry(vectors)](terms, m0, n0 + n, last, tile + n * rows);
    n += left;
  }
}

template <class T>
void apply_epilogue(const Gemm<T>& g, Index m0, int rows, Index n0, Index columns, T* tile) {
  const Index step = rows == 1 ? columns : Blocking<T>::NR;
  for (Index n = 0; n < columns; n += step)
    g.epilogue.apply(g.epilogue.context, tile + n * rows, m0, rows, n0 + n,
                     static_cast<int>(smaller(step, columns - n)));
}

// Columns [n_begin, n_end) of up to kMostRows rows of the product. The sums are those of gemm, bit for bit.
template <class T>
void broadcast_rows(const Gemm<T>& g, Index m0, int rows, Index n_begin, Index n_end) {
  alignas(64) T tile[Skinny<T>::kMostRows * Skinny<T>::kWide];
  const Index blocks = k_blocks<T>(g.K);
  for (Index n0 = n_begin; n0 < n_end; n0 += Skinny<T>::kWide) {
    const Index columns = smaller(Skinny<T>::kWide, n_end - n0);
    for (Index kb = 0; kb < blocks; ++kb)
      broadcast_block<T>({g, block_begin(kb, blocks, g.K), block_begin(kb + 1, blocks, g.K), kb == 0, rows}, m0, n0,
                         columns, tile);
    apply_epilogue(g, m0, rows, n0, columns, tile);
  }
}

// Rows [m_begin, m_end) of such a product, in tiles of nearly equal height.
template <class T>
void broadcast_part(const Gemm<T>& g, Index m_begin, Index m_end, Index n_begin, Index n_end) {
  const RowBlock block{m_begin, m_end - m_begin, ceil_div(m_end - m_begin, Index{Skinny<T>::kMostRows})};
  for (Index t = 0; t < block.tiles; ++t) broadcast_rows(g, block.tile(t), block.height(t), n_begin, n_end);
}

// As many pieces of [0, n) as `work` multiply-adds pay for threads.
inline Index worthwhile_pieces(const Context& context, Index work) {
  constexpr Index kWorthAThread = 48 * 1024;
  return larger(1, smaller(context.executor.workers, work / kWorthAThread));
}

// body(begin, end, worker) over [0, n) in parallel.
template <class Body>
void parallel_split(const Context& context, Index n, Index work, Index multiple, const Body& body) {
  const Index pieces = worthwhile_pieces(context, work);
  if (pieces == 1) return body(0, n, 0);
  const Index step = round_up(ceil_div(n, pieces), multiple);
  parallel_tasks(context, ceil_div(n, step),
                 [&](Index task, int worker) { body(task * step, smaller(n, (task + 1) * step), worker); });
}

// Whether a product with this W is split among threads by blocks of W's rows. With few rows of x, nearly all that is read
// is W, and each thread then finds its part in its own cache, forward and backward.
template <class T>
FASTMLP_INLINE bool splits_rows(Index K, Index N, const Context& context) {
  return k_blocks<T>(K) >= larger(2, context.executor.workers) && N >= 64;
}

// body(first block, last) over the blocks of K rows of W.
template <class T, class Body>
void parallel_blocks(const Context& context, Index K, Index work, const Body& body) {
  const Index blocks = k_blocks<T>(K), pieces = smaller(worthwhile_pieces(context, work), blocks);
  parallel_tasks(context, pieces,
                 [&](Index piece, int) { body(piece * blocks / pieces, (piece + 1) * blocks / pieces); });
}

// M <= kMostRows and B.column == 1: B is read once.
template <class T>
void few_rows(const Gemm<T>& g, const Context& context) {
  const int rows = static_cast<int>(g.M);
  const Index blocks = k_blocks<T>(g.K), size = g.M * round_up(g.N, Blocking<T>::NR);
  if (!splits_rows<T>(g.K, g.N, context) || (blocks + 1) * size > Skinny<T>::kCopy) {
    parallel_split(context, g.N, g.M * g.N * g.K, 64,
                   [&](Index begin, Index end, int) { broadcast_rows(g, 0, rows, begin, end); });
    return;
  }
  // Each block has its own sums; they are added in order, whichever thread they come from.
  T* const sums = reinterpret_cast<T*>(context.scratch);
  parallel_blocks<T>(context, g.K, g.M * g.N * g.K, [&](Index begin, Index end) {
    for (Index kb = begin; kb < end; ++kb)
      broadcast_block<T>({g, block_begin(kb, blocks, g.K), block_begin(kb + 1, blocks, g.K), true, rows}, 0, 0, g.N,
                         sums + kb * size);
  });
  for (Index kb = 1; kb < blocks; ++kb) add(size, sums + kb * size, sums);
  apply_epilogue(g, 0, rows, 0, g.N, sums);
}

// tile[r][c] = sum over k of a[r * lda + k] * b[c * ldb + k], in the order of the lanes.
template <class T, int R, int C>
void dot_tile(Index K, const T* a, Index lda, const T* b, Index ldb, T* tile) {
  using V = Vec<T>;
  constexpr int kSums = R * C;
  V acc[kSums];
#pragma GCC unroll 32
  for (int i = 0; i < kSums; ++i) acc[i] = V(T(0));
  for_vectors<T>(K, [&](Index k, auto part) {
    V column[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) column[c] = load(b + c * ldb + k, part);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V row = load(a + r * lda + k, part);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r * C + c] = fma(row, column[c], acc[r * C + c]);
    }
  });
  T sums[round_up(kSums, 4)];
#pragma GCC unroll 8
  for (int i = 0; i < kSums; i += 4) {
    const auto at = [&](int j) { return acc[j < kSums ? j : i]; };
    reduce_add4(at(i), at(i + 1), at(i + 2), at(i + 3), sums + i);
  }
  for (int i = 0; i < kSums; ++i) tile[i / C * Blocking<T>::NR + i % C] = sums[i];
}

template <class T, int C, int R>
struct DotTile {
  using Function = void (*)(Index, const T*, Index, const T*, Index, T*);
  static constexpr Function get() {
    if constexpr (R <= Skinny<T>::dot_rows(C))
      return dot_tile<T, R, C>;
    else
      return nullptr;
  }
};

constexpr Index kDotDepth = 16384;  // terms that the lanes sum up before they are added to what came before

// Rows and columns of the product whose sums run along memory in both factors: A.column == B.row == 1.
template <class T>
void dots_part(const Gemm<T>& g, Index m_begin, Index m_end, Index n_begin, Index n_end) {
  constexpr int NR = Blocking<T>::NR, kRows = Skinny<T>::kDotRows, kColumns = Skinny<T>::kDotColumns;
  using Table = TileTable<T, DotTile, kRows, typename MakeInts<kRows * kColumns>::type>;
  alignas(64) T tile[Skinny<T>::kTile];
  for (Index n0 = n_begin; n0 < n_end; n0 += NR) {
    const int columns = static_cast<int>(smaller(NR, n_end - n0));
    const Index blocks = ceil_div(m_end - m_begin, Skinny<T>::dot_rows(static_cast<int>(smaller(columns, kColumns))));
    for (Index block = 0; block < blocks; ++block) {
      const Index m0 = m_begin + block * (m_end - m_begin) / blocks,
                  m1 = m_begin + (block + 1) * (m_end - m_begin) / blocks;
      const int rows = static_cast<int>(m1 - m0);
      for (int c = 0; c < columns; c += kColumns) {
        const int width = static_cast<int>(smaller(kColumns, columns - c));
        const auto kernel = Table::table[(width - 1) * kRows + rows - 1];
        kernel(smaller(g.K, kDotDepth), g.A.at(m0, 0), g.A.row, g.B.at(0, n0 + c), g.B.column, tile + c);
        for (Index k = kDotDepth; k < g.K; k += kDotDepth) {
          T more[Skinny<T>::kTile];
          kernel(smaller(g.K - k, kDotDepth), g.A.at(m0, k), g.A.row, g.B.at(k, n0 + c), g.B.column, more);
          for (int r = 0; r < rows; ++r)
            for (int i = 0; i < width; ++i) tile[r * NR + c + i] += more[r * NR + i];
        }
      }
      g.epilogue.apply(g.epilogue.context, tile, m0, rows, n0, columns);
    }
  }
}

template <class T>
void dots(const Gemm<T>& g, const Context& context) {
  const Index work = g.M * g.N * g.K;
  if (g.M >= g.N)
    parallel_split(context, g.M, work, 16, [&](Index begin, Index end, int) { dots_part(g, begin, end, 0, g.N); });
  else
    parallel_split(context, g.N, work, 16, [&](Index begin, Index end, int) { dots_part(g, 0, g.M, begin, end); });
}

// Whether packing costs more than it gives: a value of A is packed for N columns of B, one of B for M rows of A. A tile reads
// B from L2 then. Measured in float32 with AVX2 and AVX-512, for 16 to 1024 rows and 17 to 512 columns.
template <class T>
FASTMLP_INLINE bool prefer_unpacked(Index M, Index N, Index K) {
  constexpr Index kPayingReuse = 90;
  return M * N <= kPayingReuse * (M + N) && K * N <= block_sizes<T>().packed_a * 2 / 3;
}

// The product with both matrices where they are; B.column == 1.
template <class T>
void unpacked(const Gemm<T>& g, const Context& context) {
  for_parts(g, context, [&](Index m_begin, Index m_end, Index n_begin, Index n_end, int) {
    broadcast_part(g, m_begin, m_end, n_begin, n_end);
  });
}

// copy[n * K + k] = w[k * ldw + n], k < K, n < N: the transpose of a matrix of few columns.
template <class T>
void transpose_narrow(const T* w, Index ldw, Index K, Index N, T* copy) {
  constexpr Index lanes = Vec<T>::lanes;
  for (Index n0 = 0; n0 < N; n0 += lanes) {
    const Index columns = smaller(lanes, N - n0);
    Index k = 0;
    // A square block may read on into the next rows, and does not pay for few columns.
    if (4 * columns > lanes && lanes > 1) {
      for (; k + lanes < K && (k + lanes - 1) * ldw + n0 + lanes <= K * ldw; k += lanes) {
        T block[lanes * lanes];
        transpose_square<T>(w + k * ldw + n0, ldw, block, lanes);
        for (Index n = 0; n < columns; ++n) Vec<T>::load(block + n * lanes).store(copy + (n0 + n) * K + k);
      }
    }
    for (; k < K; ++k)
      for (Index n = n0; n < n0 + columns; ++n) copy[n * K + k] = w[k * ldw + n];
  }
}

// Short sums. A B that is not row-major has few rows: each thread transposes its columns.
template <class T>
void short_sums(const Gemm<T>& g, const Context& context) {
  const Index work = g.M * g.N * larger(g.K, 8);
  if (g.B.column == 1) {
    parallel_split(context, g.M, work, 16, [&](Index begin, Index end, int) { broadcast_part(g, begin, end, 0, g.N); });
    return;
  }
  parallel_split(context, g.N, work, 64, [&](Index begin, Index end, int worker) {
    Gemm<T> product = g;
    const Index width = end - begin;
    T* copy = reinterpret_cast<T*>(context.scratch + worker * Blocking<T>::kScratchBytes);
    transpose_narrow(g.B.at(0, begin), g.B.column, width, g.K, copy);
    product.B = {copy - begin, width, 1};
    broadcast_part(product, 0, g.M, begin, end);
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
