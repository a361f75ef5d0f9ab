// bfloat16: the upper half of a float, rounded to the nearest, ties to even.
#pragma once

#include <cstdint>

#include "ops/common.h"

namespace fastmlp::ops {

// The 16 bits of x in bfloat16, from the bits of x. A NaN stays one.
FASTMLP_FORMULA constexpr std::uint32_t bfloat16_of(std::uint32_t x) {
  const bool nan = (x & 0x7fffffff) > 0x7f800000;
  return nan ? 0x7fff : (x + 0x7fff + (x >> 16 & 1)) >> 16;
}

}  // namespace fastmlp::ops
