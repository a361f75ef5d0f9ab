// The matrix product under all dense layers: C[i][j] = sum_k A(i,k) B(k,j), handed tile by tile to an epilogue.
//
// The loops are those of BLIS (Van Zee and van de Geijn, 2015): blocks of k; blocks of rows, packed; slivers of columns,
// packed just before use; tiles. blocking.h says how large they are and why. The order of a sum depends on K alone, neither
// on the threads nor on M and N: each block of k has a sum of its own, the first one from `start` on, and they are added in
// order. The products of skinny.h that a forward pass uses keep to it, so that a row's result does not depend on the
// other rows of its batch.
#pragma once

#include <type_traits>

#include "cpu/gemm/epilogue.h"
#include "cpu/gemm/threads.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T, class Form = Exact<T>>
struct Gemm {
  Index M, N, K;
  Strided<T> A, B;
  T* partial;  // M x N, rows ld_partial apart: sums between blocks of k; may be null where there is one block
  Index ld_partial;
  Epilogue<T> epilogue;
  Start<T> start = {};
  bool accumulate = false;     // the sums start from what is in `partial`
  bool split_columns = false;  // see choose_grid
};

// Rows of A in tiles of nearly equal height.
struct RowBlock {
  Index begin, rows, tiles;

  FASTMLP_INLINE Index tile(Index t) const { return begin + t * rows / tiles; }
  FASTMLP_INLINE int height(Index t) const { return static_cast<int>(tile(t + 1) - tile(t)); }
};

// K terms of a block of A with those of a sliver of B, which is packed or read where it lies.
template <class T>
struct SliverProduct {
  const RowBlock& block;
  const T* panels;
  Index k0, K, n0;
  int columns, next_columns;  // of this sliver, and of one that is to be packed next
  const T* b;
  Index ldb;
  Start<T> start;
  Partial<T> before;
};

template <class T, class Form>
FASTMLP_NOINLINE void pack_block(const Gemm<T, Form>& g, const RowBlock& block, Index k0, Index K, T* panels) {
  for (Index t = 0; t < block.tiles; ++t) {
    T* const panel = panels + (block.tile(t) - block.begin) * K;
    pack_panel(g.A, block.tile(t), block.height(t), g.M - block.tile(t), k0, K, panel);
    Form::convert(panel, K, block.height(t));
  }
}

template <int NV, class T, class Form, class E>
FASTMLP_NOINLINE void multiply_sliver(const Gemm<T, Form>& g, const SliverProduct<T>& p, E& epilogue) {
  const RowBlock& block = p.block;
  for (Index t = 0; t < block.tiles; ++t) {
    if (p.next_columns > 0) prefetch_sliver(g.B, p.k0, p.K, p.n0 + Blocking<T>::NR, p.next_columns, t, block.tiles);
    const Index i0 = block.tile(t);
    const auto compute = find_microkernel<T, NV, E, typename Form::Multiply>(block.height(t));
    compute(Form::words(p.K), p.panels + (i0 - block.begin) * p.K, p.b, p.ldb, p.start, p.before, epilogue,
            {i0, p.n0, p.columns});
  }
}

