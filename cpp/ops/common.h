// What every formula header needs: the function attribute that lets one text serve CPU vectors and GPU scalars.
//
// A formula is a template over a value type V with: construction from a scalar constant, + - * /, comparisons giving
// a mask, and, found by argument-dependent lookup, fma fnma min max abs sqrt select exp log log1p expm1 tanh sigmoid
// log_sigmoid normal_cdf. Formulas allocate nothing and know no device.
#pragma once

#if defined(__CUDACC__)
#define FASTMLP_FORMULA __host__ __device__ __forceinline__
#else
#define FASTMLP_FORMULA inline __attribute__((always_inline))
#endif

namespace fastmlp::ops {

// -1, 0 or 1; NaN where x is.
template <class V>
FASTMLP_FORMULA V sign(V x) {
  return select(x > V(0), V(1), select(x < V(0), V(-1), x));
}

}  // namespace fastmlp::ops
