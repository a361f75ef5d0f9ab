// What is fused into the three products of an affine layer: bias and activation, the activation's derivative, the optimizer.
#pragma once

#include "cpu/elementwise.h"
#include "cpu/gemm/gemm.h"

namespace fastmlp::FASTMLP_ISA_NS {

// A tile's rows are NR apart, and one call of an activation's loop serves all of a whole tile; else each row has its own.
template <class T>
FASTMLP_INLINE bool is_whole(int rows, int columns) {
  return 1 < rows && rows <= Blocking<T>::MR && columns == Blocking<T>::NR;
}

// Forward: z = x W + b, y = act(z).
template <class T>
void forward_epilogue(const void* context, T* tile, Index m0, int rows, Index n0, int columns) {
  constexpr int NR = Blocking<T>::NR;
  const auto& a = *static_cast<const AffineForward<T>*>(context);
  const auto activate = kActivationForward<T>[static_cast<int>(a.activation.kind)];
  T* const y = a.y + m0 * a.ldy + n0;
  if (a.z) copy_rows(tile, NR, rows, columns, a.z + m0 * a.ldy + n0, a.ldy);
  if (is_whole<T>(rows, columns)) {
    activate(a.activation, static_cast<Index>(rows) * NR, tile, tile);
    copy_rows(tile, NR, rows, columns, y, a.ldy);
  } else {
    for (int r = 0; r < rows; ++r) activate(a.activation, columns, tile + r * NR, y + r * a.ldy);
  }
}

// The same in registers, for activations of an instruction or two.
template <class T, class Act>
struct Forward {
  static constexpr bool kDeferred = false;
  static constexpr int kLeastHeight = Blocking<T>::kLeastHeight;
  const AffineForward<T>& a;

  FASTMLP_INLINE void prefetch(const TileAt& at, int rows) const {
    prefetch_tile(a.y + at.i * a.ldy + at.j, a.ldy, rows);
  }
  template <int R, int NV>
  FASTMLP_INLINE void finish(const Vec<T> (&sums)[R][NV], const TileAt& at) const {
    using V = Vec<T>;
    const auto params = activation_params<T>(a.activation);
    FASTMLP_UNROLL
    for (int v = 0; v < NV; ++v) {
      const Index j = at.j + v * V::lanes;
      T* y = a.y + at.i * a.ldy + j;
      T* z_out = a.z ? a.z + at.i * a.ldy + j : nullptr;
      FASTMLP_UNROLL
      for (int r = 0; r < R; ++r, y += a.ldy) {
        const V z = sums[r][v];
        if (z_out) z.store(z_out + r * a.ldy);
        Act::forward(z, params).store(y);
      }
    }
  }
};

// Backward to the input: dx = (dz W^T) * act'(saved).
template <class T>
void backward_input_epilogue(const void* context, T* tile, Index m0, int rows, Index k0, int columns) {
  constexpr int NR = Blocking<T>::NR;
  const auto& a = *static_cast<const AffineBackwardInput<T>*>(context);
  const auto derive = kActivationBackward<T>[static_cast<int>(a.activation.kind)];
  const Index at = m0 * a.lddx + k0;
  if (a.saved && !is_whole<T>(rows, columns)) {
    for (int r = 0; r < rows; ++r) {
      const Index row = at + r * a.lddx;
      derive(a.activation, columns, tile + r * NR, a.saved + row, a.dx + row);
    }
    return;
  }
  if (a.saved) {
    alignas(64) T saved[Blocking<T>::kTile];
    copy_rows(a.saved + at, a.lddx, rows, columns, saved, NR);
    derive(a.activation, static_cast<Index>(rows) * NR, tile, saved, tile);
  }
  copy_rows(tile, NR, rows, columns, a.dx + at, a.lddx);
}

template <class T, class Act>
struct BackwardInput {
  static constexpr bool kDeferred = false;
  static constexpr int kLeastHeight = Blocking<T>::kLeastHeight;
  const AffineBackwardInput<T>& a;

