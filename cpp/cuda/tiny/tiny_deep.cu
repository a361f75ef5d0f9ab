// Tiny networks of several hidden layers.
#include "cuda/tiny/launch.h"

namespace fastmlp::cuda {

FASTMLP_TINY_DEEP(FASTMLP_INSTANTIATE)

}  // namespace fastmlp::cuda
