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

namespace fastmlp::FASTMLP_ISA_NS {

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

template <class Form, class T>
FASTMLP_NOINLINE void pack_block(const Gemm<T>& g, const RowBlock& block, Index k0, Index K, T* panels) {
  for (Index t = 0; t < block.tiles; ++t) {
    T* const panel = panels + (block.tile(t) - block.begin) * K;
    pack_panel(g.A, block.tile(t), block.height(t), g.M - block.tile(t), k0, K, panel);
    Form::convert(g, panel, K, block.height(t));
  }
}

template <class Form, int NV, class T, class E>
FASTMLP_NOINLINE void multiply_sliver(const Gemm<T>& g, const SliverProduct<T>& p, E& epilogue) {
  const RowBlock& block = p.block;
  for (Index t = 0; t < block.tiles; ++t) {
    if (p.next_columns > 0) prefetch_sliver(g.B, p.k0, p.K, p.n0 + Blocking<T>::NR, p.next_columns, t, block.tiles);
    const Index i0 = block.tile(t);
    const auto compute = find_microkernel<T, NV, E, typename Form::Multiply>(block.height(t));
    compute(Form::words(p.K), p.panels + (i0 - block.begin) * p.K, p.b, p.ldb, p.start, p.before, epilogue,
            {i0, p.n0, p.columns});
  }
}

// A part of the product, by one thread. `whole_tiles` is the epilogue of such, unless it is NoRegisterEpilogue.
template <class Form, class T, class Direct>
void gemm_part(const Gemm<T>& g, const Direct& whole_tiles, const Part& part, T* scratch) {
  using Block = Blocking<T>;
  constexpr Index MR = Block::MR, NR = Block::NR;
  T* const packed_a = scratch;
  T* const packed_b = packed_a + Block::kMostPackedA + 64;
  T* const tile = packed_b + Block::kPackedB;
  Store<T> store{g.partial, g.ld_partial};
  Buffered<T> finish{g.epilogue, tile}, store_part{{store_tile<T>, &store}, tile};
  Direct direct = whole_tiles;
  if constexpr (Direct::kDeferred) direct.tile = tile + Block::kTile;

  const Index depth_blocks = part.depth_blocks, height = part.m_end - part.m_begin;
  for (Index kb = 0; kb < depth_blocks; ++kb) {
    const Index k0 = block_begin(kb, depth_blocks, g.K), K = block_begin(kb + 1, depth_blocks, g.K) - k0;
    const bool last = kb == depth_blocks - 1;
    const Start<T> start = kb == 0 ? g.start : Start<T>{};
    const Partial<T> before = kb == 0 && !g.accumulate ? Partial<T>{} : Partial<T>{g.partial, g.ld_partial};
    const Index row_blocks = ceil_div(height, block_sizes<T>().MC(K));
    for (Index mb = 0; mb < row_blocks; ++mb) {
      const Index begin = part.m_begin + mb * height / row_blocks;
      const Index rows = part.m_begin + (mb + 1) * height / row_blocks - begin;
      const RowBlock block{begin, rows, ceil_div(rows, MR)};
      pack_block<Form>(g, block, k0, K, packed_a);
      for (Index n0 = part.n_begin; n0 < part.n_end; n0 += NR) {
        const int columns = static_cast<int>(smaller(NR, part.n_end - n0));
        SliverProduct<T> product{block, packed_a, k0, K, n0, columns, 0, packed_b, NR, start, before};
        if (g.slivers) {
          product.b = g.slivers + n0 * g.K + k0 * NR;
        } else if (Form::in_place(g) && g.B.column == 1 && block.tiles <= 2 && columns % Vec<T>::lanes == 0) {
          // Few tiles do not pay for packing rows that can be read where they are.
          product.b = g.B.at(k0, n0);
          product.ldb = g.B.row;
        } else {
          pack_sliver(g.B, k0, K, n0, columns, packed_b);
          Form::convert(g, packed_b, K, NR);
          product.next_columns = static_cast<int>(smaller(NR, part.n_end - n0 - columns));
        }
        Buffered<T>& buffered = last ? finish : store_part;
        if (columns <= Vec<T>::lanes) {
          multiply_sliver<Form, 1>(g, product, buffered);
          continue;
        }
        const Index lowest = rows / block.tiles;  // tile's height
        if (columns == NR && !last && lowest >= Store<T>::kLeastHeight) {
          multiply_sliver<Form, 2>(g, product, store);
          continue;
        }
        if constexpr (!std::is_same_v<Direct, NoRegisterEpilogue<T>>) {
          if (columns == NR && last && lowest >= Direct::kLeastHeight) {
            multiply_sliver<Form, 2>(g, product, direct);
            continue;
          }
        }
        multiply_sliver<Form, 2>(g, product, buffered);
      }
    }
  }
  if constexpr (Direct::kDeferred) direct.work_all();
}

}  // namespace fastmlp::FASTMLP_ISA_NS
