// All losses. Short rows of class losses, and those of the lanes strategy, lie across SIMD lanes here; long_rows.h has
// long ones.
//
// A row of weight 0 adds nothing, to the last bit, even where its value is not finite.
#pragma once

#include "cpu/rowwise.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Values in a row that an element loss, or a pair loss, works on. Unless they are null, `weights` has what each value
// counts and `params` its column's parameter; `values` receives the values times their weights.
template <class T>
struct LossValues {
  const T* y;
  const T* t;
  T* dy;
  const T* weights = nullptr;
  const T* params = nullptr;
  T* values = nullptr;

  LossValues at(Index i) const {
    const auto shifted = [i](auto* p) { return p ? p + i : nullptr; };
    return {y + i, t + i, shifted(dy), shifted(weights), shifted(params), shifted(values)};
  }
};

template <class T>
ops::LossParams<Vec<T>> loss_params(const LossSpec& spec) {
  return {Vec<T>(static_cast<T>(spec.alpha)), spec.full, Vec<T>(T(1))};
}

// Values and gradients of vectors: body(offset, part, whether whole vectors may be loaded) gets those from `offset` on.
// What lies beyond n has zero gradients, up to `padded` values, for which there is room.
template <class T, class Body>
FASTMLP_INLINE void for_loss_vectors(Index n, Index padded, T* dy, const Body& body) {
  using V = Vec<T>;
  for_vectors<T>(n, [&](Index i, auto part) {
    if (std::is_same_v<decltype(part), Full> || i + V::lanes <= padded)
      body(i, part, Full{});
    else
      body(i, part, part);
  });
  if (dy)
    for (Index i = round_up(n, V::lanes); i < padded; i += V::lanes) V(T(0)).store(dy + i);
}

// x times the weight, and 0 where that is 0.
template <class T>
FASTMLP_INLINE Vec<T> weighted(Vec<T> x, Vec<T> weight) {
  return select(weight == Vec<T>(T(0)), weight, x * weight);
}

// Exponentials and logarithms take far longer than a look at the weights: one loop does for such losses, but for binary
// cross-entropy, which many tiny networks have.
template <class Loss>
constexpr bool kOneLoop = false;
template <>
constexpr bool kOneLoop<ops::PoissonNLL> = true;
template <>
constexpr bool kOneLoop<ops::PoissonNLLLog> = true;
template <>
constexpr bool kOneLoop<ops::KLDiv> = true;
template <>
constexpr bool kOneLoop<ops::KLDivLog> = true;

// One loss over n values in a row; y, t and dy have room for `padded` values. Returns the sum of the values; dy (unless
// null) receives the gradients times `gradient_scale`.
template <class T, class Loss>
Vec<T> element_loss(Index n, Index padded, const LossValues<T>& v, const LossSpec& spec, bool logits,
                    T gradient_scale) {
  using V = Vec<T>;
  const V scale(gradient_scale);
  V sum(T(0));
  const auto run = [&](auto plain) {
    ops::LossParams<V> params = loss_params<T>(spec);
    for_loss_vectors(n, padded, v.dy, [&](Index i, auto part, auto room) {
      const V y = load(v.y + i, room), t = load(v.t + i, room);
      V weight(T(1));
      if constexpr (!plain) {
        if (v.params) params.column = load(v.params + i, room);
        if (v.weights) weight = load(v.weights + i, room);
      }
      V value = Loss::value(y, t, params);
      if constexpr (!plain) value = weighted(value, weight);
      sum += keep(value, part);
      if (v.values) store(v.values + i, value, part);
      if (!v.dy) return;
      V g;
      if constexpr (requires { Loss::logit_gradient(y, t); }) {
        g = logits ? Loss::logit_gradient(y, t) : Loss::gradient(y, t, params);
      } else {
        g = Loss::gradient(y, t, params);
      }
      g *= scale;
      if constexpr (!plain) g = weighted(g, weight);
      store(v.dy + i, keep(g, part), room);
    });
  };
  if constexpr (kOneLoop<Loss>) {
    run(std::false_type{});
  } else if (v.weights || v.params) {
    run(std::false_type{});
  } else {
    run(std::true_type{});
  }
  return sum;
}

