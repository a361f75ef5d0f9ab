// Softmax, log-softmax and class losses of long rows, with columns in SIMD lanes. (rowwise.h has
// short rows, with batch rows in the lanes.)
//
// Work goes in groups of a vector of rows, so that logarithms and quotients of a group are taken at once.
#pragma once

#include "cpu/elementwise.h"
#include "cpu/sums.h"
#include "ops/losses.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Where it takes less time (log-softmax of 1024 rows of 10 on AVX2: 13.1 us across, 14.5 along; of 64: 15.8 and 8.9).
template <class T>
constexpr bool is_long_row(Index columns) {
  return columns >= (Vec<T>::lanes > 8 ? Vec<T>::lanes / 2 : 12);
}

// The sum over a row of term(offset, part), in a fixed order.
template <class T, class Term>
FASTMLP_INLINE T sum_along(Index columns, const Term& term) {
  constexpr Index lanes = Vec<T>::lanes;
  const Index whole = columns / lanes;
  Vec<T> sum = sum_of<T>(whole, [&](Index i) { return term(i * lanes, Full{}); });
  if (const int rest = static_cast<int>(columns - whole * lanes)) {
    const Tail part{rest};
    sum += keep(term(whole * lanes, part), part);
  }
  return reduce_add(sum);
}

template <class T>
FASTMLP_INLINE T largest_along(Index columns, const T* x) {
  using V = Vec<T>;
  V largest(x[0]);
  for_vectors<T>(columns, [&](Index c, auto part) {
    largest = max(largest, select(first_n_mask<T>(lanes_of<T>(part)), load(x + c, part), largest));
  });
  return reduce_max(largest);
}

// Of a group of rows: each row's largest value and the sum of the exponentials of what is less than it.
template <class T>
struct GroupSums {
  T largest[Vec<T>::lanes] = {}, sum[Vec<T>::lanes];

  GroupSums() { Vec<T>(T(1)).store(sum); }

  // Row r of the group; `e`, unless null, receives the exponentials.
  FASTMLP_INLINE void add_row(int r, Index columns, const T* x, T* e) {
    using V = Vec<T>;
    const V m(largest[r] = largest_along(columns, x));
    sum[r] = sum_along<T>(columns, [&](Index c, auto part) {
      const V value = exp(load(x + c, part) - m);
      if (e) store(e + c, value, part);
      return value;
    });
  }
};

// Rows [r, r + n) of at most a vector.
template <class T>
void softmax_long(RowActivationKind kind, Index columns, int n, const T* x, T* y) {
  using V = Vec<T>;
  const bool logarithm = kind == RowActivationKind::LogSoftmax;
  GroupSums<T> sums;
  for (int r = 0; r < n; ++r) sums.add_row(r, columns, x + r * columns, logarithm ? nullptr : y + r * columns);
  T scale[V::lanes];
  (logarithm ? log(V::load(sums.sum)) : T(1) / V::load(sums.sum)).store(scale);
  for (int r = 0; r < n; ++r) {
    const T* const row = x + r * columns;
    T* const out = y + r * columns;
    const V m(sums.largest[r]), s(scale[r]);
    if (logarithm)
      for_vectors<T>(columns, [&](Index c, auto part) { store(out + c, (load(row + c, part) - m) - s, part); });
    else
      for_vectors<T>(columns, [&](Index c, auto part) { store(out + c, load(out + c, part) * s, part); });
  }
}

// Softmax: dx = y (dy - sum(dy y)).  Log-softmax: dx = dy - exp(y) sum(dy).
template <class T>
void softmax_backward_long(RowActivationKind kind, Index columns, int n, const T* dy, const T* y, T* dx) {
  using V = Vec<T>;
  for (int r = 0; r < n; ++r, dy += columns, y += columns, dx += columns) {
    if (kind == RowActivationKind::Softmax) {
      const V sum(sum_along<T>(columns, [&](Index c, auto part) { return load(dy + c, part) * load(y + c, part); }));
      for_vectors<T>(columns,
                     [&](Index c, auto part) { store(dx + c, load(y + c, part) * (load(dy + c, part) - sum), part); });
    } else {
      const V sum(sum_along<T>(columns, [&](Index c, auto part) { return load(dy + c, part); }));
      for_vectors<T>(columns, [&](Index c, auto part) {
        store(dx + c, fnma(exp(load(y + c, part)), sum, load(dy + c, part)), part);
      });
    }
  }
}

// The loss of each of n rows; dy (null: not wanted) receives the gradients times `gradient_scale`. Targets are `classes`
// or `dense`. Cross-entropy sees outputs less the largest of their row, which changes neither and keeps digits.
template <class T, class Loss>
Vec<T> class_loss_long(Index columns, int n, const T* y, const Index* classes, const T* dense, bool logits,
                       T gradient_scale, T* dy) {
  using V = Vec<T>;
  GroupSums<T> sums;
  T dots[V::lanes] = {}, sums_t[V::lanes];
  V(T(1)).store(sums_t);
  for (int r = 0; r < n; ++r) {
    const T* const row = y + r * columns;
    if constexpr (Loss::kNeedsLogSumExp) sums.add_row(r, columns, row, dy ? dy + r * columns : nullptr);
    if (classes) {
      dots[r] = row[classes[r]] - sums.largest[r];
    } else {
      const T* const t = dense + r * columns;
      const V m(sums.largest[r]);
      dots[r] =
          sum_along<T>(columns, [&](Index c, auto part) { return load(t + c, part) * (load(row + c, part) - m); });
      sums_t[r] = sum_along<T>(columns, [&](Index c, auto part) { return load(t + c, part); });
    }
  }
  T inverse[V::lanes];
  (T(1) / V::load(sums.sum)).store(inverse);
  for (int r = 0; dy && r < n; ++r) {
    const T* const row = y + r * columns;
    T* const out = dy + r * columns;
    const V one_over(inverse[r]), sum_t(sums_t[r]), scale(gradient_scale);
    const auto gradient = [&](V value, V e, V target) {
      if constexpr (Loss::kNeedsLogSumExp)
        return Loss::gradient(e * one_over, target, sum_t, V(T(0))) * scale;
      else
        return (logits ? Loss::logit_gradient(value, target, sum_t) : Loss::gradient(V(T(0)), target, sum_t, V(T(0)))) *
               scale;
    };
    if (classes) {
      const Index c = classes[r];
      T of_class[V::lanes];
      gradient(V(row[c]), V(out[c]), V(T(1))).store(of_class);
      for_vectors<T>(columns, [&](Index i, auto part) {
        store(out + i, gradient(load(row + i, part), load(out + i, part), V(T(0))), part);
      });
      out[c] = of_class[0];
    } else {
      const T* const t = dense + r * columns;
      for_vectors<T>(columns, [&](Index i, auto part) {
        store(out + i, gradient(load(row + i, part), load(out + i, part), load(t + i, part)), part);
      });
    }
  }
  return select(first_n_mask<T>(n), Loss::value(V::load(sums_t), V::load(dots), log(V::load(sums.sum))), V(T(0)));
}

template <class T>
using LongClassLoss = Vec<T> (*)(Index, int, const T*, const Index*, const T*, bool, T, T*);
#define FASTMLP_CLASS_LOSS(functor, name) class_loss_long<T, ops::functor>,
template <class T>
constexpr LongClassLoss<T> kLongClassLoss[] = {FASTMLP_CLASS_LOSSES(FASTMLP_CLASS_LOSS)};
#undef FASTMLP_CLASS_LOSS

}  // namespace fastmlp::FASTMLP_ISA_NS
