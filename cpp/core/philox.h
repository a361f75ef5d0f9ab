// A counter-based generator: the n-th block of a stream is a function of (seed, stream, n), so that neither order nor
// threads matter. Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
// For the host and devices; core/rng.h makes numbers of other kinds from it.
#pragma once

#include <cstdint>

#include "ops/common.h"

namespace fastmlp {

struct Philox4x32 {
  struct Block {
    std::uint32_t word[4];
  };

  std::uint64_t seed, stream;

  // Four independent 32-bit numbers.
  FASTMLP_FORMULA Block block(std::uint64_t n) const {
    Block x = {{low(n), high(n), low(stream), high(stream)}};
    std::uint32_t k0 = low(seed), k1 = high(seed);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53} * x.word[0], p1 = std::uint64_t{0xCD9E8D57} * x.word[2];
      x = {{high(p1) ^ x.word[1] ^ k0, low(p1), high(p0) ^ x.word[3] ^ k1, low(p0)}};
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    return x;
  }

 private:
  static FASTMLP_FORMULA std::uint32_t low(std::uint64_t v) { return static_cast<std::uint32_t>(v); }
  static FASTMLP_FORMULA std::uint32_t high(std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); }
};

// Streams of one seed that must not meet: the initial weights, the order of rows, dropout.
enum class StreamUse : std::uint64_t { Values = 0, Shuffle = 1, Dropout = 2 };
FASTMLP_FORMULA std::uint64_t stream(StreamUse use, std::uint64_t n) {
  return (static_cast<std::uint64_t>(use) << 56) | n;
}

}  // namespace fastmlp
