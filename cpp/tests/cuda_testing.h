// What the tests of the device's kernels share: arrays, comparisons, the CPU's scalar kernels.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include "core/backend.h"
#include "expect.h"

namespace fastmlp::testing {

inline void check(bool fine, const char* what, Index n, Index columns = 0, int kind = 0, std::size_t bytes = 0) {
  if (fine) return;
  std::printf("FAILED %s: %ld x %ld values of %zu bytes, kind %d\n", what, static_cast<long>(n),
              static_cast<long>(columns), bytes, kind);
  ++failures;
}

inline std::size_t at(Index i) { return static_cast<std::size_t>(i); }

template <class T>
const Backend<T>& cpu() {
  int count = 0;
  const Isa* const* isas = compiled_isas(count);
  const Isa& scalar = *isas[count - 1];
  if constexpr (sizeof(T) == 4)
    return *scalar.f32;
  else
    return *scalar.f64;
}

inline const Context kHost{{nullptr, nullptr, 1}, nullptr};

// Memory with `offset` values before the n that are used, and none behind them, so that a sanitizer sees what goes
// beyond.
template <class T>
class Values {
 public:
  explicit Values(Index n, Index offset = 0) : all_(at(n + offset)), offset_(offset) {}
  // Random numbers in [low, high).
  Values(Index n, std::uint32_t seed, double low, double high, Index offset = 0) : Values(n, offset) {
    for (T& v : all_) {
      seed = seed * 1664525U + 1013904223U;
      v = static_cast<T>(low + (high - low) * static_cast<double>(seed >> 8) * 0x1p-24);
    }
  }
  T* data() { return all_.data() + offset_; }
  const T* data() const { return all_.data() + offset_; }
  Index size() const { return static_cast<Index>(all_.size()) - offset_; }
  T& operator[](Index i) { return all_[at(i + offset_)]; }
  const T& operator[](Index i) const { return all_[at(i + offset_)]; }
  friend bool same_bits(const Values& a, const Values& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), at(a.size()) * sizeof(T)) == 0;
  }

 private:
  std::vector<T> all_;
  Index offset_;
};

// Whether `got` is near `want`, relative to values of size 1 and more; NaNs and infinities alike.
template <class T>
bool near(T got, T want, double ulps) {
  const double g = static_cast<double>(got), w = static_cast<double>(want);
  if (std::isnan(w) || std::isinf(w)) return std::isnan(w) ? std::isnan(g) : g == w;
  return std::abs(g - w) <= ulps * static_cast<double>(std::numeric_limits<T>::epsilon()) * (1 + std::abs(w));
}
template <class T>
bool near(const Values<T>& got, const Values<T>& want, double ulps) {
  for (Index i = 0; i < want.size(); ++i)
    if (!near(got[i], want[i], ulps)) return false;
  return true;
}

}  // namespace fastmlp::testing
