#include "cuda/large/large_backward_input.h"

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

namespace fastmlp::cuda::large {

bool backward_input_with_sums(const AffineBackwardInput<float>& a, const Context& context) {
  return backward_input<true>(a, context);
}

}  // namespace fastmlp::cuda::large

#endif
