// SUMS OVER MANY VALUES: the one place that says how they are formed.
//
// Terms are added in order in blocks of kSumBlock, and blocks by TwoSum (Knuth, 1969), which keeps what each addition
// rounds off. So the error does not grow with the number of terms beyond that of one block, in every lane and dtype.
// Sums of a scalar result over whole arrays (losses, norms) add their blocks in double instead.
#pragma once

#include "cpu/loops.h"

namespace fastmlp::FASTMLP_ISA_NS {

constexpr Index kSumBlock = 64;

// A sum of the sums of blocks.
template <class T>
class BlockSum {
 public:
  FASTMLP_INLINE void add(Vec<T> term) {
    const Vec<T> sum = sum_ + term, part = sum - sum_;
    lost_ += (sum_ - (sum - part)) + (term - part);
    sum_ = sum;
  }
  // The rounded-off parts are NaN where a term is infinite.
  FASTMLP_INLINE Vec<T> value() const {
    const Vec<T> sum = sum_ + lost_;
    return select(lost_ == lost_, sum, sum_);
  }

 private:
  Vec<T> sum_{T(0)}, lost_{T(0)};
};

// The sum of term(i) for i < n, lane by lane.
template <class T, class Term>
FASTMLP_INLINE Vec<T> sum_of(Index n, const Term& term) {
  const auto block = [&](Index begin, Index end) {
    Vec<T> sum(T(0));
    for (Index i = begin; i < end; ++i) sum += term(i);
    return sum;
  };
  if (n <= kSumBlock) return block(0, n);
  BlockSum<T> sum;
  for (Index begin = 0; begin < n; begin += kSumBlock) sum.add(block(begin, smaller(n, begin + kSumBlock)));
  return sum.value();
}

// The sum over a row of term(column, part), in the vectors of the row.
template <class T, class Term>
FASTMLP_INLINE T row_sum(Index columns, const Term& term) {
  constexpr Index kBlock = kSumBlock * Vec<T>::lanes;
  BlockSum<T> total;
  for (Index begin = 0; begin < columns; begin += kBlock) {
    Vec<T> block(T(0));
    for_vectors<T>(smaller(kBlock, columns - begin),
                   [&](Index i, auto part) { block += keep(term(begin + i, part), part); });
    total.add(block);
  }
  return reduce_add(total.value());
}

}  // namespace fastmlp::FASTMLP_ISA_NS
