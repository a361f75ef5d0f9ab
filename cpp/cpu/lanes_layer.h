// One affine layer on one block of a tiny network: weights are broadcast, so that any width works without edges.
//
// A block has R rows, in groups of U vectors V; V is Vec<T>, or Quad<T> (with U = 1) for at most four rows. Every tile
// of outputs goes over all groups, so that what it takes to begin is paid once a block.
#pragma once

#include <type_traits>

#include "cpu/elementwise.h"
#include "cpu/gemm/gemm.h"
#include "cpu/simd/quad.h"

namespace fastmlp::FASTMLP_ISA_NS {

// How many outputs of U vectors each fit the registers beside their operands.
template <class T, int U>
constexpr int kLanesTile = U == 4 && !Blocking<T>::kManyRegisters ? 3 : 4;

// body(std::integral_constant<int, J>, j) for tiles of J outputs from j on, which are n in all; J <= largest, 3 or 4.
// Four are 2 + 2 rather than 3 + 1.
template <int largest, class Body>
FASTMLP_INLINE void for_tiles(Index n, const Body& body) {
  Index j = 0;
  for (; largest == 4 ? n - j >= 4 : n - j == 3 || n - j > 4; j += largest)
    body(std::integral_constant<int, largest>{}, j);
  if (largest == 4 && n - j == 3) return body(std::integral_constant<int, 3>{}, j);
  for (; n - j >= 2; j += 2) body(std::integral_constant<int, 2>{}, j);
  if (n - j == 1) body(std::integral_constant<int, 1>{}, j);
}

// What a product's results go through before they are stored: a ReLU, leaky or not, or the derivative of one, which take
// less time here than in a pass over what has been stored. Small tiles gain nothing; float64 goes without, for the size of
// the code.
template <class T, int U>
constexpr bool kRectifies = U == 4 && sizeof(T) == 4 && Vec<T>::lanes > 1;
template <class T, int U>
FASTMLP_INLINE bool is_rectified(ActivationKind kind) {
  return kRectifies<T, U> && (kind == ActivationKind::ReLU || kind == ActivationKind::LeakyReLU);
}
template <class T, int U, class Body>
FASTMLP_INLINE void with_rectifier(const Activation& activation, const Body& body) {
  if constexpr (kRectifies<T, U>) {
    const auto params = activation_params<T>(activation);
    if (activation.kind == ActivationKind::ReLU) body(ops::ReLU{}, params);
    if (activation.kind == ActivationKind::LeakyReLU) body(ops::LeakyReLU{}, params);
  }
}

template <class T>
struct RectifiedOutputs {
  const Activation& activation;

  template <class V, int J, int U>
  FASTMLP_INLINE void apply(V (&acc)[J][U], Index, Index) const {
    with_rectifier<T, U>(activation, [&](auto rectifier, const auto& params) __attribute__((always_inline)) {
      FASTMLP_UNROLL
      for (int j = 0; j < J; ++j) {
        FASTMLP_UNROLL
        for (int u = 0; u < U; ++u) acc[j][u] = rectifier.forward(acc[j][u], params);
      }
    });
  }
};
template <class T>
struct RectifiedGradients {
  const Activation& activation;
  const T* outputs;  // of the activation

