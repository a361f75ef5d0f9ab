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

  static constexpr int kRounds = 10;
  static constexpr std::uint64_t kFactor0 = 0xD2511F53, kFactor1 = 0xCD9E8D57;
  struct Keys {
    std::uint32_t first, second;

    explicit FASTMLP_FORMULA Keys(std::uint64_t seed) : first(low(seed)), second(high(seed)) {}
    FASTMLP_FORMULA void advance() {
      first += 0x9E3779B9;
      second += 0xBB67AE85;
    }
  };

  std::uint64_t seed, stream;

  // Four independent 32-bit numbers. cpu/dropout.h makes the same ones, many blocks at once.
  FASTMLP_FORMULA Block block(std::uint64_t n) const {
    Block x = {{low(n), high(n), low(stream), high(stream)}};
    Keys keys(seed);
    for (int round = 0; round < kRounds; ++round, keys.advance()) {
      const std::uint64_t p0 = kFactor0 * x.word[0], p1 = kFactor1 * x.word[2];
      x = {{high(p1) ^ x.word[1] ^ keys.first, low(p1), high(p0) ^ x.word[3] ^ keys.second, low(p0)}};
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
