// Products of matrices in a block's shared memory. A thread adds up a tile in registers: some rows, and up to kTileColumns columns
// that lie its team's size apart.
#pragma once

#include "cuda/block/real.h"
#include "cuda/block/vectors.h"
#include "cuda/single_block/layout.h"

namespace fastmlp::cuda {

// to(row, c) = sum over t < terms of left(row, t) right(t, c), for columns c < columns; a row is its first value's place.
struct BlockProduct {
  int terms, columns;
  int left_term;                        // from one term to the next
  int right, right_term, right_column;  // the first value, from one term or column to the next
  bool scaled;                          // by what is in the result's place
};

template <int rows>
struct BlockRows {
  int left[rows], to[rows];  // to: negative for none
};

template <int rows, int columns, class T>
FASTMLP_DEVICE void multiply_tile(T* values, const BlockProduct& p, const BlockRows<rows>& row, int first, int next) {
  Real<T> sum[rows][columns];
  int right[columns];
  for (int c = 0; c < columns; ++c) {
    const int column = first + c * next;
    right[c] = p.right + (column < p.columns ? column : p.columns - 1) * p.right_column;
    for (int r = 0; r < rows; ++r) sum[r][c] = T(0);
  }
  FASTMLP_UNROLL_BY(4)
  for (int t = 0; t < p.terms; ++t) {
    Real<T> x[rows], w[columns];
    for (int r = 0; r < rows; ++r) x[r] = values[row.left[r] + t * p.left_term];
    for (int c = 0; c < columns; ++c) w[c] = values[right[c] + t * p.right_term];
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < columns; ++c) sum[r][c] = fma(x[r], w[c], sum[r][c]);
  }
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c)
      if (row.to[r] >= 0 && first + c * next < p.columns) {
        T& to = values[row.to[r] + first + c * next];
        to = (p.scaled ? sum[r][c] * Real<T>(to) : sum[r][c]).value;
      }
}

// The share of lane `lane` of 2^log_lanes.
template <int rows, class T>
FASTMLP_DEVICE void multiply(T* values, const BlockProduct& p, const BlockRows<rows>& row, int lane, int log_lanes) {
  const int next = 1 << log_lanes;
  FASTMLP_UNROLL_BY(1)
  for (int first = 0; first < p.columns; first += kTileColumns * next) {
    switch ((p.columns - first + next - 1) >> log_lanes) {
      case 1:
        multiply_tile<rows, 1>(values, p, row, first + lane, next);
        break;
      case 2:
        multiply_tile<rows, 2>(values, p, row, first + lane, next);
        break;
      default:  // a third kind of tile would be a third more code
        multiply_tile<rows, kTileColumns>(values, p, row, first + lane, next);
    }
  }
}

}  // namespace fastmlp::cuda
