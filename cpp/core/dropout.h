// Inverted dropout: y = x / (1 - p) where a counter-based coin says so, else 0 (Srivastava et al., 2014).
// The backward pass is the same map: the mask is drawn again, not stored.
#pragma once

#include "core/rng.h"
#include "core/types.h"

namespace fastmlp {

// y may be x.
template <class T>
void dropout(Index n, double p, const Philox& random, const T* x, T* y) {
  const T scale = p < 1 ? static_cast<T>(1 / (1 - p)) : T(0);
  const double threshold = p * 0x1p32;  // a 32-bit number below it drops the element
  for (Index i = 0; i < n; i += 4) {
    const Philox::Block block = random.block(static_cast<std::uint64_t>(i / 4));
    for (Index j = i; j < i + 4 && j < n; ++j)
      y[j] = block[static_cast<std::size_t>(j - i)] < threshold ? T(0) : x[j] * scale;
  }
}

}  // namespace fastmlp
