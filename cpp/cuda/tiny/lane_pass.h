// A row's way through a tiny network and back, in the registers of one thread: loops over constants, unrolled, so that all
// arrays are registers.
#pragma once

#include "cuda/tiny/params.h"
#include "cuda/tiny/shape.h"
#include "cuda/tiny/takes.h"

namespace fastmlp::cuda {

// A row in a thread's registers, for Output.
template <class T, int columns>
struct LaneRow {
  static constexpr bool kOneLane = true, kTakesRowActivations = false;
  template <class Loss>
  static constexpr bool kTakes = kTinyLoss<Loss, columns>;

  T *y_, *dz_;
  const T* t_;
  bool present, dense_;
  int target_class;
  T weight;

  FASTMLP_DEVICE T& y(int c) const { return y_[c]; }
  FASTMLP_DEVICE T& dz(int c) const { return dz_[c]; }
  FASTMLP_DEVICE bool dense() const { return dense_; }
  FASTMLP_DEVICE Real<T> target(int c) const { return dense_ ? Real<T>(t_[c]) : Real<T>(c == target_class); }
  template <class Body>
  FASTMLP_DEVICE void for_columns(const OutputArgs<T>& args, int, const Body& body) const {
    FASTMLP_UNROLL
    for (int c = 0; c < columns; ++c)
      if (c == 0 || c < args.columns) body(c);
  }
};

// Registers has x, h, y, dz and gradient; the weights are those of shape S in shared memory.
template <class T, class S, class Registers>
struct LanePass {
  using V = Real<T>;

  const TinyParams<T>& p;

  // y = x W + b
  template <int l, int terms, int columns>
  FASTMLP_DEVICE void product(const T* weights, const T (&x)[terms], V (&z)[columns]) const {
    const T* const w = weights + S::first(l);
    FASTMLP_UNROLL
    for (int j = 0; j < columns; ++j) z[j] = w[terms * columns + j];
    FASTMLP_UNROLL
    for (int i = 0; i < terms; ++i) {
      FASTMLP_UNROLL
      for (int j = 0; j < columns; ++j) z[j] = fma(V(x[i]), V(w[i * columns + j]), z[j]);
    }
  }

  // A unit that the network lacks is 0, even where the inputs are infinite.
  template <int l>
  FASTMLP_DEVICE void hidden(const T* weights, Registers& own) const {
    V z[S::kHidden];
    if constexpr (l == 0)
      product<0>(weights, own.x, z);
    else
      product<l>(weights, own.h[l - 1], z);
    with_tiny_activation(p.activations[l], [&](auto functor) {
      FASTMLP_UNROLL
      for (int j = 0; j < S::kHidden; ++j)
        z[j] = decltype(functor)::forward(z[j], ops::ActivationParams<V>{V(0), V(0)});
    });
    FASTMLP_UNROLL
    for (int j = 0; j < S::kHidden; ++j) own.h[l][j] = j < S::kLeast || j < p.sizes[l + 1] ? z[j].value : T(0);
    if constexpr (l + 1 < S::kLayers) hidden<l + 1>(weights, own);
  }

  FASTMLP_DEVICE void forward(const T* weights, Registers& own) const {
    hidden<0>(weights, own);
    V z[S::kOut];
    product<S::kLayers>(weights, own.h[S::kLayers - 1], z);
    if (p.activations[S::kLayers] != ActivationKind::Identity)
      with_tiny_activation(p.activations[S::kLayers], [&](auto functor) {
        using F = decltype(functor);
        FASTMLP_UNROLL
        for (int c = 0; c < S::kOut; ++c) {
          z[c] = F::forward(z[c], ops::ActivationParams<V>{V(0), V(0)});
          own.dz[c] = F::backward(V(1), z[c], ops::ActivationParams<V>{V(0), V(0)}).value;
        }
      });
    FASTMLP_UNROLL
    for (int c = 0; c < S::kOut; ++c) own.y[c] = z[c].value;
  }

  // Adds x^T dz and dz to the gradient of layer l, and forms dz W^T where it is wanted.
  template <int l, int terms, int columns>
  FASTMLP_DEVICE void gradients(const T* weights, const T (&x)[terms], const V (&dz)[columns], V* below,
                                Registers& own) const {
    const T* const w = weights + S::first(l);
    T* const g = own.gradient + S::first(l);
    FASTMLP_UNROLL
    for (int i = 0; i < terms; ++i) {
      V sum = 0;
      FASTMLP_UNROLL
      for (int j = 0; j < columns; ++j) {
        T& to = g[i * columns + j];
        to = fma(V(x[i]), dz[j], V(to)).value;
        if (below) sum = fma(dz[j], V(w[i * columns + j]), sum);
      }
      if (below) below[i] = sum;
    }
    FASTMLP_UNROLL
    for (int j = 0; j < columns; ++j) g[terms * columns + j] = (V(g[terms * columns + j]) + dz[j]).value;
  }

  // dz: of the output of hidden layer l.
  template <int l>
  FASTMLP_DEVICE void through_hidden(const T* weights, V (&dz)[S::kHidden], Registers& own) const {
    with_tiny_activation(p.activations[l], [&](auto functor) {
      FASTMLP_UNROLL
      for (int j = 0; j < S::kHidden; ++j)
        dz[j] = decltype(functor)::backward(dz[j], V(own.h[l][j]), ops::ActivationParams<V>{V(0), V(0)});
    });
    if constexpr (l == 0) {
      gradients<0>(weights, own.x, dz, nullptr, own);
    } else {
      V below[S::kHidden];
      gradients<l>(weights, own.h[l - 1], dz, below, own);
      through_hidden<l - 1>(weights, below, own);
    }
  }

  FASTMLP_DEVICE void backward(const T* weights, Registers& own) const {
    V dz[S::kOut], below[S::kHidden];
    FASTMLP_UNROLL
    for (int c = 0; c < S::kOut; ++c) dz[c] = c == 0 || c < p.output.columns ? own.dz[c] : T(0);
    gradients<S::kLayers>(weights, own.h[S::kLayers - 1], dz, below, own);
    through_hidden<S::kLayers - 1>(weights, below, own);
  }
};

}  // namespace fastmlp::cuda