// The same of a pair loss over n means; the variances, and their gradients, lie `distance` further on.
template <class T, class Loss>
Vec<T> pair_loss(Index n, Index padded, Index distance, const LossValues<T>& v, const LossSpec& spec,
                 T gradient_scale) {
  using V = Vec<T>;
  const V scale(gradient_scale);
  const ops::LossParams<V> params = loss_params<T>(spec);
  V sum(T(0));
  for_loss_vectors(n, padded, v.dy, [&](Index i, auto part, auto room) {
    const V mean = load(v.y + i, room), variance = load(v.y + distance + i, room), t = load(v.t + i, room);
    const V weight = v.weights ? load(v.weights + i, room) : V(T(1));
    const V value = weighted(Loss::value(mean, variance, t, params), weight);
    sum += keep(value, part);
    if (v.values) store(v.values + i, value, part);
    if (!v.dy) return;
    const V of_mean = weighted(Loss::mean_gradient(mean, variance, t, params) * scale, weight);
    const V of_variance = weighted(Loss::variance_gradient(mean, variance, t, params) * scale, weight);
    store(v.dy + i, keep(of_mean, part), room);
    store(v.dy + distance + i, keep(of_variance, part), room);
  });
  if (v.dy)
    for (Index i = round_up(n, V::lanes); i < padded; i += V::lanes) V(T(0)).store(v.dy + distance + i);
  return sum;
}

// The targets of a vector of rows for class losses: probabilities, or class numbers, compared as values of T.
template <class T, bool whole>
struct ClassTargets {
  RowGroup<const T, whole> dense;  // p is null where classes are given
  Vec<T> classes;
  const ClassLossOptions<T>& options;

  // With the classes' weights, and smoothed.
  FASTMLP_INLINE Vec<T> get(Index c) const {
    const Vec<T> given = dense.p ? dense.get(c) : select(is_class(c), Vec<T>(T(1)), Vec<T>(T(0)));
    const Vec<T> t = fma(given, Vec<T>(options.kept), Vec<T>(options.rest));
    return options.column_weights ? t * Vec<T>(options.column_weights[c]) : t;
  }
  // A class that is not the target adds nothing, whatever its output is.
  FASTMLP_INLINE Vec<T> times(Index c, Vec<T> y) const {
    if (dense.p || !options.is_sharp()) return get(c) * y;
    return select(is_class(c), y * Vec<T>(options.weight_of(c)), Vec<T>(T(0)));
  }
  FASTMLP_INLINE bool sum_to_one() const { return !dense.p && options.is_sharp() && !options.column_weights; }

 private:
  FASTMLP_INLINE Mask<T> is_class(Index c) const { return classes == Vec<T>(static_cast<T>(c)); }
};

// The loss of each row of a vector; dy (p null: not wanted) receives the gradients times the options' scale, 0 for
// missing rows. Cross-entropy sees outputs less the largest of their row, which changes neither and keeps digits.
template <class Loss, class T, bool whole>
FASTMLP_INLINE Vec<T> class_loss_vector(Index columns, const RowGroup<const T, whole>& y,
                                        const ClassTargets<T, whole>& t, Vec<T> weight, const RowGroup<T, whole>& dy) {
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
  if (!t.sum_to_one()) sum_t = sum_of<T>(columns, [&](Index c) { return t.get(c); });
  const auto counts = first_n_mask<T>(y.n) & ~(weight == zero);
  const V scale = V(t.options.gradient_scale) * weight;
  const auto gradient = [&](V value, V e, V target) {
    V g;
    if constexpr (Loss::kNeedsLogSumExp)
      g = Loss::gradient(e * inverse, target, sum_t, zero);
    else
      g = t.options.logits ? Loss::logit_gradient(value, target, sum_t) : Loss::gradient(zero, target, sum_t, zero);
    return select(counts, g * scale, zero);
  };
  if (dy.p)
    for (Index c = 0; c < columns; ++c) dy.set(c, gradient(y.get(c), dy.get(c), t.get(c)));
  return select(counts, Loss::value(sum_t, dot, lse) * weight, zero);
}

// The sum of the losses of y.n rows, lane by lane: at most a vector of them, but for whole groups. Without `dense`,
// targets are `classes`, which have room for whole vectors. `weights` of the rows may be null.
template <class T, bool whole, class Loss>
Vec<T> class_loss(Index columns, const RowGroup<const T, whole>& y, const RowGroup<const T, whole>& dense,
                  const T* classes, const T* weights, const ClassLossOptions<T>& options,
                  const RowGroup<T, whole>& dy) {
  using V = Vec<T>;
  V sum(T(0)), weight(T(1));
  for (int r = 0; r < y.n; r += V::lanes) {
    const ClassTargets<T, whole> targets{dense.from(r), V::load(classes + r), options};
    if (weights) weight = whole ? V::load(weights + r) : V::load_n(weights, y.n);
    sum += class_loss_vector<Loss>(columns, y.from(r), targets, weight, dy.from(r));
    if (!whole) break;
  }
  return sum;
}

