// Numbers of all kinds from the counter-based generator: the n-th of a stream is a function of (seed, stream, n).
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "core/philox.h"

namespace fastmlp {

// A 64-bit number of two words.
inline std::uint64_t join(std::uint32_t a, std::uint32_t b) { return (std::uint64_t{a} << 32) | b; }

// A random 64-bit number brought into [0, bound), by Lemire's multiplication ("Fast random integer generation in an
// interval", 2019), without its rejection step: the bias is below bound / 2^64.
inline std::uint64_t below(std::uint64_t bits, std::uint64_t bound) {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits) * bound) >> 64);
}

class Philox : public Philox4x32 {
 public:
  Philox(std::uint64_t seed, std::uint64_t stream) : Philox4x32{seed, stream} {}

  // The n-th 64-bit number; two share a block.
  std::uint64_t bits(std::uint64_t n) const {
    const Block b = block(n / 2);
    return n % 2 == 0 ? join(b.word[0], b.word[1]) : join(b.word[2], b.word[3]);
  }

  // Uniform in [0, 1), with 53 bits.
  double uniform(std::uint64_t n) const { return to_unit(bits(n)); }

  // Uniform in [0, bound).
  std::uint64_t below(std::uint64_t n, std::uint64_t bound) const { return fastmlp::below(bits(n), bound); }

  // Standard normal, by Box and Muller (1958): one block gives one number.
  double normal(std::uint64_t n) const {
    const Block b = block(n);
    const double u = 1 - to_unit(join(b.word[0], b.word[1])), v = to_unit(join(b.word[2], b.word[3]));  // u in (0, 1]
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }

 private:
  static double to_unit(std::uint64_t v) { return static_cast<double>(v >> 11) * 0x1p-53; }
};

}  // namespace fastmlp
