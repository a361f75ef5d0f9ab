// Inverted dropout: y = x / (1 - p) with probability 1 - p, else 0 (Srivastava et al., 2014). The random words come from
// counters, so that the backward pass draws the mask again instead of storing it.
#pragma once

#include "core/backend.h"
#include "core/philox.h"

namespace fastmlp {

// Each operation and step has a Philox stream of its own; a block yields four random words.
FASTMLP_FORMULA Philox4x32 dropout_random(const DropoutState& state, Index layer) {
  constexpr std::uint64_t kMostLayers = 1 << 12;
  return {state.seed, stream(StreamUse::Dropout, state.step * kMostLayers + static_cast<std::uint64_t>(layer))};
}

template <class T>
struct DropoutMap {
  T scale;
  std::uint64_t threshold;  // a random word below it drops the element

  explicit FASTMLP_FORMULA DropoutMap(double p) : scale(p < 1 ? static_cast<T>(1 / (1 - p)) : T(0)) {
    const double exact = p * 0x1p32;
    threshold = static_cast<std::uint64_t>(exact);
    if (static_cast<double>(threshold) < exact) ++threshold;
  }

  FASTMLP_FORMULA T operator()(std::uint32_t word, T x) const { return word < threshold ? T(0) : x * scale; }
};

}  // namespace fastmlp