template <class T>
using ElementLoss = Vec<T> (*)(Index, Index, const LossValues<T>&, const LossSpec&, bool, T);
template <class T>
using PairLoss = Vec<T> (*)(Index, Index, Index, const LossValues<T>&, const LossSpec&, T);
template <class T, bool whole>
using ClassLoss = Vec<T> (*)(Index, const RowGroup<const T, whole>&, const RowGroup<const T, whole>&, const T*,
                             const T*, const ClassLossOptions<T>&, const RowGroup<T, whole>&);
#define FASTMLP_ELEMENT_LOSS(functor, name) element_loss<T, ops::functor>,
#define FASTMLP_PAIR_LOSS(functor, name) pair_loss<T, ops::functor>,
#define FASTMLP_CLASS_LOSS(functor, name) class_loss<T, whole, ops::functor>,
template <class T>
constexpr ElementLoss<T> kElementLoss[] = {FASTMLP_ELEMENT_LOSSES(FASTMLP_ELEMENT_LOSS)};
template <class T>
constexpr PairLoss<T> kPairLoss[] = {FASTMLP_PAIR_LOSSES(FASTMLP_PAIR_LOSS)};
template <class T, bool whole>
constexpr ClassLoss<T, whole> kClassLoss[] = {FASTMLP_CLASS_LOSSES(FASTMLP_CLASS_LOSS)};
#undef FASTMLP_ELEMENT_LOSS
#undef FASTMLP_PAIR_LOSS
#undef FASTMLP_CLASS_LOSS

template <class T>
FASTMLP_INLINE ElementLoss<T> find_element_loss(LossKind kind) {
  return kElementLoss<T>[static_cast<int>(kind)];
}
template <class T>
FASTMLP_INLINE PairLoss<T> find_pair_loss(LossKind kind) {
  return kPairLoss<T>[static_cast<int>(kind) - static_cast<int>(LossKind::GaussianNLL)];
}
template <class T, bool whole>
FASTMLP_INLINE ClassLoss<T, whole> find_class_loss(LossKind kind) {
  return kClassLoss<T, whole>[static_cast<int>(kind) - static_cast<int>(LossKind::NLL)];
}

// What the sum of a batch's values, whose rows are those of the targets numbered `ids` (null: all in order), is
// multiplied by.
template <class T>
double loss_scale(const LossSpec& spec, const Targets<T>& targets, const Index* ids, Index rows, Index columns) {
  double share = static_cast<double>(rows);
  if (targets.has_shares() && spec.is_mean()) {
    share = 0;
    for (Index r = 0; r < rows; ++r) share += targets.share(ids ? ids[r] : r);
  }
  return spec.scale(share, columns);
}

constexpr Index kLossRows = 64;  // rows per partial sum; a multiple of all vector lengths
inline Index loss_partials(Index rows) { return ceil_div(rows, kLossRows); }

// The sum of an element loss over the rows [r0, r1).
template <class T>
double element_loss_of_rows(const LossArgs<T>& a, Index r0, Index r1, T gradient_scale) {
  constexpr Index kBlock = kSumBlock * Vec<T>::lanes;
  const auto loss = find_element_loss<T>(a.spec.kind);
  const Targets<T>& targets = a.targets;
  const bool weighs = targets.weights || targets.column_weights;
  const Index end = r1 * a.columns;
  T weights[kBlock], params[kBlock];
  double sum = 0;
  Index row = r0, column = 0;  // of the next value
  for (Index i = r0 * a.columns; i < end; i += kBlock) {
    const Index n = smaller(kBlock, end - i);
    LossValues<T> values = LossValues<T>{a.y, targets.dense, a.dy, nullptr, nullptr, a.values}.at(i);
    if (weighs) values.weights = weights;
    if (targets.column_params) values.params = params;
    for (Index j = 0; (weighs || targets.column_params) && j < n; ++j) {
      weights[j] = targets.weights ? targets.weights[row] : T(1);
      if (targets.column_weights) weights[j] *= targets.column_weights[column];
      if (targets.column_params) params[j] = targets.column_params[column];
      if (++column == a.columns) {
        column = 0;
        ++row;
      }
    }
    sum += static_cast<double>(reduce_add(loss(n, 0, values, a.spec, a.logits, gradient_scale)));
  }
  return sum;
}