  FASTMLP_INLINE void prefetch(const TileAt& at, int rows) const {
    prefetch_tile(a.saved + at.i * a.lddx + at.j, a.lddx, rows);
    prefetch_tile(a.dx + at.i * a.lddx + at.j, a.lddx, rows);
  }
  template <int R, int NV>
  FASTMLP_INLINE void finish(const Vec<T> (&sums)[R][NV], const TileAt& at) const {
    const auto params = activation_params<T>(a.activation);
    Index row = at.i * a.lddx + at.j;
    FASTMLP_UNROLL
    for (int r = 0; r < R; ++r, row += a.lddx) {
      FASTMLP_UNROLL
      for (int v = 0; v < NV; ++v) {
        const Index place = row + v * Vec<T>::lanes;
        Act::backward(sums[r][v], Vec<T>::load(a.saved + place), params).store(a.dx + place);
      }
    }
  }
};

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
  prefetch_rows<CacheLevel::L1>(a.weight.target.value + offset, a.N, rows, columns);
  for (const T* state : a.weight.target.state)
    if (state) prefetch_rows<CacheLevel::L1>(state + offset, a.N, rows, columns);
}

// Plain SGD while the gradient is in registers.
template <class T>
struct ApplySGD {
  static constexpr bool kDeferred = false;
  static constexpr int kLeastHeight = Blocking<T>::kLeastHeight;
  ops::PlainUpdateValues<Vec<T>> values;
  T* weight;
  Index ld;

  ApplySGD(const AffineBackwardWeight<T>& a)
      : values(a.weight.update->constants), weight(a.weight.target.value), ld(a.N) {}

  FASTMLP_INLINE void prefetch(const TileAt& at, int rows) const { prefetch_tile(weight + at.i * ld + at.j, ld, rows); }
  template <int R, int NV>
  FASTMLP_INLINE void finish(const Vec<T> (&sums)[R][NV], const TileAt& at) const {
    using V = Vec<T>;
    const auto own = values;  // in registers, whatever is stored
    T* row = weight + at.i * ld + at.j;
    FASTMLP_UNROLL
    for (int r = 0; r < R; ++r, row += ld) {
      FASTMLP_UNROLL
      for (int v = 0; v < NV; ++v) {
        T* const w = row + v * V::lanes;
        ops::SGD::apply(V::load(w), sums[r][v], static_cast<V*>(nullptr), own).store(w);
      }
    }
  }
};

// A plain rule with states, while the next tile's gradient is formed.
template <class T, class Rule>
struct ApplyRule {
  static constexpr int kStates = Rule::kPlainStates;
  ops::PlainUpdateValues<Vec<T>> values;  // read where they lie: copied, they would take the registers of the sums
  UpdateTarget<T> target;
  Index ld;

  explicit ApplyRule(const AffineBackwardWeight<T>& a)
      : values(a.weight.update->constants), target(a.weight.target), ld(a.N) {}

  FASTMLP_INLINE void prefetch(const TileAt& at, int rows) const {
    const Index place = at.i * ld + at.j;
    prefetch_tile(target.value + place, ld, rows);
    FASTMLP_UNROLL
    for (int s = 0; s < kStates; ++s) prefetch_tile(target.state[s] + place, ld, rows);
  }
  // The rule's two halves for a tile's row at (i, j), whose gradients the first one replaces by what it finds.
  FASTMLP_INLINE void begin(T* gradients, Index i, Index j) const {
    for_row(i, j, [&](int v, Index place) {
      V own[kStates];
      FASTMLP_UNROLL
      for (int s = 0; s < kStates; ++s) own[s] = V::load(target.state[s] + place);
      Rule::prepare(V::load(target.value + place), V::load(gradients + v), own, values).store(gradients + v);
      FASTMLP_UNROLL
      for (int s = 0; s < kStates; ++s) own[s].store(target.state[s] + place);
    });
  }
  FASTMLP_INLINE void end(const T* found, Index i, Index j) const {
    for_row(i, j, [&](int v, Index place) {
      const V state = V::load(target.state[0] + place);
      T* const w = target.value + place;
      Rule::step(V::load(w), V::load(found + v), &state, values).store(w);
    });
  }

 private:
  using V = Vec<T>;
  template <class Body>
  FASTMLP_INLINE void for_row(Index i, Index j, const Body& body) const {
    const Index row = i * ld + j;
    FASTMLP_UNROLL
    for (int v = 0; v < Blocking<T>::NR; v += V::lanes) body(v, row + v);
  }
};

}  // namespace fastmlp::FASTMLP_ISA_NS
