// A group of neighbouring threads shares a row: a few where rows are short or many, up to a whole block where there are few
// and long ones.
#pragma once

#include "core/types.h"
#include "cuda/block/block.h"

namespace fastmlp::cuda {

inline constexpr int kRowThreads =
    512;  // with one block at least, so that the compiler does not spill for a second one
inline constexpr int kMostRowBlocks = 1024;

struct Rows {
  Index rows, columns;
  int log_width;  // 2^log_width threads a row

  FASTMLP_FORMULA int width() const { return 1 << log_width; }
  FASTMLP_FORMULA int of_block() const { return kRowThreads >> log_width; }
};

// Groups that read whole lines of memory and, beyond that, make up about so many threads in all.
inline Rows share_rows(Index rows, Index columns, Index threads) {
  Rows shape{rows, columns, 0};
  while (shape.width() < kWarp && columns > 4 * shape.width()) ++shape.log_width;
  while (shape.width() < kRowThreads && columns > 2 * shape.width() && rows * shape.width() < threads)
    ++shape.log_width;
  return shape;
}

// Threads that keep the device busy.
inline Index many_threads() { return Index{multiprocessors()} * 1024; }

inline int blocks_of(const Rows& shape) {
  const Index blocks = (shape.rows + shape.of_block() - 1) / shape.of_block();
  return static_cast<int>(blocks < 1 ? 1 : blocks < kMostRowBlocks ? blocks : kMostRowBlocks);
}

// body(first row) for the rows that a block works on at a time.
template <class K, class Body>
FASTMLP_DEVICE void for_row_tiles(const Block<K>& block, const Rows& shape, const Body& body) {
  const Index step = Index{block.grid().x} * shape.of_block();
  for (Index first = Index{block.index().x} * shape.of_block(); first < shape.rows; first += step) body(first);
}

// body(offset, column) for a thread's share of its row.
template <class Body>
FASTMLP_DEVICE void for_columns(const Rows& shape, Index first, int thread, const Body& body) {
  const Index row = first + (thread >> shape.log_width);
  if (row >= shape.rows) return;
  for (Index c = thread & (shape.width() - 1); c < shape.columns; c += shape.width()) body(row * shape.columns + c, c);
}

}  // namespace fastmlp::cuda
