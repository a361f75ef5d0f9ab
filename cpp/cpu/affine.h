// The three products of an affine layer, as GEMMs with their epilogues.
#pragma once

#include "cpu/elementwise.h"
#include "cpu/gemm.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Forward: z = x W + b, y = act(z).
template <class T, class Act>
void forward_epilogue(const void* context, T* tile, Index m0, int rows, Index n0, int columns) {
  using V = Vec<T>;
  const auto& a = *static_cast<const AffineForward<T>*>(context);
  const auto params = activation_params<T>(a.activation);
  for (int r = 0; r < rows; ++r) {
    const T* sums = tile + r * Blocking<T>::NR;
    T* y = a.y + (m0 + r) * a.ldy + n0;
    T* z_out = a.z ? a.z + (m0 + r) * a.ldy + n0 : nullptr;
    for_vectors<T>(columns, [&](Index j, auto part) {
      V z = V::load(sums + j);
      if (a.bias) z = z + load(a.bias + n0 + j, part);
      if (z_out) store(z_out + j, z, part);
      store(y + j, Act::forward(z, params), part);
    });
  }
}

// Backward to the input: dx = (dz W^T) * act'(saved).
template <class T, class Act>
void backward_input_epilogue(const void* context, T* tile, Index m0, int rows, Index k0, int columns) {
  const auto& a = *static_cast<const AffineBackwardInput<T>*>(context);
  const auto params = activation_params<T>(a.activation);
  for (int r = 0; r < rows; ++r) {
    const T* sums = tile + r * Blocking<T>::NR;
    const Index at = (m0 + r) * a.lddx + k0;
    for_vectors<T>(columns, [&](Index j, auto part) {
      Vec<T> d = Vec<T>::load(sums + j);
      if (a.saved) d = Act::backward(d, load(a.saved + at + j, part), params);
      store(a.dx + at + j, d, part);
    });
  }
}

// Backward to the weight: tile rows are rows of dW; written, added, or used up by the optimizer.
template <class T>
void weight_epilogue(const void* context, T* tile, Index k0, int rows, Index n0, int columns) {
  const auto& a = *static_cast<const AffineBackwardWeight<T>*>(context);
  sink_tile(a.weight, {k0 * a.N + n0, rows, columns, a.N}, tile, Blocking<T>::NR);
}

// Weights and states of the tile to come travel while it is computed.
template <class T>
void weight_prefetch(const void* context, Index k0, int rows, Index n0, int columns) {
  const auto& a = *static_cast<const AffineBackwardWeight<T>*>(context);
  if (!a.weight.update) return;
  const Index offset = k0 * a.N + n0;
  prefetch_rows<Nearness::L1>(a.weight.target.value + offset, a.N, rows, columns);
  for (const T* state : a.weight.target.state)
    if (state) prefetch_rows<Nearness::L1>(state + offset, a.N, rows, columns);
}

template <class T>
using EpilogueFunction = void (*)(const void*, T*, Index, int, Index, int);
#define FASTMLP_FORWARD(functor, name) forward_epilogue<T, ops::functor>,
#define FASTMLP_BACKWARD(functor, name) backward_input_epilogue<T, ops::functor>,
template <class T>
constexpr EpilogueFunction<T> kForwardEpilogue[] = {FASTMLP_ACTIVATIONS(FASTMLP_FORWARD)};
template <class T>
constexpr EpilogueFunction<T> kBackwardInputEpilogue[] = {FASTMLP_ACTIVATIONS(FASTMLP_BACKWARD)};
#undef FASTMLP_FORWARD
#undef FASTMLP_BACKWARD

template <class T>
void affine_forward(const AffineForward<T>& a, const Context& context) {
  const EpilogueFunction<T> epilogue = kForwardEpilogue<T>[static_cast<int>(a.activation.kind)];
  gemm<T>({a.M, a.N, a.K, {a.x, a.ldx, 1}, {a.weight, a.N, 1}, a.y, a.ldy, {epilogue, &a}}, context);
}

