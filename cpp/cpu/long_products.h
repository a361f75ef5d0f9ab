// dW of very many rows: a product whose sums are so long that blocks of them are added in double (see sums.h).
//
// Each task owns a tile of dW and keeps its sums in L2 while all rows pass, kDepth at a time.
#pragma once

#include "cpu/products.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
struct LongProduct {
  static constexpr Index kShortest = 1 << 15;  // rows
  static constexpr Index kDepth = 512;         // rows that one product takes
  static constexpr Index kRows = Blocking<T>::kLongRows, kColumns = Blocking<T>::kLongColumns;  // of a tile
};

struct LongSums {
  double* values;
  Index k0, n0, columns;  // of the tile's corner, and its width
};

template <class T>
void add_long_sums(const void* context, T* tile, Index k, int rows, Index n, int columns) {
  const auto& sums = *static_cast<const LongSums*>(context);
  for (int r = 0; r < rows; ++r) {
    double* out = sums.values + (k - sums.k0 + r) * sums.columns + n - sums.n0;
    for (int c = 0; c < columns; ++c) out[c] += static_cast<double>(tile[r * Blocking<T>::NR + c]);
  }
}

template <class T>
void long_weight_gradient(const AffineBackwardWeight<T>& a, const Context& context,
                          const Bf16Instructions* bf16 = nullptr) {
  using Long = LongProduct<T>;
  const Index across = ceil_div(a.N, Long::kColumns), down = ceil_div(a.K, Long::kRows);
  parallel_tasks(context, across * down, [&](Index task, int worker) {
    const Index k0 = task / across * Long::kRows, k1 = smaller(a.K, k0 + Long::kRows);
    const Index n0 = task % across * Long::kColumns, n1 = smaller(a.N, n0 + Long::kColumns);
    unsigned char* const scratch = context.scratch + worker * Blocking<T>::kScratchBytes;
    double* const values = reinterpret_cast<double*>(scratch + Blocking<T>::kGemmBytes);
    const LongSums sums{values, k0, n0, n1 - n0};
    for (Index i = 0; i < (k1 - k0) * (n1 - n0); ++i) values[i] = 0;
    for (Index m = 0; m < a.M; m += Long::kDepth) {
      Gemm<T> product{
          a.K,     a.N, smaller(Long::kDepth, a.M - m), {a.x + m * a.ldx, 1, a.ldx}, {a.dz + m * a.lddz, a.lddz, 1},
          nullptr, 0,   {add_long_sums<T>, &sums}};
      product.bf16 = bf16;
      multiply_part(product, {k0, k1, n0, n1, 1}, reinterpret_cast<T*>(scratch));
    }
    T row[Long::kColumns];
    for (Index k = k0; k < k1; ++k) {
      for (Index n = n0; n < n1; ++n) row[n - n0] = static_cast<T>(values[(k - k0) * (n1 - n0) + n - n0]);
      sink_tile(a.weight, {k * a.N + n0, 1, n1 - n0, a.N}, row, 0);
    }
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
