// Arithmetic of whole vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace fastmlp {

// The sum of f(i), in T as torch forms it. So many sums side by side make use of vector registers.
template <class T, class F>
T sum_of(std::size_t n, const F& f) {
  constexpr std::size_t kSums = 16;
  T sums[kSums] = {};
  std::size_t i = 0;
  for (; i + kSums <= n; i += kSums)
    for (std::size_t s = 0; s < kSums; ++s) sums[s] += f(i + s);
  for (std::size_t s = 0; i < n; ++i, ++s) sums[s] += f(i);
  for (std::size_t half = kSums / 2; half > 0; half /= 2)
    for (std::size_t s = 0; s < half; ++s) sums[s] += sums[s + half];
  return sums[0];
}

template <class T>
double dot(const std::vector<T>& a, const std::vector<T>& b) {
  const T *const p = a.data(), *const q = b.data();
  return static_cast<double>(sum_of<T>(a.size(), [=](std::size_t i) { return p[i] * q[i]; }));
}

// The sum of magnitudes.
template <class T>
double magnitude(const std::vector<T>& values) {
  const T* const p = values.data();
  return static_cast<double>(sum_of<T>(values.size(), [=](std::size_t i) { return std::abs(p[i]); }));
}

// The largest magnitude; NaN if there is one.
template <class T>
double largest(const std::vector<T>& values) {
  T most = 0;
  for (const T value : values) {
    if (std::isnan(value)) return std::numeric_limits<double>::quiet_NaN();
    most = std::max(most, std::abs(value));
  }
  return static_cast<double>(most);
}

// y += a x
template <class T>
void add_scaled(std::vector<T>& y, double a, const std::vector<T>& x) {
  const T factor = static_cast<T>(a);
  T* const to = y.data();
  const T* const from = x.data();
  for (std::size_t i = 0; i < y.size(); ++i) to[i] += factor * from[i];
}

// y + a x
template <class T>
std::vector<T> sum_with_scaled(std::vector<T> y, double a, const std::vector<T>& x) {
  add_scaled(y, a, x);
  return y;
}

template <class T>
std::vector<T> scaled(std::vector<T> x, double a) {
  const T factor = static_cast<T>(a);
  for (T& value : x) value *= factor;
  return x;
}

}  // namespace fastmlp
