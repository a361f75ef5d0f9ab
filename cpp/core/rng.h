// A counter-based generator: the n-th number of a stream is a function of (seed, stream, n), so that neither order nor
// threads matter. Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>

namespace fastmlp {

class Philox {
 public:
  using Block = std::array<std::uint32_t, 4>;

  Philox(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  // Four independent 32-bit numbers.
  Block block(std::uint64_t n) const {
    Block x = {low(n), high(n), low(stream_), high(stream_)};
    std::uint32_t k0 = low(seed_), k1 = high(seed_);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53} * x[0], p1 = std::uint64_t{0xCD9E8D57} * x[2];
      x = {high(p1) ^ x[1] ^ k0, low(p1), high(p0) ^ x[3] ^ k1, low(p0)};
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    return x;
  }

  // The n-th 64-bit number; two share a block.
  std::uint64_t bits(std::uint64_t n) const {
    const Block b = block(n / 2);
    return n % 2 == 0 ? join(b[0], b[1]) : join(b[2], b[3]);
  }

  // Uniform in [0, 1), with 53 bits.
  double uniform(std::uint64_t n) const { return to_unit(bits(n)); }

  // Standard normal, by Box and Muller (1958): one block gives one number.
  double normal(std::uint64_t n) const {
    const Block b = block(n);
    const double u = 1 - to_unit(join(b[0], b[1])), v = to_unit(join(b[2], b[3]));  // u in (0, 1]
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }

  // Uniform in [0, bound), by Lemire's multiplication ("Fast random integer generation in an interval", 2019),
  // without its rejection step: the bias is below bound / 2^64.
  std::uint64_t below(std::uint64_t n, std::uint64_t bound) const {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits(n)) * bound) >> 64);
  }

 private:
  static std::uint32_t low(std::uint64_t v) { return static_cast<std::uint32_t>(v); }
  static std::uint32_t high(std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); }
  static std::uint64_t join(std::uint32_t a, std::uint32_t b) { return (std::uint64_t{a} << 32) | b; }
  static double to_unit(std::uint64_t v) { return static_cast<double>(v >> 11) * 0x1p-53; }

  std::uint64_t seed_, stream_;
};

// Streams of one seed that must not meet: the initial weights, the order of rows, dropout.
enum class StreamUse : std::uint64_t { Values = 0, Shuffle = 1, Dropout = 2 };
inline std::uint64_t stream(StreamUse use, std::uint64_t n) { return (static_cast<std::uint64_t>(use) << 56) | n; }

// ids becomes a random permutation of 0 .. n-1 (Fisher and Yates).
template <class Integer>
void shuffle(Integer* ids, Integer n, const Philox& random) {
  for (Integer i = 0; i < n; ++i) ids[i] = i;
  for (Integer i = n - 1; i > 0; --i)
    std::swap(
        ids[i],
        ids[static_cast<Integer>(random.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i) + 1))]);
}

}  // namespace fastmlp
