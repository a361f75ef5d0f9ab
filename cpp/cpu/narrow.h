// Layers of many rows and few outputs, where whole vectors of outputs would be wasted: batch rows are in the lanes of x W,
// features in those of dW, and outputs are a tile's rows. The sums of x W are those of gemm, bit for bit.
#pragma once

#include "cpu/elementwise.h"
#include "cpu/gemm/gemm.h"
#include "cpu/skinny.h"

namespace fastmlp::FASTMLP_ISA_NS {

constexpr Index kMostNarrow = 31;  // outputs

// Whether batch rows in the lanes, whose outputs are turned at the end, cost less than padding so few outputs to whole
// vectors. They reach about 0.8 of what whole vectors do with AVX2, 0.65 with AVX-512 (measured for 6 to 20 outputs of 64
// and of 512 features and more).
template <class T>
FASTMLP_INLINE bool prefer_narrow(Index outputs, Index depth) {
  constexpr Index kTwentieths = Blocking<T>::kManyRegisters ? 13 : 16;
  return outputs <= kMostNarrow && outputs * 20 < round_up(outputs, Vec<T>::lanes) * kTwentieths &&
         outputs * depth <= Skinny<T>::kCopy;
}

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

// Whether dW is formed as its transpose: for enough rows of the batch, and columns that do not fill tiles, which with AVX2
// have to be two vectors wide for enough sums.
template <class T>
FASTMLP_INLINE bool prefer_narrow_gradient(Index M, Index N) {
  constexpr Index kFull = Blocking<T>::kManyRegisters ? Vec<T>::lanes : Blocking<T>::NR;
  return !kSmallCode && M > 4 && N <= kMostNarrow && N % kFull != 0;
}

// dW for few columns: NR rows of it at a time, which are turned when their sums are there.
template <class T>
void narrow_weight_gradient(const AffineBackwardWeight<T>& a, const Context& context) {
  constexpr Index NR = Blocking<T>::NR;
  const Gemm<T> turned{a.N, a.K, a.M, {a.dz, 1, a.lddz}, {a.x, a.ldx, 1}, nullptr, 0, {}};
  const RowBlock outputs{0, a.N, ceil_div(a.N, Index{Skinny<T>::kMostRows})};
  const Index blocks = k_blocks<T>(a.M);
  parallel_split(context, a.K, a.M * a.N * a.K, NR, [&](Index begin, Index end, int) {
    alignas(64) T tile[Skinny<T>::kMostRows * NR], rows[NR * kMostNarrow];
    for (Index k0 = begin; k0 < end; k0 += NR) {
      const Index count = smaller(NR, end - k0);
      for (Index t = 0; t < outputs.tiles; ++t) {
        const Index n0 = outputs.tile(t);
        const int height = outputs.height(t);
        for (Index b = 0; b < blocks; ++b)
          broadcast_block<T>({turned, block_begin(b, blocks, a.M), block_begin(b + 1, blocks, a.M), b == 0, height}, n0,
                             k0, count, tile);
        for (Index k = 0; k < count; ++k)
          for (int n = 0; n < height; ++n) rows[k * a.N + n0 + n] = tile[n * NR + k];
      }
      sink_gradient(a.weight, k0 * a.N, count * a.N, rows);
    }
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
