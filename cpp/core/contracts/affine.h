// The three products of an affine operation.
#pragma once

#include <cstdint>

#include "core/contracts/context.h"
#include "core/contracts/optimizer.h"

namespace fastmlp {

// Which values a parameter holds: while the same parameter is in the same state, they do not change. 0: not known.
struct ValueState {
  std::uint64_t parameter = 0, version = 0;

  bool known() const { return parameter != 0; }
  bool operator==(const ValueState&) const = default;
};

// y = act(x W + b); z, unless null, receives x W + b.   x: M x K, W: K x N, b: N or null, y and z: M x N.
// z has the leading dimension of y. A device's only, where x_chosen: x is the data, and row m of the batch is row x_ids[m] of
// it (or what GatherArgs says of null), as if it had been gathered. weight_slivers, unless null: the same weight as
// Backend::pack_weight has packed it, which a kernel may read instead.
template <class T>
struct AffineForward {
  Index M, N, K;
  const T* x;
  Index ldx;
  const T* weight;
  const T* bias;
  Activation activation;
  T* y;
  Index ldy;
  T* z;
  bool x_chosen = false;
  const Index* x_ids = nullptr;
  ValueState weight_state = {};
  const T* weight_slivers = nullptr;
};

// dx = (dz W^T) * act'(saved).   dz: M x N, W: K x N, dx and saved: M x K. `activation` is that of the operation that
// made x, `saved` what its derivative is formed from (see saves_input), with the leading dimension of dx; null for
// the identity.
template <class T>
struct AffineBackwardInput {
  Index M, N, K;
  const T* dz;
  Index lddz;
  const T* weight;
  Activation activation;
  const T* saved;
  T* dx;
  Index lddx;
};

// dW = x^T dz, db = column sums of dz.   x: M x K, dz: M x N, dW: K x N, db: N. x_chosen: see AffineForward.
template <class T>
struct AffineBackwardWeight {
  Index M, N, K;
  const T* x;
  Index ldx;
  const T* dz;
  Index lddz;
  GradientSink<T> weight;
  GradientSink<T> bias;
  bool x_chosen = false;
  const Index* x_ids = nullptr;
};

}  // namespace fastmlp
