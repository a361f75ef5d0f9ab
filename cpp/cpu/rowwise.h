// Work on whole rows of outputs: softmax, log-softmax, and all losses. Short rows, and those of the lanes strategy, lie across
// SIMD lanes here; long_rows.h has long ones.
//
// A RowGroup names up to `lanes` rows of a matrix, row-major or feature-major, so that both strategies share the code.
#pragma once

#include <type_traits>

#include "cpu/long_rows.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Element (row r, column c) is p[r * row + c * column]; n rows exist. `whole` groups are feature-major, and have room
// for whole vectors of rows.
template <class T, bool whole>
struct RowGroup {
  T* p;
  Index row, column;
  int n;

  FASTMLP_INLINE auto get(Index c) const {
    using V = Vec<std::remove_const_t<T>>;
    if constexpr (whole)
      return V::load(p + c * column);
    else
      return V::load_strided(p + c * column, row, n);
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

// One loss over n values in a row; y, t and dy have room for `padded` values, and dy gets zeros beyond n.
// Returns the sum of the values; dy (unless null) receives the gradients times `gradient_scale`.
template <class T, class Loss>
Vec<T> element_loss(Index n, Index padded, const T* y, const T* t, T delta, bool logits, T gradient_scale, T* dy) {
  using V = Vec<T>;
  const V d(delta), scale(gradient_scale);
  V sum(T(0));
  for_vectors<T>(n, [&](Index i, auto part) {
    const bool whole = std::is_same_v<decltype(part), Full> || i + V::lanes <= padded;
    const V yi = whole ? V::load(y + i) : load(y + i, part), ti = whole ? V::load(t + i) : load(t + i, part);
    sum += keep(Loss::value(yi, ti, d), part);
    if (!dy) return;
    V g;
    if constexpr (requires { Loss::logit_gradient(yi, ti); }) {
      g = logits ? Loss::logit_gradient(yi, ti) : Loss::gradient(yi, ti, d);
    } else {
      g = Loss::gradient(yi, ti, d);
    }
    g = keep(g * scale, part);
    if (whole)
      g.store(dy + i);
    else
      store(dy + i, g, part);
  });
  for (Index i = round_up(n, V::lanes); i < padded; i += V::lanes)
    if (dy) V(T(0)).store(dy + i);
  return sum;
}

// The targets of a group of rows for class losses: probabilities, or class numbers, compared as values of T.
template <class T, bool whole>
struct ClassTargets {
  RowGroup<const T, whole> dense;  // p is null where classes are given
  Vec<T> classes;

  FASTMLP_INLINE Vec<T> get(Index c) const {
    if (dense.p) return dense.get(c);
    return select(is_class(c), Vec<T>(T(1)), Vec<T>(T(0)));
  }
  FASTMLP_INLINE Vec<T> times(Index c, Vec<T> y) const {
    if (dense.p) return dense.get(c) * y;
    return select(is_class(c), y, Vec<T>(T(0)));
  }

 private:
  FASTMLP_INLINE Mask<T> is_class(Index c) const { return classes == Vec<T>(static_cast<T>(c)); }
};

// The loss of each row of a group; dy (p null: not wanted) receives the gradients times `gradient_scale`, 0 for
// missing rows. Cross-entropy sees outputs less the largest of their row, which changes neither and keeps digits.
template <class T, bool whole, class Loss>
Vec<T> class_loss(Index columns, const RowGroup<const T, whole>& y, const ClassTargets<T, whole>& t, bool logits,
                  T gradient_scale, const RowGroup<T, whole>& dy) {
  using V = Vec<T>;
  const V zero(T(0));
  V largest = zero, lse = zero, inverse = zero;
  if constexpr (Loss::kNeedsLogSumExp) {
    largest = y.get(0);
    for (Index c = 1; c < columns; ++c) largest = max(largest, y.get(c));
    const V sum = sum_of<T>(columns, [&](Index c) {
      const V e = exp(y.get(c) - largest);
      if (dy.p) dy.set(c, e);  // until the sum is known
      return e;
    });
    lse = log(sum);
    inverse = T(1) / sum;
  }
  const auto shifted = [&](V value) { return Loss::kNeedsLogSumExp ? value - largest : value; };
  V sum_t(T(1));
  const V dot = sum_of<T>(columns, [&](Index c) { return t.times(c, shifted(y.get(c))); });
  if (t.dense.p) sum_t = sum_of<T>(columns, [&](Index c) { return t.get(c); });
  const auto present = first_n_mask<T>(y.n);
  const auto gradient = [&](V value, V e, V target) {
    V g;
    if constexpr (Loss::kNeedsLogSumExp)
      g = Loss::gradient(e * inverse, target, sum_t, zero);
    else
      g = logits ? Loss::logit_gradient(value, target, sum_t) : Loss::gradient(zero, target, sum_t, zero);
    return select(present, g * V(gradient_scale), zero);
  };
  if (dy.p)
    for (Index c = 0; c < columns; ++c) dy.set(c, gradient(y.get(c), dy.get(c), t.get(c)));
  return select(present, Loss::value(sum_t, dot, lse), zero);
}

template <class T>
using ElementLoss = Vec<T> (*)(Index, Index, const T*, const T*, T, bool, T, T*);
template <class T, bool whole>
using ClassLoss = Vec<T> (*)(Index, const RowGroup<const T, whole>&, const ClassTargets<T, whole>&, bool, T,
                             const RowGroup<T, whole>&);
#define FASTMLP_ELEMENT_LOSS(functor, name) element_loss<T, ops::functor>,
#define FASTMLP_CLASS_LOSS(functor, name) class_loss<T, whole, ops::functor>,
template <class T>
constexpr ElementLoss<T> kElementLoss[] = {FASTMLP_ELEMENT_LOSSES(FASTMLP_ELEMENT_LOSS)};
template <class T, bool whole>
constexpr ClassLoss<T, whole> kClassLoss[] = {FASTMLP_CLASS_LOSSES(FASTMLP_CLASS_LOSS)};
#undef FASTMLP_ELEMENT_LOSS
#undef FASTMLP_CLASS_LOSS

template <class T>
FASTMLP_INLINE ElementLoss<T> find_element_loss(LossKind kind) {
  return kElementLoss<T>[static_cast<int>(kind)];
}
template <class T, bool whole>
FASTMLP_INLINE ClassLoss<T, whole> find_class_loss(LossKind kind) {
  return kClassLoss<T, whole>[static_cast<int>(kind) - static_cast<int>(LossKind::NLL)];
}

// What "mean" divides by: the elements, or the rows for class losses.
inline double loss_scale(const LossSpec& spec, Index rows, Index columns) {
  if (!spec.mean) return 1;
  return 1.0 / static_cast<double>(is_class_loss(spec.kind) ? rows : rows * columns);
}

constexpr Index kLossRows = 64;  // rows per partial sum; a multiple of all vector lengths
inline Index loss_partials(Index rows) { return ceil_div(rows, kLossRows); }

// The sum of an element loss over the rows [r0, r1).
template <class T>
double element_loss_of_rows(const LossArgs<T>& a, Index r0, Index r1, T gradient_scale) {
  constexpr Index kBlock = kSumBlock * Vec<T>::lanes;
  const auto loss = find_element_loss<T>(a.spec.kind);
  const Index end = r1 * a.columns;
  double sum = 0;
  for (Index i = r0 * a.columns; i < end; i += kBlock)
    sum += static_cast<double>(
        reduce_add(loss(smaller(kBlock, end - i), 0, a.y + i, a.targets.dense + i, static_cast<T>(a.spec.delta),
                        a.logits, gradient_scale, a.dy ? a.dy + i : nullptr)));
  return sum;
}

// That of a class loss over n rows from row r on, at most a vector of them, row by row.
template <class T>
Vec<T> class_loss_of_rows(const LossArgs<T>& a, Index r, int n, T gradient_scale) {
  const Index at = r * a.columns;
  const Index* const classes = a.targets.classes ? a.targets.classes + r : nullptr;
  const T* const dense = classes ? nullptr : a.targets.dense + at;
  T* const dy = a.dy ? a.dy + at : nullptr;
  if (is_long_row<T>(a.columns)) {
    const auto loss = kLongClassLoss<T>[static_cast<int>(a.spec.kind) - static_cast<int>(LossKind::NLL)];
    return loss(a.columns, n, a.y + at, classes, dense, a.logits, gradient_scale, dy);
  }
  T ids[Vec<T>::lanes] = {};
  for (int i = 0; classes && i < n; ++i) ids[i] = static_cast<T>(classes[i]);
  const ClassTargets<T, false> targets{{dense, a.columns, 1, n}, Vec<T>::load(ids)};
  return find_class_loss<T, false>(a.spec.kind)(a.columns, {a.y + at, a.columns, 1, n}, targets, a.logits,
                                                gradient_scale, {dy, a.columns, 1, n});
}

template <class T>
void loss(const LossArgs<T>& a, const Context& context) {
  constexpr Index lanes = Vec<T>::lanes;
  const double scale = loss_scale(a.spec, a.rows, a.columns);
  const T gradient_scale = static_cast<T>(scale);
  const Index pieces = loss_partials(a.rows);
  parallel_ranges(context, pieces, larger(1, kPiece / (2 * a.columns * kLossRows)), [&](Index begin, Index end) {
    for (Index piece = begin; piece < end; ++piece) {
      const Index r0 = piece * kLossRows, r1 = smaller(a.rows, r0 + kLossRows);
      if (!is_class_loss(a.spec.kind)) {
        a.partial[piece] = element_loss_of_rows(a, r0, r1, gradient_scale);
        continue;
      }
      Vec<T> sum(T(0));  // of at most kLossRows / lanes terms a lane
      for (Index r = r0; r < r1; r += lanes)
        sum += class_loss_of_rows(a, r, static_cast<int>(smaller(lanes, r1 - r)), gradient_scale);
      a.partial[piece] = static_cast<double>(reduce_add(sum));
    }
  });
  double total = 0;
  for (Index piece = 0; piece < pieces; ++piece) total += a.partial[piece];
  *a.value = total * scale;
}

}  // namespace fastmlp::FASTMLP_ISA_NS
