// What becomes of a product's values, four at a time, right after they are summed up.
//
// An epilogue has prepare(), a thread's constants, and, for values (row, column ... column + count - 1) of the result, of
// which there may be more than four: fetch(row, column, count), what it reads of memory for them, and finish(constants,
// fetched, row, column, count, sums). Where kChoosesRows, the first operand is the batch, whose rows may be chosen by number. Where kSumsColumns, it takes the second operand's column sums, too, and
// prefetch(row, column) of the cache line that begins there helps.
#pragma once

#include "cuda/block/sink.h"

namespace fastmlp::cuda {

// y = act(sums + bias), z = sums + bias.
template <class T>
struct ForwardEpilogue {
  const T* bias;
  T* y;
  T* z;
  Index ld;
  Activation activation;
  bool wide;

  explicit ForwardEpilogue(const AffineForward<T>& a)
      : bias(a.bias),
        y(a.y),
        z(a.z),
        ld(a.ldy),
        activation(a.activation),
        wide(takes_vectors(a.bias, 0) && takes_vectors(a.y, a.ldy) && takes_vectors(a.z, 0)) {}

  static constexpr bool kSumsColumns = false, kChoosesRows = true;
  using Constants = ops::ActivationParams<Real<T>>;
  FASTMLP_DEVICE Constants prepare() const { return activation_params<T>(activation); }

  using Fetched = Quad<T>;
  FASTMLP_DEVICE Fetched fetch(Index, Index column, int count) const {
    return bias ? load_quad(bias + column, count, wide) : Quad<T>{};
  }

  FASTMLP_DEVICE void finish(const Constants& constants, const Fetched& b, Index row, Index column, int count,
                             Quad<T> sums) const {
    const Index at = row * ld + column;
    if (bias) {
      FASTMLP_UNROLL
      for (int i = 0; i < 4; ++i) sums.v[i] += b.v[i];
    }
    if (z) store_quad(z + at, sums, count, wide);
    with_activation(activation.kind, [&](auto functor) {
      FASTMLP_UNROLL
      for (int i = 0; i < 4; ++i) sums.v[i] = decltype(functor)::forward(Real<T>(sums.v[i]), constants).value;
    });
    store_quad(y + at, sums, count, wide);
  }
};

// dx = sums * act'(saved).
template <class T>
struct BackwardInputEpilogue {
  const T* saved;
  T* dx;
  Index ld;
  Activation activation;
  bool wide;

  explicit BackwardInputEpilogue(const AffineBackwardInput<T>& a)
      : saved(a.saved),
        dx(a.dx),
        ld(a.lddx),
        activation(a.activation),
        wide(takes_vectors(a.saved, 0) && takes_vectors(a.dx, a.lddx)) {}

  static constexpr bool kSumsColumns = false, kChoosesRows = false;
  using Constants = ops::ActivationParams<Real<T>>;
  FASTMLP_DEVICE Constants prepare() const { return activation_params<T>(activation); }

  using Fetched = Quad<T>;
  FASTMLP_DEVICE Fetched fetch(Index row, Index column, int count) const {
    return saved ? load_quad(saved + row * ld + column, count, wide) : Quad<T>{};
  }

  FASTMLP_DEVICE void finish(const Constants& constants, const Fetched& s, Index row, Index column, int count,
                             Quad<T> sums) const {
    const Index at = row * ld + column;
    if (saved) {
      with_activation(activation.kind, [&](auto functor) {
        FASTMLP_UNROLL
        for (int i = 0; i < 4; ++i)
          sums.v[i] = decltype(functor)::backward(Real<T>(sums.v[i]), Real<T>(s.v[i]), constants).value;
      });
    }
    store_quad(dx + at, sums, count, wide);
  }
};

// dW = sums, and db.
template <class T>
struct BackwardWeightEpilogue {
  Sink<T> sink, bias;
  bool sums_columns;
  Step step;
  Index columns;

  BackwardWeightEpilogue(const AffineBackwardWeight<T>& a, const Context& context)
      : sink(a.weight, a.N), bias(a.bias, 1), sums_columns(a.bias.wanted()), step(context), columns(a.N) {}

  static constexpr bool kSumsColumns = true, kChoosesRows = true;
  using Constants = typename Sink<T>::Constants;
  FASTMLP_DEVICE Constants prepare() const { return sink.prepare(step); }

  FASTMLP_DEVICE void prefetch(Index row, Index column) const { sink.prefetch(row * columns + column); }

  using Fetched = typename Sink<T>::Fetched;
  FASTMLP_DEVICE Fetched fetch(Index row, Index column, int count) const {
    return sink.fetch(row * columns + column, count);
  }
  FASTMLP_DEVICE void finish(const Constants& constants, const Fetched& fetched, Index row, Index column, int count,
                             const Quad<T>& sums) const {
    sink.take(constants, fetched, row * columns + column, count, sums);
  }
  FASTMLP_DEVICE void finish_column(Index column, T sum) const {
    bias.take(bias.prepare(step), column, 1, {{sum, T(0), T(0), T(0)}});
  }
};

}  // namespace fastmlp::cuda
