// db: the column sums of dz, and what becomes of them. A few blocks beside those of dW.
#pragma once

#include "cuda/block/reduce.h"
#include "cuda/block/sink.h"

namespace fastmlp::cuda {

// values[c] becomes the sum of the values c, c + columns, c + 2 columns, ... of `count`, as a tree. Both are powers of 2.
template <class K, class T>
FASTMLP_DEVICE void tree_sums(Block<K>& block, T* values, int columns, int count) {
  for (int half = count / 2; half >= columns; half /= 2)
    block.each([&](int thread, auto&) {
      for (int i = thread; i < half; i += K::kThreads) values[i] += values[i + half];
    });
}

template <class T>
struct ColumnSums {
  int blocks = 0;
  int columns = 1;  // of a block, a power of 2
  Index rows, all_columns, ld;
  const T* values;
  Sink<T> sink;

  static constexpr int kMostColumns = 32;

  explicit ColumnSums(const AffineBackwardWeight<T>& a)
      : rows(a.M), all_columns(a.N), ld(a.lddz), values(a.dz), sink(a.bias, 1) {
    if (!a.bias.wanted()) return;
    while (columns < kMostColumns && columns < a.N) columns *= 2;
    blocks = static_cast<int>((a.N + columns - 1) / columns);
  }

  // In block `block.index().x`.
  template <class K>
  FASTMLP_DEVICE void run(Block<K>& block, const Step& step) const {
    T* const sums = reinterpret_cast<T*>(block.shared());
    const Index first = Index{block.index().x} * columns;
    block.each([&](int thread, auto&) {
      const Index column = first + thread % columns;
      LongSum<T> sum;
      if (column < all_columns) {
        FASTMLP_UNROLL_BY(8)
        for (Index row = thread / columns; row < rows; row += K::kThreads / columns) sum.add(values[row * ld + column]);
      }
      sums[thread] = sum.value();
    });
    tree_sums(block, sums, columns, K::kThreads);
    block.each_alone([&](int thread, auto&) {
      if (thread < columns && first + thread < all_columns)
        sink.take(sink.prepare(step), first + thread, 1, {{sums[thread], T(0), T(0), T(0)}});
    });
  }
};

}  // namespace fastmlp::cuda
