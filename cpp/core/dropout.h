// Inverted dropout: y = x / (1 - p) where a counter-based coin says so, else 0 (Srivastava et al., 2014).
// The backward pass is the same map: the mask is drawn again, not stored.
#pragma once

#include "core/backend.h"
#include "core/philox.h"

namespace fastmlp {

// Every layer of every step has its own stream of coins, four to a block.
FASTMLP_FORMULA Philox4x32 dropout_random(const DropoutState& state, Index layer) {
  constexpr std::uint64_t kMostLayers = 1 << 12;
  return {state.seed, stream(StreamUse::Dropout, state.step * kMostLayers + static_cast<std::uint64_t>(layer))};
}

template <class T>
struct DropoutMap {
  T scale;
  std::uint64_t threshold;  // a coin below it drops the element

  explicit FASTMLP_FORMULA DropoutMap(double p) : scale(p < 1 ? static_cast<T>(1 / (1 - p)) : T(0)) {
    const double exact = p * 0x1p32;
    threshold = static_cast<std::uint64_t>(exact);
    if (static_cast<double>(threshold) < exact) ++threshold;
  }

  FASTMLP_FORMULA T operator()(std::uint32_t coin, T x) const { return coin < threshold ? T(0) : x * scale; }
};

}  // namespace fastmlp
