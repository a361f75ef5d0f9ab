// The shapes that there are kernels for, and what starts those of one shape.
#pragma once

#include "core/backend.h"
#include "cuda/tiny/shape.h"

// X(in, least, hidden, layers, out), see TinyShape; the first one that fits a network is taken. Their values and the loss
// fit into 128 places, so that a lane has registers for the gradient of all. A file each has those of few inputs, of more
// inputs, and with several hidden layers.
#define FASTMLP_TINY_NARROW(X) \
  X(1, 1, 4, 1, 1)             \
  X(1, 5, 8, 1, 1)             \
  X(1, 9, 16, 1, 1)            \
  X(2, 1, 2, 1, 1)             \
  X(2, 3, 4, 1, 1)             \
  X(2, 1, 4, 1, 4)             \
  X(2, 5, 8, 1, 1)             \
  X(2, 5, 8, 1, 4)             \
  X(2, 9, 10, 1, 1)            \
  X(2, 9, 10, 1, 3)            \
  X(2, 9, 16, 1, 1)            \
  X(2, 9, 16, 1, 4)
#define FASTMLP_TINY_WIDE(X) \
  X(4, 1, 4, 1, 1)           \
  X(4, 1, 4, 1, 4)           \
  X(4, 5, 8, 1, 1)           \
  X(4, 5, 8, 1, 4)           \
  X(4, 9, 12, 1, 4)          \
  X(4, 9, 16, 1, 1)          \
  X(16, 1, 4, 1, 1)          \
  X(16, 1, 4, 1, 4)
#define FASTMLP_TINY_DEEP(X) \
  X(2, 1, 4, 2, 1)           \
  X(2, 5, 8, 2, 1)           \
  X(16, 1, 4, 3, 1)
#define FASTMLP_TINY_SHAPES(X) FASTMLP_TINY_NARROW(X) FASTMLP_TINY_WIDE(X) FASTMLP_TINY_DEEP(X)

namespace fastmlp::cuda {

template <class S>
void launch_tiny(const SingleBlockTraining<float>&, Stream);

}  // namespace fastmlp::cuda
