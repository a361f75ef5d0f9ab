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

template <class T>
class BorrowedChain {
 public:
  struct Layer {
    Index in, out;
    bool has_bias;
    Activation activation;
  };
  // Of a layer: values, or where its gradients go. Null: there is no bias, or no gradient is wanted.
  template <class Value>
  struct Memory {
    Value *weight = nullptr, *bias = nullptr;
  };
  using Values = Memory<const T>;
  using Gradients = Memory<T>;

  // At least one, which fit together.
  explicit BorrowedChain(std::vector<Layer> layers);

  const std::vector<Layer>& layers() const { return layers_; }
  Index in_features() const { return layers_.front().in; }
  Index out_features() const { return layers_.back().out; }
  Index weights() const { return weights_; }

  // How many values the workspace of a pass has; it is aligned to 64 bytes. `training`: a backward pass follows.
  Index workspace_size(Index rows, bool training) const;
  void forward(const T* x, Index rows, const Values* values, bool training, T* workspace, T* y) const;
  // After a forward pass of the same x, values and workspace; any number of times. dx: the input's gradient, or null.
  void backward(const T* dy, const T* x, Index rows, const Values* values, T* workspace, T* dx,
                const Gradients* gradients) const;

 private:
  struct DensePlan;
  struct LanesPass;

  bool uses_lanes(Index rows) const;
  void dense_forward(const T* x, Index rows, const Values* values, bool training, T* workspace, T* y) const;
  void dense_backward(const T* dy, const T* x, Index rows, const Values* values, T* workspace, T* dx,
                      const Gradients* gradients) const;

  std::vector<Layer> layers_;
  std::vector<LanesLayer<T>> lanes_;  // the same, without pointers
  Index weights_ = 0;
};

}  // namespace fastmlp
