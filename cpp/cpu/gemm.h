// The matrix product under all dense layers: C[i][j] = sum_k A(i,k) B(k,j), handed tile by tile to an epilogue.
//
// A and B are strided views with one stride of 1, so that x, x^T, W and W^T need no transposed copies. The loops are
// those of BLIS: blocks of k; blocks of rows, packed; slivers of NR columns of B, packed into L1 just before use;
// tiles of up to MR x NR, whose accumulators stay in registers over the block of k. A tile in its last
// block of k goes to the epilogue while it is in L1. The order of a sum depends on K alone, never on the threads.
#pragma once

#include "cpu/loops.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
struct Blocking {
  static constexpr int kLanes = Vec<T>::lanes;
  static constexpr bool kManyRegisters = kLanes * sizeof(T) == 64;  // AVX-512 has 32
  static constexpr int MR = kManyRegisters ? 12 : 6;
  static constexpr int NV = 2;  // vectors a row of a tile
  static constexpr int NR = NV * kLanes;
  static constexpr int kPanel = kManyRegisters ? 16 : 8;  // rows that a packed panel of A has room for
  static constexpr Index KC = 256;                        // depth of a block of k ...
  static constexpr Index kFullDepth = 512;                // ... but a K up to this stays whole
  static constexpr Index MC = ceil_div(512, MR) * MR;     // rows of a packed block of A
  static constexpr Index kPackedA = ceil_div(MC, MR) * kPanel * kFullDepth;
  static constexpr Index kPackedB = kFullDepth * NR;
  static constexpr Index kTile = MR * NR;
  static constexpr Index kLongRows = 128, kLongColumns = 8 * NR;  // of a tile of double sums, see long_products.h
  static constexpr std::size_t kGemmBytes = (kPackedA + kPackedB + kTile + 64) * sizeof(T);
  static constexpr std::size_t kScratchBytes = kGemmBytes + kLongRows * kLongColumns * sizeof(double);
};

constexpr Index k_blocks(Index K) { return K <= Blocking<float>::kFullDepth ? 1 : ceil_div(K, Blocking<float>::KC); }

template <class T>
struct Strided {
  const T* p;
  Index row, column;
  FASTMLP_INLINE const T* at(Index i, Index j) const { return p + i * row + j * column; }
};

// Receives the finished tile C[m0 .. m0+rows)[n0 .. n0+columns), rows NR apart.
template <class T>
struct Epilogue {
  void (*apply)(const void* context, T* tile, Index m0, int rows, Index n0, int columns);
  const void* context;
  // Called before a tile is computed, to prefetch what `apply` will read; may be null.
  void (*prefetch)(const void* context, Index m0, int rows, Index n0, int columns) = nullptr;
};

enum class CacheLevel { L2 = 2, L1 = 3 };

// Asks for the cache lines of a block of values whose rows are `ld` apart.
template <CacheLevel level, class T>
FASTMLP_INLINE void prefetch_rows(const T* first, Index ld, Index rows, Index columns) {
  constexpr Index kLine = 64 / sizeof(T);
  for (Index r = 0; r < rows; ++r) {
    const T* row = first + r * ld;
    for (Index j = 0; j < columns; j += kLine) __builtin_prefetch(row + j, 0, static_cast<int>(level));
    __builtin_prefetch(row + columns - 1, 0, static_cast<int>(level));
  }
}

template <class T>
struct Gemm {
  Index M, N, K;
  Strided<T> A, B;
  T* partial;  // M x N, rows ld_partial apart: sums between blocks of k; may be null if k_blocks(K) == 1
  Index ld_partial;
  Epilogue<T> epilogue;
  bool accumulate = false;  // the sums start from what is in `partial`
  // Threads split the columns in the same way as in x W, so that each has its part of W in its own cache.
  bool split_columns = false;
};

