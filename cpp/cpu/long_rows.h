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

// What class losses of all rows of a batch have in common.
template <class T>
struct ClassLossOptions {
  const T* column_weights;  // of each class, or null
  T kept, rest;             // see ops::LabelSmoothing
  bool logits;
  T gradient_scale;

  ClassLossOptions(const LossSpec& spec, const Targets<T>& targets, Index columns, bool logits_, T gradient_scale_)
      : column_weights(targets.column_weights), logits(logits_), gradient_scale(gradient_scale_) {
    const ops::LabelSmoothing smoothing(spec.label_smoothing, static_cast<double>(columns));
    kept = static_cast<T>(smoothing.kept);
    rest = static_cast<T>(smoothing.rest);
  }

  // Whether a class index is a target for its class alone.
  bool is_sharp() const { return rest == T(0); }
  T weight_of(Index c) const { return column_weights ? column_weights[c] : T(1); }
};

// Targets of a long row: t is `spread` everywhere, and where the target is a class index, `own` more at that class.
template <class T>
struct LongTargets {
  const ClassLossOptions<T>& options;
  const T* dense;  // null: a class index
  Index target;

  template <class Part>
  FASTMLP_INLINE Vec<T> spread(Index c, Part part) const {
    const Vec<T> rest(options.rest);
    const Vec<T> t = dense ? fma(load(dense + c, part), Vec<T>(options.kept), rest) : rest;
    return options.column_weights ? t * load(options.column_weights + c, part) : t;
  }
  T own() const { return dense ? T(0) : options.kept * options.weight_of(target); }
  T at_class() const { return own() + options.rest * options.weight_of(target); }
};

// The loss of each of n rows; dy (null: not wanted) receives the gradients times the options' scale. Targets are
// `classes` or `dense`; `weights` may be null. Cross-entropy sees outputs less the largest of their row, which changes
// neither and keeps digits.
template <class T, class Loss>
Vec<T> class_loss_long(Index columns, int n, const T* y, const Index* classes, const T* dense, const T* weights,
                       const ClassLossOptions<T>& options, T* dy) {
  using V = Vec<T>;
  GroupSums<T> sums;
  T dots[V::lanes] = {}, sums_t[V::lanes] = {};
  const auto targets = [&](int r) {
    return LongTargets<T>{options, classes ? nullptr : dense + r * columns, classes ? classes[r] : 0};
  };
  for (int r = 0; r < n; ++r) {
    const T* const row = y + r * columns;
    const LongTargets<T> t = targets(r);
    if constexpr (Loss::kNeedsLogSumExp) sums.add_row(r, columns, row, dy ? dy + r * columns : nullptr);
    if (classes) {
      sums_t[r] = t.own();
      dots[r] = t.own() * (row[classes[r]] - sums.largest[r]);
    }
    if (classes && options.is_sharp()) continue;
    const V m(sums.largest[r]);
    dots[r] += sum_along<T>(columns, [&](Index c, auto part) { return t.spread(c, part) * (load(row + c, part) - m); });
    sums_t[r] += sum_along<T>(columns, [&](Index c, auto part) { return t.spread(c, part); });
  }
  T inverse[V::lanes];
  (T(1) / V::load(sums.sum)).store(inverse);
  for (int r = 0; dy && r < n; ++r) {
    const T* const row = y + r * columns;
    T* const out = dy + r * columns;
    const T weight = weights ? weights[r] : T(1);
    if (weight == T(0)) {
      for (Index c = 0; c < columns; ++c) out[c] = 0;
      continue;
    }
    const LongTargets<T> t = targets(r);
    const V one_over(inverse[r]), sum_t(sums_t[r]), scale(options.gradient_scale * weight);
    const auto gradient = [&](V value, V e, V target) {
      if constexpr (Loss::kNeedsLogSumExp)
        return Loss::gradient(e * one_over, target, sum_t, V(T(0))) * scale;
      else
        return (options.logits ? Loss::logit_gradient(value, target, sum_t)
                               : Loss::gradient(V(T(0)), target, sum_t, V(T(0)))) *
               scale;
    };
    T of_class[V::lanes] = {};
    if (classes) gradient(V(row[classes[r]]), V(out[classes[r]]), V(t.at_class())).store(of_class);
    for_vectors<T>(columns, [&](Index c, auto part) {
      store(out + c, gradient(load(row + c, part), load(out + c, part), t.spread(c, part)), part);
    });
    if (classes) out[classes[r]] = of_class[0];
  }
  const V weight = weights ? V::load_n(weights, n) : V(T(1));
  const V value = Loss::value(V::load(sums_t), V::load(dots), log(V::load(sums.sum)));
  return select(first_n_mask<T>(n) & ~(weight == V(T(0))), value * weight, V(T(0)));
}

template <class T>
using LongClassLoss = Vec<T> (*)(Index, int, const T*, const Index*, const T*, const T*, const ClassLossOptions<T>&,
                                 T*);
#define FASTMLP_CLASS_LOSS(functor, name) class_loss_long<T, ops::functor>,
template <class T>
constexpr LongClassLoss<T> kLongClassLoss[] = {FASTMLP_CLASS_LOSSES(FASTMLP_CLASS_LOSS)};
#undef FASTMLP_CLASS_LOSS

}  // namespace fastmlp::FASTMLP_ISA_NS
