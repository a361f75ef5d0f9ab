// Tiny networks of more inputs.
#include "cuda/tiny/launch.h"

namespace fastmlp::cuda {

FASTMLP_TINY_WIDE(FASTMLP_INSTANTIATE)

}  // namespace fastmlp::cuda
