// A chain of affine layers on memory that others own: weights out x in, as torch keeps them, and a workspace that lives
// from a forward pass to its backward pass. It keeps nothing from call to call, so that any number of threads may use it.
//
// The kernels' weights are in x out. To them, a matrix V of out x in is the weight of the layer that goes the other way, so
// that their products change roles: x V^T is that of backward_input, dz V that of forward, and dz^T x that of
// backward_weight with x and dz exchanged. For tiny networks, which run in lanes, weights are copied into the workspace.
#pragma once

#include <vector>

#include "core/backend.h"
#include "core/locks.h"

namespace fastmlp {

struct BorrowedLayer {
  Index in, out;
  bool has_bias;
  Activation activation;
};
// Where a layer's values lie, or where its gradients go. Null: there is no bias, or no gradient is wanted.
struct BorrowedMemory {
  void *weight = nullptr, *bias = nullptr;
};

template <class T>
class BorrowedChain {
 public:
  // At least one, which fit together.
  explicit BorrowedChain(std::vector<BorrowedLayer> layers);

  // How many values the workspace of a pass has; it is aligned to 64 bytes. `training`: a backward pass follows.
  Index workspace_size(Index rows, bool training) const;
  void forward(const T* x, Index rows, const BorrowedMemory* values, bool training, T* workspace, T* y) const;
  // After a forward pass of the same x, values and workspace; any number of times. dx: the input's gradient, or null.
  void backward(const T* dy, const T* x, Index rows, const BorrowedMemory* values, T* workspace, T* dx,
                const BorrowedMemory* gradients) const;

 private:
  struct DensePlan;
  struct LanesPass;

  bool uses_lanes(Index rows) const;
  void dense_forward(const T* x, Index rows, const BorrowedMemory* values, bool training, T* workspace, T* y) const;
  void dense_backward(const T* dy, const T* x, Index rows, const BorrowedMemory* values, T* workspace, T* dx,
                      const BorrowedMemory* gradients) const;

  std::vector<BorrowedLayer> layers_;
  std::vector<LanesLayer<T>> lanes_;  // the same, without pointers
  Index weights_ = 0;
};

}  // namespace fastmlp
