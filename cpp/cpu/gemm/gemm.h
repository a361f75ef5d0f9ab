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
    const Partial<T> before = kb == 0 && !g.accumulate ? Partial<T>{} : Partial<T>{g.partial, g.ld_partial};
    const Index most_rows = block_sizes<T>().MC(K);
    const Index row_blocks = ceil_div(m_end - m_begin, most_rows);
    for (Index mb = 0; mb < row_blocks; ++mb) {
      const Index block = m_begin + mb * (m_end - m_begin) / row_blocks;
      const Index block_rows = m_begin + (mb + 1) * (m_end - m_begin) / row_blocks - block;
      const Index tiles = ceil_div(block_rows, MR);  // of nearly equal height
      const auto tile_begin = [&](Index t) { return block + t * block_rows / tiles; };
      for (Index t = 0; t < tiles; ++t) {
        const Index i0 = tile_begin(t), rows = tile_begin(t + 1) - i0;
        T* const panel = packed_a + (i0 - block) * K;
        pack_panel(g.A, i0, static_cast<int>(rows), g.M - i0, k0, K, panel);
        Form::convert(panel, K, rows);
      }
      for (Index n0 = n_begin; n0 < n_end; n0 += NR) {
        const int columns = static_cast<int>(smaller(NR, n_end - n0));
        // Few tiles do not pay for packing rows that can be read where they are.
        const bool in_place = Form::kInPlace && g.B.column == 1 && tiles <= 2 && columns % Vec<T>::lanes == 0;
        const T* b = in_place ? g.B.at(k0, n0) : packed_b;
        const Index ldb = in_place ? g.B.row : NR;
        if (!in_place) {
          pack_sliver(g.B, k0, K, n0, columns, packed_b);
          Form::convert(packed_b, K, NR);
        }
        const auto run = [&](auto& epilogue, auto vectors) {
          using E = std::remove_cvref_t<decltype(epilogue)>;
          for (Index t = 0; t < tiles; ++t) {
            const Index i0 = tile_begin(t);
            const int rows = static_cast<int>(tile_begin(t + 1) - i0);
            if (!in_place && n0 + NR < n_end)
              prefetch_sliver(g.B, k0, K, n0 + NR, smaller(NR, n_end - n0 - NR), t, tiles);
            const auto compute = find_microkernel<T, decltype(vectors)::value, E, typename Form::Multiply>(rows);
            compute(Form::words(K), packed_a + (i0 - block) * K, b, ldb, kb == 0 ? g.start : Start<T>{}, before,
                    epilogue, {i0, n0, columns});
          }
        };
        using One = std::integral_constant<int, 1>;
        using Two = std::integral_constant<int, 2>;
        const bool narrow = columns <= Vec<T>::lanes;
        if (!last)
          narrow ? run(store, One{}) : run(store, Two{});
        else if (narrow)
          run(buffered, One{});
        else if (columns < NR || std::is_same_v<Direct, NoRegisterEpilogue<T>>)
          run(buffered, Two{});
        else if constexpr (!std::is_same_v<Direct, NoRegisterEpilogue<T>>)
          run(direct, Two{});
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