// tile[r][0 .. NV vectors) = sum over k of a[k][r] * b[k][...]; a is a packed panel, b has rows ldb apart.
template <class T, int MR, int NV>
void microkernel(Index K, const T* a, const T* b, Index ldb, T* tile) {
  using V = Vec<T>;
  constexpr int lanes = V::lanes;
  V acc[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = V(T(0));
  for (Index k = 0; k < K; ++k) {
    V row[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) row[v] = V::load(b + v * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const V scalar(a[r]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = fma(scalar, row[v], acc[r][v]);
    }
    a += Blocking<T>::kPanel;
    b += ldb;
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v].store(tile + r * Blocking<T>::NR + v * lanes);
}

template <class T>
using Microkernel = void (*)(Index, const T*, const T*, Index, T*);

// One instance for each height and width of a tile, so that edge tiles do no extra work.
template <class T, int NV, class Rows>
struct MicrokernelRow;
template <int... R>
struct Ints {};
template <int N, int... R>
struct MakeInts : MakeInts<N - 1, N - 1, R...> {};
template <int... R>
struct MakeInts<0, R...> {
  using type = Ints<R...>;
};
template <class T, int NV, int... R>
struct MicrokernelRow<T, NV, Ints<R...>> {
  static constexpr Microkernel<T> table[] = {microkernel<T, R + 1, NV>...};
};
template <class T>
FASTMLP_INLINE Microkernel<T> find_microkernel(int rows, int vectors) {
  using Rows = typename MakeInts<Blocking<T>::MR>::type;
  static_assert(Blocking<T>::NV == 2);
  return vectors == 1 ? MicrokernelRow<T, 1, Rows>::table[rows - 1] : MicrokernelRow<T, 2, Rows>::table[rows - 1];
}

// panel[k * kPanel + r] = A(i0 + r, k0 + k), r < rows. Rows of A beyond, up to `available`, may be read.
template <class T>
void pack_panel(const Strided<T>& A, Index i0, int rows, Index available, Index k0, Index K, T* panel) {
  constexpr int lanes = Vec<T>::lanes, stride = Blocking<T>::kPanel;
  if (A.row == 1) {
    for (Index k = 0; k < K; ++k) {
      const T* source = A.at(i0, k0 + k);
      T* out = panel + k * stride;
      if (available >= stride) {
        for (int r = 0; r < stride; r += lanes) Vec<T>::load(source + r).store(out + r);
      } else {
        for (int r = 0; r < rows; ++r) out[r] = source[r];
      }
    }
    return;
  }
  Index k = 0;
  if constexpr (lanes > 1) {
    for (; k + lanes <= K; k += lanes) {
      int r = 0;
      for (; r < rows && r + lanes <= available && r + lanes <= stride; r += lanes)
        transpose_square<T>(A.at(i0 + r, k0 + k), A.row, panel + k * stride + r, stride);
      for (; r < rows; ++r) {
        const T* source = A.at(i0 + r, k0 + k);
        for (int j = 0; j < lanes; ++j) panel[(k + j) * stride + r] = source[j];
      }
    }
  }
  for (; k < K; ++k)
    for (int r = 0; r < rows; ++r) panel[k * stride + r] = *A.at(i0 + r, k0 + k);
}

// sliver[k * NR + j] = B(k0 + k, j0 + j), j < columns; zero up to a whole vector.
template <class T>
void pack_sliver(const Strided<T>& B, Index k0, Index K, Index j0, int columns, T* sliver) {
  constexpr int lanes = Vec<T>::lanes, NR = Blocking<T>::NR;
  if (B.column == 1) {
    for (Index k = 0; k < K; ++k) {
      const T* source = B.at(k0 + k, j0);
      for_vectors<T>(columns, [&](Index j, auto part) { load(source + j, part).store(sliver + k * NR + j); });
    }
    return;
  }
  int j = 0;
  for (; j + lanes <= columns; j += lanes) {
    Index k = 0;
    if constexpr (lanes > 1) {
      for (; k + lanes <= K; k += lanes) transpose_square<T>(B.at(k0 + k, j0 + j), B.column, sliver + k * NR + j, NR);
    }
    for (; k < K; ++k)
      for (int i = 0; i < lanes; ++i) sliver[k * NR + j + i] = *B.at(k0 + k, j0 + j + i);
  }
  if (j == columns) return;
  for (Index k = 0; k < K; ++k)
    for (int i = 0; i < lanes; ++i) sliver[k * NR + j + i] = j + i < columns ? *B.at(k0 + k, j0 + j + i) : T(0);
}

// Asks for part `part` of `parts` of a sliver that will be packed soon.
template <class T>
void prefetch_sliver(const Strided<T>& B, Index k0, Index K, Index j0, Index columns, Index part, Index parts) {
  if (B.column == 1) {
    const Index begin = part * K / parts, end = (part + 1) * K / parts;
    prefetch_rows<CacheLevel::L2>(B.at(k0 + begin, j0), B.row, end - begin, columns);
  } else {
    const Index begin = part * columns / parts, end = (part + 1) * columns / parts;
    prefetch_rows<CacheLevel::L2>(B.at(k0, j0 + begin), B.column, end - begin, K);
  }
}

// The rows [m_begin, m_end) and columns [n_begin, n_end) of the product, by one thread.
template <class T>
void gemm_part(const Gemm<T>& g, Index m_begin, Index m_end, Index n_begin, Index n_end, T* scratch) {
  using Block = Blocking<T>;
  constexpr Index MR = Block::MR, NR = Block::NR;
  T* const packed_a = scratch;
  T* const packed_b = packed_a + Block::kPackedA;
  T* const tile = packed_b + Block::kPackedB;

  const Index depth_blocks = k_blocks(g.K);
  for (Index kb = 0; kb < depth_blocks; ++kb) {
    const Index k0 = kb * g.K / depth_blocks, K = (kb + 1) * g.K / depth_blocks - k0;
    const bool first = kb == 0 && !g.accumulate, last = kb == depth_blocks - 1;
    for (Index block = m_begin; block < m_end; block += Block::MC) {
      const Index block_rows = smaller(Block::MC, m_end - block);
      const Index tiles = ceil_div(block_rows, MR);  // of nearly equal height
      for (Index t = 0; t < tiles; ++t) {
        const Index i0 = block + t * block_rows / tiles, i1 = block + (t + 1) * block_rows / tiles;
        pack_panel(g.A, i0, static_cast<int>(i1 - i0), g.M - i0, k0, K, packed_a + t * Block::kPanel * K);
      }
      for (Index n0 = n_begin; n0 < n_end; n0 += NR) {
        const int columns = static_cast<int>(smaller(NR, n_end - n0));
        const int vectors = static_cast<int>(ceil_div(columns, Vec<T>::lanes));
        // Few tiles do not pay for packing rows that can be read where they are.
        const bool in_place = g.B.column == 1 && tiles <= 2 && columns % Vec<T>::lanes == 0;
        const T* b = in_place ? g.B.at(k0, n0) : packed_b;
        const Index ldb = in_place ? g.B.row : NR;
        if (!in_place) pack_sliver(g.B, k0, K, n0, columns, packed_b);
        for (Index t = 0; t < tiles; ++t) {
          const Index i0 = block + t * block_rows / tiles, i1 = block + (t + 1) * block_rows / tiles;
          const int rows = static_cast<int>(i1 - i0);
          if (!in_place && n0 + NR < n_end)
            prefetch_sliver(g.B, k0, K, n0 + NR, smaller(NR, n_end - n0 - NR), t, tiles);
          if (!first) prefetch_rows<CacheLevel::L1>(g.partial + i0 * g.ld_partial + n0, g.ld_partial, rows, columns);
          if (last && g.epilogue.prefetch) g.epilogue.prefetch(g.epilogue.context, i0, rows, n0, columns);
          find_microkernel<T>(rows, vectors)(K, packed_a + t * Block::kPanel * K, b, ldb, tile);
          for (int r = 0; r < rows && !(first && last); ++r) {
            T* sums = g.partial + (i0 + r) * g.ld_partial + n0;
            T* row = tile + r * NR;
            for_vectors<T>(columns, [&](Index j, auto part) {
              Vec<T> v = Vec<T>::load(row + j);
              if (!first) v = load(sums + j, part) + v;
              if (last)
                v.store(row + j);
              else
                store(sums + j, v, part);
            });
          }
          if (last) g.epilogue.apply(g.epilogue.context, tile, i0, rows, n0, columns);
        }
      }
    }
  }
}

// Into how many parts to split M and N among the threads: the split with the least packing done twice.
struct Grid {
  Index m, n;
};
template <class T>
Grid choose_grid(Index M, Index N, Index K, bool split_columns, Index workers) {
  constexpr Index kWorthAThread = 48 * 1024;  // multiply-adds
  const Index useful = smaller(workers, M * N * K / kWorthAThread);
  if (split_columns && N >= 2 * useful * Blocking<T>::NR) return {1, larger(useful, 1)};
  Grid best{1, 1};
  double best_cost = -1;
  for (Index m = 1; m <= useful; ++m) {
    const Index n = useful / m;
    const double tiles = static_cast<double>(ceil_div(ceil_div(M, Blocking<T>::MR), m)) * Blocking<T>::MR *
                         static_cast<double>(ceil_div(ceil_div(N, Blocking<T>::NR), n)) * Blocking<T>::NR;
    const double packing = static_cast<double>(ceil_div(M, m)) + static_cast<double>(ceil_div(N, n));
    const double cost = tiles + packing;  // per unit of K
    if (best_cost < 0 || cost < best_cost) {
      best_cost = cost;
      best = {m, n};
    }
  }
  return best;
}

template <class T>
void gemm(const Gemm<T>& g, const Context& context) {
  using Block = Blocking<T>;
  const Grid grid = choose_grid<T>(g.M, g.N, g.K, g.split_columns, context.executor.workers);
  const Index m_step = round_up(ceil_div(g.M, grid.m), grid.m > 1 ? Block::MR : 1);
  const Index n_step = round_up(ceil_div(g.N, grid.n), Block::NR);
  const Index m_parts = ceil_div(g.M, m_step), n_parts = ceil_div(g.N, n_step);
  parallel_tasks(context, m_parts * n_parts, [&](Index task, int worker) {
    const Index m0 = task / n_parts * m_step, n0 = task % n_parts * n_step;
    T* scratch = reinterpret_cast<T*>(context.scratch + worker * Block::kScratchBytes);
    gemm_part(g, m0, smaller(g.M, m0 + m_step), n0, smaller(g.N, n0 + n_step), scratch);
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
