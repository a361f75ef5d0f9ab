// THE SIZES of a matrix product's blocks, from the vectors' length and the caches.
//
// C = A B is formed in tiles of MR x NR, whose sums stay in registers while k runs. All that a tile reads comes from the
// nearest caches, because the loops around it walk in blocks:
//
//   a sliver of B    KC x NR values, packed: it stays in L1 while every panel of A passes
//   a panel of A     MR x KC values, packed: it streams from L2, once for each sliver
//   a block of A     MC x KC values, the panels of up to MC rows: it stays in L2 while the slivers pass
//
// MR and NR follow from the registers: AVX2 has 16, 12 of them for sums, AVX-512 has 32. A tile has to have enough sums
// to hide the latency of a multiply-add (two a cycle, four cycles: eight sums), and twice as many columns as vectors have
// lanes, so that each broadcast element of A serves two multiply-adds.
//
// KC is as large as L1 lets it be: at its end a tile's sums travel to memory and back. A sliver takes five eighths of L1,
// the rest is for the panel that passes (a quarter of L1, if MR is 6 and NR 16) and the tile's own lines. MC is what three
// quarters of L2 hold; the rest is for what passes through: the next slivers and C.
#pragma once

#include "cpu/loops.h"
#include "cpu/processor.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Whether this is compiled for size: then there are fewer kernels for special shapes.
#ifdef __OPTIMIZE_SIZE__
constexpr bool kSmallCode = true;
#else
constexpr bool kSmallCode = false;
#endif

template <class T>
struct Blocking {
  static constexpr int kLanes = Vec<T>::lanes;
  static constexpr bool kManyRegisters = kLanes * sizeof(T) == 64;  // AVX-512 has 32
  static constexpr int MR = kManyRegisters ? 12 : 6;
  static constexpr int NV = 2;  // vectors a row of a tile
  static constexpr int NR = NV * kLanes;
  static constexpr Index kTile = MR * NR;
  // Of tiles whose epilogues work in registers. Tiles of a block are of nearly equal height, so that only blocks of a few
  // rows have lower ones, whose code would be half as much again.
  static constexpr int kLeastHeight = MR * 3 / 4;

  // Upper bounds, for caches of any size.
  static constexpr Index kMostPackedA = (Index{1} << 20) / sizeof(T);
  static constexpr Index kMostDepth = 1024;  // of a sliver: beyond L1 for dW, see weight_blocks in affine.h
  static constexpr Index kPackedB = kMostDepth * NR;
  static constexpr std::size_t kGemmBytes = (kMostPackedA + kPackedB + 2 * kTile + 128) * sizeof(T);
  static constexpr Index kLongRows = 128, kLongColumns = 8 * NR;  // of a tile of double sums, see long_products.h
  static constexpr std::size_t kScratchBytes = kGemmBytes + kLongRows * kLongColumns * sizeof(double);
};

// Those of this processor.
template <class T>
struct BlockSizes {
  Index KC;        // the most terms of a block of k
  Index packed_a;  // values of a packed block of A
  // Rows of a block of A for so many terms.
  Index MC(Index K) const { return larger(packed_a / K / Blocking<T>::MR, 1) * Blocking<T>::MR; }
};

template <class T>
BlockSizes<T> find_block_sizes() {
  const processor::Caches& caches = processor::caches();
  const Index l1 = caches.l1 / Index{sizeof(T)}, l2 = caches.l2 / Index{sizeof(T)};
  const Index depth = l1 * 5 / 8 / Blocking<T>::NR / 8 * 8;
  return {smaller(larger(depth, 128), Blocking<T>::kMostDepth / 2), smaller(l2 * 3 / 4, Blocking<T>::kMostPackedA)};
}
template <class T>
FASTMLP_INLINE const BlockSizes<T>& block_sizes() {
  static const BlockSizes<T> sizes = find_block_sizes<T>();
  return sizes;
}

// How many blocks of k, of nearly equal size, K terms are summed in: one, or an even number, so that two threads can share
// them where a product has few rows (see skinny.h).
template <class T>
FASTMLP_INLINE Index k_blocks(Index K) {
  const Index most = block_sizes<T>().KC;
  return K <= most ? 1 : round_up(ceil_div(K, most), 2);
}
// The first term of a block.
FASTMLP_INLINE Index block_begin(Index block, Index blocks, Index K) {
  return blocks == 1 ? block * K : block * K / blocks;  // a division takes as long as a small product
}

}  // namespace fastmlp::FASTMLP_ISA_NS