// That of a pair loss, row by row.
template <class T>
double pair_loss_of_rows(const LossArgs<T>& a, Index r0, Index r1, T gradient_scale) {
  const Index pairs = a.columns / 2;
  const auto loss = find_pair_loss<T>(a.spec.kind);
  double sum = 0;
  for (Index r = r0; r < r1; ++r) {
    const T weight = a.targets.weights ? a.targets.weights[r] : T(1);
    LossValues<T> values = LossValues<T>{a.y, a.targets.dense, a.dy}.at(r * a.columns);
    if (a.values) values.values = a.values + r * pairs;
    if (weight == T(1)) {
      sum += static_cast<double>(reduce_add(loss(pairs, 0, pairs, values, a.spec, gradient_scale)));
      continue;
    }
    constexpr Index kBlock = kSumBlock;
    T weights[kBlock];
    for (T& w : weights) w = weight;
    for (Index c = 0; c < pairs; c += kBlock) {
      LossValues<T> part = values.at(c);
      part.weights = weights;
      sum += static_cast<double>(reduce_add(loss(smaller(kBlock, pairs - c), 0, pairs, part, a.spec, gradient_scale)));
    }
  }
  return sum;
}

// That of a class loss over n rows from row r on, at most a vector of them, row by row.
template <class T>
Vec<T> class_loss_of_rows(const LossArgs<T>& a, const ClassLossOptions<T>& options, Index r, int n) {
  const Index at = r * a.columns;
  const Index* const classes = a.targets.classes ? a.targets.classes + r : nullptr;
  const T* const dense = classes ? nullptr : a.targets.dense + at;
  const T* const weights = a.targets.weights ? a.targets.weights + r : nullptr;
  T* const dy = a.dy ? a.dy + at : nullptr;
  if (is_long_row<T>(a.columns)) {
    const auto loss = kLongClassLoss<T>[static_cast<int>(a.spec.kind) - static_cast<int>(LossKind::NLL)];
    return loss(a.columns, n, a.y + at, classes, dense, weights, options, dy);
  }
  T ids[Vec<T>::lanes] = {};
  for (int i = 0; classes && i < n; ++i) ids[i] = static_cast<T>(classes[i]);
  return find_class_loss<T, false>(a.spec.kind)(a.columns, {a.y + at, a.columns, 1, n}, {dense, a.columns, 1, n}, ids,
                                                weights, options, {dy, a.columns, 1, n});
}

template <class T>
void loss(const LossArgs<T>& a, const Context& context) {
  constexpr Index lanes = Vec<T>::lanes;
  const double scale = loss_scale(a.spec, a.targets, nullptr, a.rows, a.columns);
  const T gradient_scale = static_cast<T>(scale);
  const ClassLossOptions<T> options(a.spec, a.targets, a.columns, a.logits, gradient_scale);
  const Index pieces = loss_partials(a.rows);
  parallel_ranges(context, pieces, larger(1, kPiece / (2 * a.columns * kLossRows)), [&](Index begin, Index end) {
    for (Index piece = begin; piece < end; ++piece) {
      const Index r0 = piece * kLossRows, r1 = smaller(a.rows, r0 + kLossRows);
      if (!is_class_loss(a.spec.kind)) {
        a.partial[piece] = is_pair_loss(a.spec.kind) ? pair_loss_of_rows(a, r0, r1, gradient_scale)
                                                     : element_loss_of_rows(a, r0, r1, gradient_scale);
        continue;
      }
      Vec<T> sum(T(0));  // of at most kLossRows / lanes terms a lane
      for (Index r = r0; r < r1; r += lanes) {
        const int n = static_cast<int>(smaller(lanes, r1 - r));
        const Vec<T> values = class_loss_of_rows(a, options, r, n);
        if (a.values) values.store_n(a.values + r, n);
        sum += values;
      }
      a.partial[piece] = static_cast<double>(reduce_add(sum));
    }
  });
  double total = 0;
  for (Index piece = 0; piece < pieces; ++piece) total += a.partial[piece];
  *a.value = total * scale;
}

}  // namespace fastmlp::FASTMLP_ISA_NS
