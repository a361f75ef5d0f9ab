// Tiny networks of one or two inputs.
#include "cuda/tiny/launch.h"

namespace fastmlp::cuda {

FASTMLP_TINY_NARROW(FASTMLP_INSTANTIATE)

}  // namespace fastmlp::cuda
