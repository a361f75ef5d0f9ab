// What softmax and the losses form of a row.
#pragma once

#include <cmath>

#include "cuda/block/by_kind.h"
#include "cuda/block/reduce.h"
#include "cuda/pointwise/row_groups.h"

namespace fastmlp::cuda {

// The largest value of each row into `largest` of its threads, and the sum of exp(x - largest) into `sum`.
template <class T, class K>
FASTMLP_DEVICE void sum_exponentials(Block<K>& block, const Rows& shape, Index first, const T* x) {
  using Registers = typename K::Registers;
  block.each_alone([&](int thread, Registers& own) {
    Real<T> largest = -INFINITY;
    for_columns(shape, first, thread, [&](Index at, Index) { largest = max(largest, Real<T>(x[at])); });
    own.largest = largest.value;
  });
  combine<Largest, &Registers::largest>(block, shape.width());
  block.each_alone([&](int thread, Registers& own) {
    LongSum<T> sum;
    for_columns(shape, first, thread,
                [&](Index at, Index) { sum.add(exp(Real<T>(x[at]) - Real<T>(own.largest)).value); });
    own.sum = sum.value();
  });
  combine<Sum, &Registers::sum>(block, shape.width());
}

// Softmax's or log-softmax's value for x, from the largest of its row and the logarithm of that sum.
template <class T>
FASTMLP_DEVICE Real<T> row_output(RowActivationKind kind, Real<T> x, Real<T> largest, Real<T> log_sum) {
  const Real<T> log_p = (x - largest) - log_sum;
  return kind == RowActivationKind::LogSoftmax ? log_p : exp(log_p);
}

}  // namespace fastmlp::cuda
