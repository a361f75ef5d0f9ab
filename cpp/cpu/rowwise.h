// Work on whole rows of outputs, with batch rows in SIMD lanes: softmax, log-softmax, and all losses.
//
// A RowGroup names up to `lanes` rows of a matrix, row-major or feature-major, so that both strategies share the code.
#pragma once

#include <type_traits>

#include "cpu/elementwise.h"
#include "cpu/sums.h"
#include "ops/losses.h"

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
    softmax_group<T>(kind, columns, {x + r * columns, columns, 1, n}, {y + r * columns, columns, 1, n});
  });
}

template <class T>
void row_backward(RowActivationKind kind, Index rows, Index columns, const T* dy, const T* y, T* dx,
                  const Context& context) {
  for_row_groups<T>(context, rows, columns, [&](Index r, int n) {
    const Index at = r * columns;
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

// The targets of a group of rows for class losses: probabilities, or class numbers.
//
// Numbers are compared as values of T, which is exact up to 2^24 columns in float32. In wider rows `get` and `times` see
// no class, and the loss visits the class's column by its number.
template <class T, bool whole>
struct ClassTargets {
  RowGroup<const T, whole> dense;  // p is null where classes are given
  Vec<T> classes;
  const Index* numbers = nullptr;  // of the classes, for wide rows alone

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

// Rows that are too wide for class numbers as values of T.
template <class T>
constexpr bool is_wide(Index columns) {
  return sizeof(T) == 4 && columns > Index{1} << 24;
}

// Lane r is the value in row r's column numbers[r].
template <class T, bool whole>
FASTMLP_INLINE Vec<T> values_at(const RowGroup<const T, whole>& y, const Index* numbers) {
  T values[Vec<T>::lanes] = {};
  for (int r = 0; r < y.n; ++r) values[r] = y.p[r * y.row + numbers[r] * y.column];
  return Vec<T>::load(values);
}

// The loss of each row of a group; dy (p null: not wanted) receives the gradients times `gradient_scale`, 0 for
// missing rows. Cross-entropy sees outputs less the largest of their row, which changes neither and keeps digits.
// `by_number`: rows are wide, and each row's class is visited by its number.
template <class T, bool whole, class Loss, bool by_number>
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
  V sum_t(T(1)), dot;
  if constexpr (by_number)
    dot = shifted(values_at(y, t.numbers));
  else
    dot = sum_of<T>(columns, [&](Index c) { return t.times(c, shifted(y.get(c))); });
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
  if (dy.p) {
    if constexpr (by_number) {
      T of_class[V::lanes];
      const V value = values_at(y, t.numbers);
      gradient(value, exp(shifted(value)), V(T(1))).store(of_class);
      for (Index c = 0; c < columns; ++c) dy.set(c, gradient(y.get(c), dy.get(c), zero));
      for (int r = 0; r < y.n; ++r) dy.p[r * dy.row + t.numbers[r] * dy.column] = of_class[r];
    } else {
      for (Index c = 0; c < columns; ++c) dy.set(c, gradient(y.get(c), dy.get(c), t.get(c)));
    }
  }
  return select(present, Loss::value(sum_t, dot, lse), zero);
}

template <class T>
using ElementLoss = Vec<T> (*)(Index, Index, const T*, const T*, T, bool, T, T*);
template <class T, bool whole>
using ClassLoss = Vec<T> (*)(Index, const RowGroup<const T, whole>&, const ClassTargets<T, whole>&, bool, T,
                             const RowGroup<T, whole>&);
#define FASTMLP_ELEMENT_LOSS(functor, name) element_loss<T, ops::functor>,
#define FASTMLP_CLASS_LOSS(functor, name) class_loss<T, whole, ops::functor, by_number>,
template <class T>
constexpr ElementLoss<T> kElementLoss[] = {FASTMLP_ELEMENT_LOSSES(FASTMLP_ELEMENT_LOSS)};
template <class T, bool whole, bool by_number>
constexpr ClassLoss<T, whole> kClassLoss[] = {FASTMLP_CLASS_LOSSES(FASTMLP_CLASS_LOSS)};
#undef FASTMLP_ELEMENT_LOSS
#undef FASTMLP_CLASS_LOSS

template <class T>
FASTMLP_INLINE ElementLoss<T> find_element_loss(LossKind kind) {
  return kElementLoss<T>[static_cast<int>(kind)];
}
template <class T, bool whole, bool by_number = false>
FASTMLP_INLINE ClassLoss<T, whole> find_class_loss(LossKind kind) {
  return kClassLoss<T, whole, by_number>[static_cast<int>(kind) - static_cast<int>(LossKind::NLL)];
}

// What "mean" divides by: the elements, or the rows for class losses.
inline double loss_scale(const LossSpec& spec, Index rows, Index columns) {
  if (!spec.mean) return 1;
  return 1.0 / static_cast<double>(is_class_loss(spec.kind) ? rows : rows * columns);
}

constexpr Index kLossRows = 64;  // rows per partial sum; a multiple of all vector lengths
inline Index loss_partials(Index rows) { return ceil_div(rows, kLossRows); }

template <class T>
void loss(const LossArgs<T>& a, const Context& context) {
  constexpr Index lanes = Vec<T>::lanes;
  const double scale = loss_scale(a.spec, a.rows, a.columns);
  const T gradient_scale = static_cast<T>(scale);
  const Index pieces = loss_partials(a.rows);
  parallel_ranges(context, pieces, larger(1, kPiece / (2 * a.columns * kLossRows)), [&](Index begin, Index end) {
    for (Index piece = begin; piece < end; ++piece) {
      const Index r0 = piece * kLossRows, r1 = smaller(a.rows, r0 + kLossRows), at = r0 * a.columns;
      T* dy = a.dy ? a.dy + at : nullptr;
      if (!is_class_loss(a.spec.kind)) {
        constexpr Index kBlock = kSumBlock * lanes;
        const auto loss = find_element_loss<T>(a.spec.kind);
        const Index size = (r1 - r0) * a.columns;
        double sum = 0;
        for (Index i = 0; i < size; i += kBlock)
          sum += static_cast<double>(
              reduce_add(loss(smaller(kBlock, size - i), 0, a.y + at + i, a.targets.dense + at + i,
                              static_cast<T>(a.spec.delta), a.logits, gradient_scale, dy ? dy + i : nullptr)));
        a.partial[piece] = sum;
        continue;
      }
      Vec<T> sum(T(0));  // of at most kLossRows / lanes terms a lane
      for (Index r = r0; r < r1; r += lanes) {
        const int n = static_cast<int>(smaller(lanes, r1 - r));
        ClassTargets<T, false> t{{nullptr, a.columns, 1, n}, Vec<T>(T(-1))};
        if (a.targets.classes && is_wide<T>(a.columns)) {
          t.numbers = a.targets.classes + r;
        } else if (a.targets.classes) {
          T ids[lanes] = {};
          for (int i = 0; i < n; ++i) ids[i] = static_cast<T>(a.targets.classes[r + i]);
          t.classes = Vec<T>::load(ids);
        } else {
          t.dense.p = a.targets.dense + r * a.columns;
        }
        const RowGroup<T, false> gradient{a.dy ? a.dy + r * a.columns : nullptr, a.columns, 1, n};
        const auto loss =
            t.numbers ? find_class_loss<T, false, true>(a.spec.kind) : find_class_loss<T, false>(a.spec.kind);
        sum += loss(a.columns, {a.y + r * a.columns, a.columns, 1, n}, t, a.logits, gradient_scale, gradient);
      }
      a.partial[piece] = static_cast<double>(reduce_add(sum));
    }
  });
  double total = 0;
  for (Index piece = 0; piece < pieces; ++piece) total += a.partial[piece];
  *a.value = total * scale;
}

}  // namespace fastmlp::FASTMLP_ISA_NS