  template <class V, int J, int U>
  FASTMLP_INLINE void apply(V (&acc)[J][U], Index at, Index R) const {
    with_rectifier<T, U>(activation, [&](auto rectifier, const auto& params) __attribute__((always_inline)) {
      const T* own = outputs + at;
      FASTMLP_UNROLL
      for (int j = 0; j < J; ++j, own += R) {
        FASTMLP_UNROLL
        for (int u = 0; u < U; ++u) acc[j][u] = rectifier.backward(acc[j][u], V::load(own + u * V::lanes), params);
        asm("" : "+r"(own));  // as in store_tile
      }
    });
  }
};

// The accumulators of a tile of J outputs of a group, stored; quads as whole vectors, so that these can be loaded at once.
template <class T, int J, int U>
FASTMLP_INLINE void store_tile(const Vec<T> (&acc)[J][U], Index R, T* out) {
  FASTMLP_UNROLL
  for (int j = 0; j < J; ++j, out += R) {
    FASTMLP_UNROLL
    for (int u = 0; u < U; ++u) acc[j][u].store(out + u * Vec<T>::lanes);
    if (U == 4) asm("" : "+r"(out));  // or GCC keeps an address for each of the stores, most of them on the stack
  }
}
template <class T, int J>
FASTMLP_INLINE void store_tile(const Quad<T> (&acc)[J][1], Index, T* out) {
  constexpr int joined = Vec<T>::lanes / 4, vectors = (J + joined - 1) / joined;
  Quad<T> quads[vectors * joined];
  FASTMLP_UNROLL
  for (int j = 0; j < vectors * joined; ++j) quads[j] = j < J ? acc[j][0] : Quad<T>(T(0));
  FASTMLP_UNROLL
  for (int v = 0; v < vectors; ++v) join_quads<T>(quads + v * joined).store(out + v * Vec<T>::lanes);
}

// out[j] = start[j] + sum over k of w[k * k_stride + j * j_stride] in[k], for J outputs from `first` on, rectified;
// without `start`, from 0.
template <class T, class V, int U, int J, class Rectified>
FASTMLP_INLINE void lanes_product_tile(const T* in, Index K, const T* w, Index k_stride, Index j_stride, const T* start,
                                       const Rectified& rectified, Index first, Index R, T* out) {
  for (Index r = 0; r < R; r += U * V::lanes) {
    V acc[J][U];
    FASTMLP_UNROLL
    for (int j = 0; j < J; ++j) {
      const V value(start ? start[j] : T(0));
      FASTMLP_UNROLL
      for (int u = 0; u < U; ++u) acc[j][u] = value;
    }
    const T *x = in + r, *own = w;
    for (Index k = 0; k < K; ++k, x += R, own += k_stride) {
      V weight[J];
      FASTMLP_UNROLL
      for (int j = 0; j < J; ++j) weight[j] = V(own[j * j_stride]);
      FASTMLP_UNROLL
      for (int u = 0; u < U; ++u) {
        const V value = V::load(x + u * V::lanes);
        FASTMLP_UNROLL
        for (int j = 0; j < J; ++j) acc[j][u] = fma(weight[j], value, acc[j][u]);
      }
    }
    rectified.apply(acc, first * R + r, R);
    store_tile<T>(acc, R, out + first * R + r);
  }
}

template <class T, class V, int U, class Rectified>
FASTMLP_INLINE void lanes_product(const T* in, Index K, const T* w, Index k_stride, Index j_stride, const T* start,
                                  const Rectified& rectified, Index N, Index R, T* out) {
  for_tiles<kLanesTile<T, U>>(N, [&](auto J, Index j) {
    lanes_product_tile<T, V, U, decltype(J)::value>(in, K, w + j * j_stride, k_stride, j_stride,
                                                    start ? start + j : nullptr, rectified, j, R, out);
  });
}

// Sums for N columns of a layer's K x columns weight gradients and for their biases, a vector over the rows for each;
// `sums` is that of weight (0, first of the N).
template <class T, class V, int U, int N, bool first_group>
FASTMLP_INLINE void lanes_gradient_group(const T* in, Index K, const T* dz, Index columns, Index R, T* sums) {
  constexpr int lanes = V::lanes;
  V d[N][U];
  FASTMLP_UNROLL
  for (int n = 0; n < N; ++n) {
    FASTMLP_UNROLL
    for (int u = 0; u < U; ++u) d[n][u] = V::load(dz + n * R + u * lanes);
  }
  for (Index k = 0; k < K; ++k, in += R, sums += columns * lanes) {
    V x[U];
    FASTMLP_UNROLL
    for (int u = 0; u < U; ++u) x[u] = V::load(in + u * lanes);
    FASTMLP_UNROLL
    for (int n = 0; n < N; ++n) {
      V sum = first_group ? x[0] * d[n][0] : fma(x[0], d[n][0], V::load(sums + n * lanes));
      FASTMLP_UNROLL
      for (int u = 1; u < U; ++u) sum = fma(x[u], d[n][u], sum);
      sum.store(sums + n * lanes);
    }
  }
  FASTMLP_UNROLL
  for (int n = 0; n < N; ++n) {
    V sum = first_group ? d[n][0] : d[n][0] + V::load(sums + n * lanes);
    FASTMLP_UNROLL
    for (int u = 1; u < U; ++u) sum = sum + d[n][u];
    sum.store(sums + n * lanes);
  }
}
template <class T, class V, int U, int N>
FASTMLP_INLINE void lanes_gradient_tile(const T* in, Index K, const T* dz, Index columns, bool first, Index R,
                                        T* sums) {
  Index r = 0;
  if (first) {
    lanes_gradient_group<T, V, U, N, true>(in, K, dz, columns, R, sums);
    r = U * V::lanes;
  }
  for (; r < R; r += U * V::lanes) lanes_gradient_group<T, V, U, N, false>(in + r, K, dz + r, columns, R, sums);
}

// `first`: the sums begin with this block, at 0.
template <class T, class V, int U>
FASTMLP_INLINE void lanes_gradient(const T* in, Index K, const T* dz, Index columns, bool first, Index R, T* sums) {
  for_tiles<kLanesTile<T, U>>(columns, [&](auto N, Index n) {
    lanes_gradient_tile<T, V, U, decltype(N)::value>(in, K, dz + n * R, columns, first, R, sums + n * V::lanes);
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
