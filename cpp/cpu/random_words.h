// The random words of many counters at once: Philox4x32-10 of core/philox.h with a block in each 64-bit lane.
#pragma once

#include "core/philox.h"
#include "cpu/isa.h"
#include FASTMLP_ISA_HEADER

namespace fastmlp::FASTMLP_ISA_NS {

constexpr int kBlocksAtOnce = sizeof(Words) / sizeof(std::uint64_t);

// The words of blocks from number n on, one block after the other: `count` of them, or some more, up to full vectors.
FASTMLP_NOINLINE inline void random_words(const Philox4x32& random, std::uint64_t n, Index count, std::uint32_t* out) {
  const auto everywhere = [](std::uint64_t v) { return Words{} + v; };
  Words counter{};
  for (int i = 0; i < kBlocksAtOnce; ++i) counter[i] = n + static_cast<std::uint64_t>(i);
  for (const std::uint32_t* const end = out + count; out < end; out += 4 * kBlocksAtOnce, counter += kBlocksAtOnce) {
    // Only the lower halves of the lanes count.
    Words x[4] = {counter, counter >> 32, everywhere(random.stream), everywhere(random.stream >> 32)};
    Philox4x32::Keys keys(random.seed);
    FASTMLP_UNROLL
    for (int round = 0; round < Philox4x32::kRounds; ++round) {
      const Words p0 = multiply_lower(x[0], everywhere(Philox4x32::kFactor0));
      const Words p1 = multiply_lower(x[2], everywhere(Philox4x32::kFactor1));
      x[0] = (p1 >> 32) ^ x[1] ^ everywhere(keys.first);
      x[1] = p1;
      x[2] = (p0 >> 32) ^ x[3] ^ everywhere(keys.second);
      x[3] = p0;
      keys.advance();
    }
    const Words lower = everywhere(0xFFFFFFFF), a = (x[0] & lower) | (x[1] << 32), b = (x[2] & lower) | (x[3] << 32);
    const Words ordered[2] = {interleave_first(a, b), interleave_second(a, b)};
    __builtin_memcpy(out, ordered, sizeof ordered);
  }
}

}  // namespace fastmlp::FASTMLP_ISA_NS
