// x W of many rows and few outputs, where whole vectors of outputs would be wasted: batch rows are in the lanes instead, and
// outputs are a tile's rows. The sums are those of gemm, bit for bit.
#pragma once

#include "cpu/elementwise.h"
#include "cpu/gemm/gemm.h"
#include "cpu/skinny.h"

namespace fastmlp::FASTMLP_ISA_NS {

constexpr Index kMostNarrow = 16;  // outputs

// Activates and stores a tile of pre-activations that has an output in each row, NR apart, and batch rows from m0 on in its columns.
template <class T>
void activate_and_transpose(const AffineForward<T>& a, T* sums, Index m0, int columns) {
  constexpr int NR = Blocking<T>::NR;
  const auto store = [&](T* out) {
    for (int m = 0; m < columns; ++m)
      for (Index n = 0; n < a.N; ++n) out[(m0 + m) * a.ldy + n] = sums[n * NR + m];
  };
  if (a.z) store(a.z);
  if (a.activation.kind != ActivationKind::Identity)
    kActivationForward<T>[static_cast<int>(a.activation.kind)](a.activation, a.N* NR, sums, sums);
  store(a.y);
}

// The rows [m_begin, m_end).
template <class T>
void narrow_outputs_part(const AffineForward<T>& a, Index m_begin, Index m_end, T* scratch) {
  using Block = Blocking<T>;
  T* const panels = scratch;
  T* const sliver = panels + Block::kMostPackedA + 64;
  alignas(64) T sums[Block::NR * kMostNarrow] = {};
  const Strided<T> w{a.weight, 1, a.N}, x{a.x, 1, a.ldx};
  const Index blocks = k_blocks<T>(a.K), tiles = ceil_div(a.N, Index{Block::MR});
  // body(first term, terms, first output, outputs, panel) for each tile of a block of terms.
  const auto for_tiles = [&](Index kb, const auto& body) {
    const Index k0 = block_begin(kb, blocks, a.K), K = block_begin(kb + 1, blocks, a.K) - k0;
    for (Index t = 0; t < tiles; ++t) {
      const Index n0 = t * a.N / tiles;
      body(k0, K, n0, static_cast<int>((t + 1) * a.N / tiles - n0), panels + k0 * a.N + n0 * K);
    }
  };
  for (Index kb = 0; kb < blocks; ++kb)
    for_tiles(kb, [&](Index k0, Index K, Index n0, int outputs, T* panel) {
      pack_panel(w, n0, outputs, a.N - n0, k0, K, panel);
    });
  const Epilogue<T> none{[](const void*, T*, Index, int, Index, int) {}, nullptr};
  for (Index m0 = m_begin; m0 < m_end; m0 += Block::NR) {
    const int columns = static_cast<int>(smaller(Block::NR, m_end - m0));
    for (Index kb = 0; kb < blocks; ++kb) {
      const Start<T> start = kb == 0 ? Start<T>{a.bias, true} : Start<T>{};
      const Partial<T> before = kb == 0 ? Partial<T>{} : Partial<T>{sums, Block::NR};
      for_tiles(kb, [&](Index k0, Index K, Index n0, int outputs, const T* panel) {
        if (n0 == 0) pack_sliver(x, k0, K, m0, columns, sliver);
        Buffered<T> in_place{none, sums + n0 * Block::NR};
        const auto multiply = columns <= Vec<T>::lanes ? find_microkernel<T, 1, Buffered<T>>(outputs)
                                                       : find_microkernel<T, 2, Buffered<T>>(outputs);
        multiply(K, panel, sliver, Block::NR, start, before, in_place, {n0, 0, columns});
      });
    }
    activate_and_transpose(a, sums, m0, columns);
  }
}

template <class T>
void narrow_outputs(const AffineForward<T>& a, const Context& context) {
  parallel_split(context, a.M, a.M * a.N * a.K, Blocking<T>::NR, [&](Index begin, Index end, int worker) {
    narrow_outputs_part(a, begin, end, reinterpret_cast<T*>(context.scratch + worker * Blocking<T>::kScratchBytes));
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
