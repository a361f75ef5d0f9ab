// A block of threads shares a group of neighbouring columns, and goes down their rows.
#pragma once

#include "cuda/affine/column_sums.h"

namespace fastmlp::cuda {

// The columns that a block of kColumnThreads threads works on, and a thread's share of them.
inline constexpr int kColumnThreads = 256;

struct Columns {
  Index rows, columns;
  int width = 1;  // of a block, a power of 2

  Columns(Index rows_, Index columns_) : rows(rows_), columns(columns_) {
    while (width < 32 && width < columns) width *= 2;
  }
  int blocks() const { return static_cast<int>((columns + width - 1) / width); }

  // The thread's column, and whether there is one.
  template <class K>
  FASTMLP_DEVICE Index column(const Block<K>& block, int thread) const {
    return Index{block.index().x} * width + thread % width;
  }
  // body(offset) down the thread's rows.
  template <class Body>
  FASTMLP_DEVICE void down(Index column, int thread, const Body& body) const {
    if (column >= columns) return;
    for (Index row = thread / width; row < rows; row += kColumnThreads / width) body(row * columns + column);
  }
};

// Each thread's `value(thread, registers)`, summed over the threads of its column; all of them find it in sums[thread %
// width] afterwards, until the next barrier.
template <class T, class K, class Value>
FASTMLP_DEVICE void sum_columns(Block<K>& block, const Columns& shape, T* sums, const Value& value) {
  block.each([&](int thread, typename K::Registers& own) { sums[thread] = value(thread, own); });
  tree_sums(block, sums, shape.width, kColumnThreads);
}

template <class T>
inline constexpr std::size_t kSumBytes = kColumnThreads * sizeof(T);

// One value of a gradient.
template <class T>
FASTMLP_DEVICE void take(const Sink<T>& sink, const Step& step, Index at, T gradient) {
  if (sink.updates || sink.grad) sink.take(sink.prepare(step), at, 1, {{gradient, T(0), T(0), T(0)}});
}

}  // namespace fastmlp::cuda
