// Copies of parts of A and B in the order in which a tile reads them.
#pragma once

#include "cpu/gemm/blocking.h"
#include "cpu/gemm/product.h"

namespace fastmlp::FASTMLP_ISA_NS {

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

// panel[k * rows + r] = A(i0 + r, k0 + k). Whole vectors are stored, one over the last one's end, and beyond the panel's:
// there must be room for a vector. `available` rows may be read.
template <class T>
void pack_panel(const Strided<T>& A, Index i0, int rows, Index available, Index k0, Index K, T* panel) {
  constexpr int lanes = Vec<T>::lanes;
  if (A.row == 1) {
    for (Index k = 0; k < K; ++k) {
      const T* source = A.at(i0, k0 + k);
      T* out = panel + k * rows;
      for (int r = 0; r < rows; r += lanes) {
        const Index left = available - r;
        (left >= lanes ? Vec<T>::load(source + r) : Vec<T>::load_n(source + r, static_cast<int>(left))).store(out + r);
      }
    }
    return;
  }
  Index k = 0;
  if constexpr (lanes > 1) {
    for (; k + lanes <= K; k += lanes) {
      T* out = panel + k * rows;
      // From the last rows to the first: a square's columns are whole vectors, in ascending order, and what they write
      // beyond the panel's rows is written over by those of the first rows.
      for (int r = (rows - 1) / lanes * lanes; r >= 0; r -= lanes) {
        if (r + lanes <= available) {
          transpose_square<T>(A.at(i0 + r, k0 + k), A.row, out + r, rows);
          continue;
        }
        for (int i = r; i < rows; ++i) {
          const T* source = A.at(i0 + i, k0 + k);
          for (int j = 0; j < lanes; ++j) out[j * rows + i] = source[j];
        }
      }
    }
  }
  for (; k < K; ++k)
    for (int r = 0; r < rows; ++r) panel[k * rows + r] = *A.at(i0 + r, k0 + k);
}

// sliver[k * NR + j] = B(k0 + k, j0 + j), j < columns; zero up to a whole vector.
template <class T>
void pack_sliver(const Strided<T>& B, Index k0, Index K, Index j0, int columns, T* sliver) {
  constexpr int lanes = Vec<T>::lanes, NR = Blocking<T>::NR;
  if (B.column == 1) {
    if (columns == NR) {
      const T* source = B.at(k0, j0);
      for (Index k = 0; k < K; ++k, source += B.row) {
        FASTMLP_UNROLL
        for (int v = 0; v < Blocking<T>::NV; ++v) Vec<T>::load(source + v * lanes).store(sliver + k * NR + v * lanes);
      }
      return;
    }
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

// A weight that is packed once, for many products: its slivers, of all K terms, one after the other. One that stays in L2
// is read about as fast where it lies, and so is one whose rows are hardly longer than a strip.
template <class T>
Index packed_weight_size(Index K, Index N) {
  const bool gains = N >= 8 * Vec<T>::lanes && 2 * K * N * Index{sizeof(T)} > processor::caches().l2;
  return gains ? K * round_up(N, Blocking<T>::NR) : 0;
}
template <class T>
void pack_weight(Index K, Index N, const T* weight, T* packed, const Context& context) {
  constexpr Index NR = Blocking<T>::NR;
  parallel_tasks(context, ceil_div(N, NR), [&](Index sliver, int) {
    const Index n0 = sliver * NR;
    pack_sliver<T>({weight, N, 1}, 0, K, n0, static_cast<int>(smaller(NR, N - n0)), packed + n0 * K);
  });
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

}  // namespace fastmlp::FASTMLP_ISA_NS
