// Inverted dropout: y = x / (1 - p) with probability 1 - p, else 0 (Srivastava et al., 2014). The random words come from
// counters, so that the backward pass draws the mask again instead of storing it.
#pragma once

#include <cstdint>
#include <type_traits>

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
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

  T scale;
  std::uint32_t threshold;  // a random word below it drops the element
  std::uint32_t kept;       // the bits of the others; none where p is 1

  explicit FASTMLP_FORMULA DropoutMap(double p)
      : scale(p < 1 ? static_cast<T>(1 / (1 - p)) : T(0)), threshold(0), kept(0) {
    const double exact = p * 0x1p32;
    if (exact > 0xFFFFFFFF) return;
    kept = 0xFFFFFFFF;
    threshold = static_cast<std::uint32_t>(exact);
    if (threshold < exact) ++threshold;
  }

  // Without a branch, which random words would make slow.
  FASTMLP_FORMULA T operator()(std::uint32_t word, T x) const {
    const std::uint32_t mask = word < threshold ? 0 : kept;
    const auto bits = static_cast<Bits>(static_cast<std::int32_t>(mask));
    return __builtin_bit_cast(T, __builtin_bit_cast(Bits, x * scale) & bits);  // on devices, too
  }
};

}  // namespace fastmlp
