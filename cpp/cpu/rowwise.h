// Work on whole rows of outputs: softmax and log-softmax. Short rows lie across SIMD lanes here; long_rows.h has long ones.
//
// A RowGroup names up to `lanes` rows of a matrix, row-major or feature-major, so that both strategies share the code of
// losses.h.
#pragma once

#include <type_traits>

#include "cpu/long_rows.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
FASTMLP_NOINLINE Vec<T> load_rows(const T* p, Index row, int n) {
  return Vec<T>::load_strided(p, row, n);
}

// Element (row r, column c) is p[r * row + c * column]; n rows exist. `whole` groups are feature-major, and have room
// for whole vectors of rows, of which get and set reach the first.
template <class T, bool whole>
struct RowGroup {
  T* p;
  Index row, column;
  int n;

  // A vector of its rows, from number r on.
  FASTMLP_INLINE RowGroup from(int r) const {
    const int left = n - r, lanes = Vec<std::remove_const_t<T>>::lanes;
    return {p ? p + r * row : nullptr, row, column, left < lanes ? left : lanes};
  }

  FASTMLP_INLINE auto get(Index c) const {
    using V = Vec<std::remove_const_t<T>>;
    if constexpr (whole)
      return V::load(p + c * column);
    else
      return load_rows(p + c * column, row, n);
  }
  FASTMLP_INLINE void set(Index c, Vec<T> v) const {
    if constexpr (whole) {
      v.store(p + c * column);
      return;
    }
    T values[Vec<T>::lanes];
    v.store(values);
    for (int r = 0; r < n; ++r) p[c * column + r * row] = values[r];
  }
};

template <class T>
struct RowSums {
  Vec<T> largest, log_sum;  // max y, and log sum exp(y - max y)
};

template <class T, class Group>
RowSums<T> log_sum_exp(const Group& y, Index columns) {
  using V = Vec<T>;
  V largest = y.get(0);
  for (Index c = 1; c < columns; ++c) largest = max(largest, y.get(c));
  return {largest, log(sum_of<T>(columns, [&](Index c) { return exp(y.get(c) - largest); }))};
}

template <class T>
void softmax_group(RowActivationKind kind, Index columns, const RowGroup<const T, false>& x,
                   const RowGroup<T, false>& y) {
  const RowSums<T> sums = log_sum_exp<T>(x, columns);
  for (Index c = 0; c < columns; ++c) {
    const Vec<T> log_p = (x.get(c) - sums.largest) - sums.log_sum;
    y.set(c, kind == RowActivationKind::LogSoftmax ? log_p : exp(log_p));
  }
}

// Softmax: dx = y (dy - sum(dy y)).  Log-softmax: dx = dy - exp(y) sum(dy).
template <class T>
void softmax_backward_group(RowActivationKind kind, Index columns, const RowGroup<const T, false>& dy,
                            const RowGroup<const T, false>& y, const RowGroup<T, false>& dx) {
  if (kind == RowActivationKind::Softmax) {
    const Vec<T> sum = sum_of<T>(columns, [&](Index c) { return dy.get(c) * y.get(c); });
    for (Index c = 0; c < columns; ++c) dx.set(c, y.get(c) * (dy.get(c) - sum));
  } else {
    const Vec<T> sum = sum_of<T>(columns, [&](Index c) { return dy.get(c); });
    for (Index c = 0; c < columns; ++c) dx.set(c, fnma(exp(y.get(c)), sum, dy.get(c)));
  }
}

// body(first row, rows) for groups of up to a vector of rows, in parallel.
template <class T, class Body>
void for_row_groups(const Context& context, Index rows, Index columns, const Body& body) {
  constexpr Index lanes = Vec<T>::lanes;
  const Index groups = ceil_div(rows, lanes);
  parallel_ranges(context, groups, larger(16, kPiece / (4 * columns * lanes)), [&](Index begin, Index end) {
    for (Index g = begin; g < end; ++g) body(g * lanes, static_cast<int>(smaller(lanes, rows - g * lanes)));
  });
}

template <class T>
void row_forward(RowActivationKind kind, Index rows, Index columns, const T* x, T* y, const Context& context) {
  for_row_groups<T>(context, rows, columns, [&](Index r, int n) {
    if (is_long_row<T>(columns)) return softmax_long<T>(kind, columns, n, x + r * columns, y + r * columns);
    softmax_group<T>(kind, columns, {x + r * columns, columns, 1, n}, {y + r * columns, columns, 1, n});
  });
}

template <class T>
void row_backward(RowActivationKind kind, Index rows, Index columns, const T* dy, const T* y, T* dx,
                  const Context& context) {
  for_row_groups<T>(context, rows, columns, [&](Index r, int n) {
    const Index at = r * columns;
    if (is_long_row<T>(columns)) return softmax_backward_long<T>(kind, columns, n, dy + at, y + at, dx + at);
    softmax_backward_group<T>(kind, columns, {dy + at, columns, 1, n}, {y + at, columns, 1, n},
                              {dx + at, columns, 1, n});
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
