#include "cuda/large/large_backward_input.h"

#include "cuda/large/large.h"

namespace fastmlp::cuda {

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

bool large_backward_input(const AffineBackwardInput<float>& a, const Context& context) {
  return unproved() ? large::backward_input_with_sums(a, context) : large::backward_input<false>(a, context);
}

#else

bool large_backward_input(const AffineBackwardInput<float>&, const Context&) { return false; }

#endif

}  // namespace fastmlp::cuda
