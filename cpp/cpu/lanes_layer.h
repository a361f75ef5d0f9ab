// One affine layer on one block of a tiny network: weights are broadcast, so that any width works without edges.
#pragma once

#include <type_traits>

#include "cpu/gemm.h"

namespace fastmlp::FASTMLP_ISA_NS {

// How many outputs of U vectors each fit the registers beside their operands.
template <class T, int U>
constexpr int kLanesTile = U == 4 && !Blocking<T>::kManyRegisters ? 2 : 4;

// body(std::integral_constant<int, J>, j) for tiles of J outputs from j on: tiles of `largest`, then what is left.
template <int largest, class Body>
FASTMLP_INLINE void for_tiles(Index n, const Body& body) {
  Index j = 0;
  for (; j + largest <= n; j += largest) body(std::integral_constant<int, largest>{}, j);
  if constexpr (largest > 3)
    if (n - j == 3) return body(std::integral_constant<int, 3>{}, j);
  if constexpr (largest > 2)
    if (n - j == 2) return body(std::integral_constant<int, 2>{}, j);
  if (n - j == 1) body(std::integral_constant<int, 1>{}, j);
}

// out[j] = start[j] + sum over k of w[k * k_stride + j * j_stride] in[k], for J outputs; without `start`, from 0.
template <class T, int U, int J>
FASTMLP_INLINE void lanes_product_tile(const T* in, Index K, const T* w, Index k_stride, Index j_stride, const T* start,
                                       T* out) {
  using V = Vec<T>;
  constexpr int lanes = V::lanes;
  V acc[J][U];
  FASTMLP_UNROLL
  for (int j = 0; j < J; ++j) {
    const V value(start ? start[j] : T(0));
    FASTMLP_UNROLL
    for (int u = 0; u < U; ++u) acc[j][u] = value;
  }
  for (Index k = 0; k < K; ++k, in += U * lanes, w += k_stride) {
    V value[U];
    FASTMLP_UNROLL
    for (int u = 0; u < U; ++u) value[u] = V::load(in + u * lanes);
    FASTMLP_UNROLL
    for (int j = 0; j < J; ++j) {
      const V weight(w[j * j_stride]);
      FASTMLP_UNROLL
      for (int u = 0; u < U; ++u) acc[j][u] = fma(weight, value[u], acc[j][u]);
    }
  }
  FASTMLP_UNROLL
  for (int j = 0; j < J; ++j) FASTMLP_UNROLL
  for (int u = 0; u < U; ++u) acc[j][u].store(out + (j * U + u) * lanes);
}

template <class T, int U>
FASTMLP_INLINE void lanes_product(const T* in, Index K, const T* w, Index k_stride, Index j_stride, const T* start,
                                  Index N, T* out) {
  for_tiles<kLanesTile<T, U>>(N, [&](auto J, Index j) {
    lanes_product_tile<T, U, decltype(J)::value>(in, K, w + j * j_stride, k_stride, j_stride,
                                                 start ? start + j : nullptr, out + j * U * Vec<T>::lanes);
  });
}

// Sums for N columns of a layer's K x columns weight gradients and for their biases, a vector over the rows for each;
// `sums` is that of weight (0, first of the N).
template <class T, int U, int N, bool first_block>
FASTMLP_INLINE void lanes_gradient_tile(const T* in, Index K, const T* dz, Index columns, T* sums) {
  using V = Vec<T>;
  constexpr int lanes = V::lanes;
  V d[N][U];
  FASTMLP_UNROLL
  for (int n = 0; n < N; ++n) FASTMLP_UNROLL
  for (int u = 0; u < U; ++u) d[n][u] = V::load(dz + (n * U + u) * lanes);
  for (Index k = 0; k < K; ++k, in += U * lanes, sums += columns * lanes) {
    V x[U];
    FASTMLP_UNROLL
    for (int u = 0; u < U; ++u) x[u] = V::load(in + u * lanes);
    FASTMLP_UNROLL
    for (int n = 0; n < N; ++n) {
      V sum = first_block ? x[0] * d[n][0] : fma(x[0], d[n][0], V::load(sums + n * lanes));
      FASTMLP_UNROLL
      for (int u = 1; u < U; ++u) sum = fma(x[u], d[n][u], sum);
      sum.store(sums + n * lanes);
    }
  }
  FASTMLP_UNROLL
  for (int n = 0; n < N; ++n) {
    V sum = first_block ? d[n][0] : d[n][0] + V::load(sums + n * lanes);
    FASTMLP_UNROLL
    for (int u = 1; u < U; ++u) sum += d[n][u];
    sum.store(sums + n * lanes);
  }
}

template <class T, int U>
FASTMLP_INLINE void lanes_gradient(const T* in, Index K, const T* dz, Index columns, bool first_block, T* sums) {
  constexpr int lanes = Vec<T>::lanes;
  for_tiles<kLanesTile<T, U>>(columns, [&](auto N, Index n) {
    constexpr int tile = decltype(N)::value;
    if (first_block)
      lanes_gradient_tile<T, U, tile, true>(in, K, dz + n * U * lanes, columns, sums + n * lanes);
    else
      lanes_gradient_tile<T, U, tile, false>(in, K, dz + n * U * lanes, columns, sums + n * lanes);
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