// The rows [m_begin, m_end) and columns [n_begin, n_end) of the product, by one thread, in `depth_blocks` blocks of k.
// `whole_tiles` is the epilogue of such, unless it is NoRegisterEpilogue.
template <class T, class Form, class Direct>
void gemm_part(const Gemm<T, Form>& g, const Direct& whole_tiles, Index depth_blocks, Index m_begin, Index m_end,
               Index n_begin, Index n_end, T* scratch) {
  using Block = Blocking<T>;
  constexpr Index MR = Block::MR, NR = Block::NR;
  T* const packed_a = scratch;
  T* const packed_b = packed_a + Block::kMostPackedA + 64;
  T* const tile = packed_b + Block::kPackedB;
  Store<T> store{g.partial, g.ld_partial};
  Buffered<T> buffered{g.epilogue, tile};
  Direct direct = whole_tiles;
  if constexpr (Direct::kDeferred) direct.tile = tile + Block::kTile;

  for (Index kb = 0; kb < depth_blocks; ++kb) {
    const Index k0 = block_begin(kb, depth_blocks, g.K), K = block_begin(kb + 1, depth_blocks, g.K) - k0;
    const bool last = kb == depth_blocks - 1;
    const Start<T> start = kb == 0 ? g.start : Start<T>{};
    const Partial<T> before = kb == 0 && !g.accumulate ? Partial<T>{} : Partial<T>{g.partial, g.ld_partial};
    const Index row_blocks = ceil_div(m_end - m_begin, block_sizes<T>().MC(K));
    for (Index mb = 0; mb < row_blocks; ++mb) {
      const Index begin = m_begin + mb * (m_end - m_begin) / row_blocks;
      const Index rows = m_begin + (mb + 1) * (m_end - m_begin) / row_blocks - begin;
      const RowBlock block{begin, rows, ceil_div(rows, MR)};
      pack_block(g, block, k0, K, packed_a);
      for (Index n0 = n_begin; n0 < n_end; n0 += NR) {
        const int columns = static_cast<int>(smaller(NR, n_end - n0));
        // Few tiles do not pay for packing rows that can be read where they are.
        const bool in_place = Form::kInPlace && g.B.column == 1 && block.tiles <= 2 && columns % Vec<T>::lanes == 0;
        if (!in_place) {
          pack_sliver(g.B, k0, K, n0, columns, packed_b);
          Form::convert(packed_b, K, NR);
        }
        const int next = in_place ? 0 : static_cast<int>(smaller(NR, n_end - n0 - columns));
        const SliverProduct<T> product{
            block, packed_a, k0, K, n0, columns, next, in_place ? g.B.at(k0, n0) : packed_b, in_place ? g.B.row : NR,
            start, before};
        const bool narrow = columns <= Vec<T>::lanes;
        if (!last)
          narrow ? multiply_sliver<1>(g, product, store) : multiply_sliver<2>(g, product, store);
        else if (narrow)
          multiply_sliver<1>(g, product, buffered);
        else if constexpr (std::is_same_v<Direct, NoRegisterEpilogue<T>>)
          multiply_sliver<2>(g, product, buffered);
        else if (columns < NR || rows / block.tiles < Direct::kLeastHeight)
          multiply_sliver<2>(g, product, buffered);
        else
          multiply_sliver<2>(g, product, direct);
      }
    }
  }
  if constexpr (Direct::kDeferred) direct.work_all();
}

// The product on all threads. `whole_tiles`: see gemm_part; `depth_blocks`: how many blocks the sums are formed in.
template <class T, class Form, class Direct = NoRegisterEpilogue<T>>
void gemm(const Gemm<T, Form>& g, const Context& context, Index depth_blocks, const Direct& whole_tiles = {}) {
  using Block = Blocking<T>;
  const Grid grid = choose_grid<T>(g.M, g.N, g.K, g.split_columns, context.executor.workers);
  const Index m_step = round_up(ceil_div(g.M, grid.m), grid.m > 1 ? Block::MR : 1);
  const Index n_step = round_up(ceil_div(g.N, grid.n), Block::NR);
  const Index m_parts = ceil_div(g.M, m_step), n_parts = ceil_div(g.N, n_step);
  parallel_tasks(context, m_parts * n_parts, [&](Index task, int worker) {
    const Index m0 = task / n_parts * m_step, n0 = task % n_parts * n_step;
    T* scratch = reinterpret_cast<T*>(context.scratch + worker * Block::kScratchBytes);
    gemm_part(g, whole_tiles, depth_blocks, m0, smaller(g.M, m0 + m_step), n0, smaller(g.N, n0 + n_step), scratch);
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
