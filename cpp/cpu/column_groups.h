// Work on columns over all rows: groups of a few vectors of columns, each by one thread, so that neither the groups nor
// the order of a sum depend on the number of threads.
#pragma once

#include "cpu/elementwise.h"
#include "cpu/sums.h"

namespace fastmlp::FASTMLP_ISA_NS {

// `vectors` vectors of columns from number `first` on; the last may be a part of one.
template <class T, int vectors, class Part>
struct ColumnGroup {
  static constexpr int kVectors = vectors;
  using V = Vec<T>;

  Index first, columns;
  Part part;

  FASTMLP_INLINE Index at(int i) const { return first + i * V::lanes; }
  FASTMLP_INLINE Index at(Index row, int i) const { return row * columns + at(i); }
  // Of a row of `columns` values, or of a matrix with such rows.
  FASTMLP_INLINE V get(const T* p, int i) const { return load(p + at(i), part); }
  FASTMLP_INLINE V get(const T* p, Index row, int i) const { return load(p + at(row, i), part); }
  FASTMLP_INLINE void set(T* p, int i, V v) const { store(p + at(i), v, part); }
  FASTMLP_INLINE void set(T* p, Index row, int i, V v) const { store(p + at(row, i), v, part); }
  // One for all columns, where p is null.
  FASTMLP_INLINE V get_or(const T* p, int i, T otherwise) const { return p ? get(p, i) : V(otherwise); }

  void sink(const GradientSink<T>& to, int i, V gradient) const {
    if (!to.wanted()) return;
    T values[V::lanes];
    gradient.store(values);
    sink_gradient(to, at(i), lanes_of<T>(part), values);
  }
};

// body(group) for all columns.
template <class T, class Body>
void for_column_groups(const Context& context, Index rows, Index columns, const Body& body) {
  constexpr int kVectors = 4;
  constexpr Index lanes = Vec<T>::lanes, width = kVectors * lanes;
  const auto run = [&](Index number, int = 0) {
    Index c = number * width;
    const Index end = smaller(columns, c + width);
    if (c + width <= end) return body(ColumnGroup<T, kVectors, Full>{c, columns, {}});
    for (; c + lanes <= end; c += lanes) body(ColumnGroup<T, 1, Full>{c, columns, {}});
    if (c < end) body(ColumnGroup<T, 1, Tail>{c, columns, {static_cast<int>(end - c)}});
  };
  const Index groups = ceil_div(columns, width);
  if (rows * columns >= 2 * kPiece) return parallel_tasks(context, groups, run);
  for (Index number = 0; number < groups; ++number) run(number);
}

// sums[i] = the sum over all rows of term(row, i).
template <int count, class T, class Term>
FASTMLP_INLINE void sum_rows(Index rows, const Term& term, Vec<T> (&sums)[count]) {
  BlockSum<T> total[count];
  for (Index begin = 0; begin < rows; begin += kSumBlock) {
    Vec<T> block[count];
    FASTMLP_UNROLL
    for (int i = 0; i < count; ++i) block[i] = Vec<T>(T(0));
    const Index end = smaller(rows, begin + kSumBlock);
    for (Index row = begin; row < end; ++row) {
      FASTMLP_UNROLL
      for (int i = 0; i < count; ++i) block[i] += term(row, i);
    }
    FASTMLP_UNROLL
    for (int i = 0; i < count; ++i) total[i].add(block[i]);
  }
  FASTMLP_UNROLL
  for (int i = 0; i < count; ++i) sums[i] = total[i].value();
}

}  // namespace fastmlp::FASTMLP_ISA_NS
