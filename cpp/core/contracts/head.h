// The head of a network in training: its last affine operation, the activation of rows after it, if any, and the loss. In
// two kernels: as far as the gradient of that operation's sums, and back from there.
#pragma once

#include "core/contracts/affine.h"
#include "core/contracts/loss.h"

namespace fastmlp {

// Columns of dz (M x N) as it lies between the two: those from N on are zeros, and every row begins at 16 bytes.
FASTMLP_IN_KERNELS constexpr Index head_columns(Index N) { return 4 * ((N + 3) / 4 | 1); }

// dz of z = x W + b, whose y = act(z), or its softmax or log-softmax, has the loss. See AffineForward and LossArgs.
template <class T>
struct HeadForward {
  Index M, N, K;
  const T* x;
  Index ldx;
  const T* weight;
  const T* bias;
  Activation activation;  // the identity before a row activation
  bool has_row_activation;
  RowActivationKind row_activation;
  LossSpec loss;
  Targets<T> targets;
  bool logits;
  bool chosen;       // the targets are the data's, of rows by number: see AffineForward
  const Index* ids;  // or null
  T* dz;             // M x head_columns(N)
  double* partial;   // of the loss, for HeadBackward
};

// dx, unless it is null, dW, db and the loss.
template <class T>
struct HeadBackward {
  AffineBackwardInput<T> input;    // dz with its head_columns(N)
  AffineBackwardWeight<T> weight;  // of the same dz
  const double* partial;
  double* value;  // receives the loss
};

}  // namespace fastmlp