// Rows of dz that do not pay for transposing W: one dot product per row of W instead.
constexpr Index kDotRows = 3;

template <class T>
void backward_input_by_dots(const AffineBackwardInput<T>& a, Index k_begin, Index k_end) {
  using V = Vec<T>;
  constexpr int kRows = 4;
  for (Index m = 0; m < a.M; ++m) {
    const T* dz = a.dz + m * a.lddz;
    for (Index k = k_begin; k < k_end; k += kRows) {
      const int rows = static_cast<int>(smaller(kRows, k_end - k));
      const T* w[kRows];
      for (int r = 0; r < kRows; ++r) w[r] = a.weight + (k + (r < rows ? r : 0)) * a.N;
      V sum[kRows] = {V(T(0)), V(T(0)), V(T(0)), V(T(0))};
      for_vectors<T>(a.N, [&](Index n, auto part) {
        const V d = load(dz + n, part);
        for (int r = 0; r < kRows; ++r) sum[r] = fma(d, load(w[r] + n, part), sum[r]);
      });
      T tile[kRows];
      reduce_add4(sum[0], sum[1], sum[2], sum[3], tile);
      T* dx = a.dx + m * a.lddx + k;
      for (int r = 0; r < rows; ++r) dx[r] = tile[r];
    }
    if (a.saved) {
      const Index at = m * a.lddx + k_begin;
      kActivationBackward<T>[static_cast<int>(a.activation.kind)](a.activation, k_end - k_begin, a.dx + at,
                                                                  a.saved + at, a.dx + at);
    }
  }
}

template <class T>
void affine_backward_input(const AffineBackwardInput<T>& a, const Context& context) {
  if (a.M <= kDotRows) {
    parallel_ranges(context, a.K, larger(16, kPiece / a.N),
                    [&](Index begin, Index end) { backward_input_by_dots(a, begin, end); });
    return;
  }
  const EpilogueFunction<T> epilogue = kBackwardInputEpilogue<T>[static_cast<int>(a.activation.kind)];
  gemm<T>({a.M, a.K, a.N, {a.dz, a.lddz, 1}, {a.weight, 1, a.N}, a.dx, a.lddx, {epilogue, &a}}, context);
}

// db, a vector of columns at a time, rows in order.
template <class T>
void bias_gradient(const AffineBackwardWeight<T>& a, Index begin, Index end) {
  using V = Vec<T>;
  for (Index n = begin; n < end; n += V::lanes) {
    const int count = static_cast<int>(smaller(V::lanes, end - n));
    T sums[V::lanes];
    V sum(T(0));
    if (count == V::lanes) {
      for (Index m = 0; m < a.M; ++m) sum += V::load(a.dz + m * a.lddz + n);
    } else {
      for (Index m = 0; m < a.M; ++m) sum += V::load_n(a.dz + m * a.lddz + n, count);
    }
    sum.store(sums);
    sink_gradient(a.bias, n, count, sums);
  }
}

template <class T>
void affine_backward_weight(const AffineBackwardWeight<T>& a, const Context& context) {
  if (a.bias.wanted()) {
    parallel_ranges(context, a.N, larger(Vec<T>::lanes, kPiece / a.M),
                    [&](Index begin, Index end) { bias_gradient(a, begin, end); });
  }
  if (!a.weight.wanted()) return;
  // Blocks of rows are summed in the gradient itself, so that the product, not the epilogue, has to add to what is there.
  AffineBackwardWeight<T> product = a;
  product.weight.accumulate = false;
  gemm<T>({a.K,
           a.N,
           a.M,
           {a.x, 1, a.ldx},
           {a.dz, a.lddz, 1},
           a.weight.grad,
           a.N,
           {weight_epilogue<T>, &product, weight_prefetch<T>},
           a.weight.accumulate},
          context);
}

inline bool weight_update_needs_grad(Index M) { return k_blocks(M) > 1; }

}  // namespace fastmlp::FASTMLP_ISA_NS
