// What becomes of a product's values, four at a time, right after they are summed up.
//
// An epilogue has prepare(), a thread's constants, and finish(constants, row, column, count, sums): values
// (row, column ... column + count - 1) of the result, of which there may be more than four. Where kSumsColumns says so, it
// has work for blocks of its own, too.
#pragma once

#include "cuda/affine/column_sums.h"

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

  static constexpr bool kSumsColumns = false;
  using Constants = ops::ActivationParams<Real<T>>;
  FASTMLP_DEVICE Constants prepare() const { return activation_params<T>(activation); }

  FASTMLP_DEVICE void finish(const Constants& constants, Index row, Index column, int count, Quad<T> sums) const {
    const Index at = row * ld + column;
    if (bias) {
      const Quad<T> b = load_quad(bias + column, count, wide);
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

  static constexpr bool kSumsColumns = false;
  using Constants = ops::ActivationParams<Real<T>>;
  FASTMLP_DEVICE Constants prepare() const { return activation_params<T>(activation); }

  FASTMLP_DEVICE void finish(const Constants& constants, Index row, Index column, int count, Quad<T> sums) const {
    const Index at = row * ld + column;
    if (saved) {
      const Quad<T> s = load_quad(saved + at, count, wide);
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
  Sink<T> sink;
  Step step;
  Index columns;
  ColumnSums<T> column_sums;

  BackwardWeightEpilogue(const AffineBackwardWeight<T>& a, const Context& context)
      : sink(a.weight, a.N), step(context), columns(a.N), column_sums(a) {}

  static constexpr bool kSumsColumns = true;
  using Constants = typename Sink<T>::Constants;
  FASTMLP_DEVICE Constants prepare() const { return sink.prepare(step); }

  FASTMLP_DEVICE void finish(const Constants& constants, Index row, Index column, int count,
                             const Quad<T>& sums) const {
    sink.take(constants, row * columns + column, count, sums);
  }
};

}  // namespace fastmlp::cuda
