// The prediction of a whole network in one launch, on a device.
#pragma once

#include "core/contracts/lanes.h"

namespace fastmlp {

// y = what a chain of affine operations and, where has_row_activation, softmax or log-softmax make of x: rows x the last
// one's outputs. `layers` is the host's; their sinks are not looked at.
template <class T>
struct ChainPrediction {
  const LanesLayer<T>* layers;
  int depth;
  RowActivationKind row_activation;
  bool has_row_activation;
  Index rows;
  const T* x;
  T* y;
};

}  // namespace fastmlp
