#include "core/second_order/vectors.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace fastmlp {

namespace {

// The sum of f(i). So many sums side by side make use of vector registers.
template <class T, class F>
double sum_of(std::size_t n, const F& f) {
  constexpr std::size_t kSums = 16;
  T sums[kSums] = {};
  std::size_t i = 0;
  for (; i + kSums <= n; i += kSums)
    for (std::size_t s = 0; s < kSums; ++s) sums[s] += f(i + s);
  for (std::size_t s = 0; i < n; ++i, ++s) sums[s] += f(i);
  for (std::size_t half = kSums / 2; half > 0; half /= 2)
    for (std::size_t s = 0; s < half; ++s) sums[s] += sums[s + half];
  return static_cast<double>(sums[0]);
}

}  // namespace

template <class T>
double dot(const std::vector<T>& a, const std::vector<T>& b) {
  const T *const p = a.data(), *const q = b.data();
  return sum_of<T>(a.size(), [=](std::size_t i) { return p[i] * q[i]; });
}

template <class T>
double sum_of_magnitudes(const std::vector<T>& values) {
  const T* const p = values.data();
  return sum_of<T>(values.size(), [=](std::size_t i) { return std::abs(p[i]); });
}

template <class T>
double largest(const std::vector<T>& values) {
  T most = 0;
  for (const T value : values) {
    if (std::isnan(value)) return std::numeric_limits<double>::quiet_NaN();
    most = std::max(most, std::abs(value));
  }
  return static_cast<double>(most);
}

template <class T>
void add_scaled(std::vector<T>& y, double a, const std::vector<T>& x) {
  const T factor = static_cast<T>(a);
  T* const to = y.data();
  const T* const from = x.data();
  for (std::size_t i = 0; i < y.size(); ++i) to[i] += factor * from[i];
}

template <class T>
std::vector<T> scaled(std::vector<T> x, double a) {
  const T factor = static_cast<T>(a);
  for (T& value : x) value *= factor;
  return x;
}

#define FASTMLP_INSTANTIATE(T)                                              \
  template double dot(const std::vector<T>&, const std::vector<T>&);        \
  template double sum_of_magnitudes(const std::vector<T>&);                 \
  template double largest(const std::vector<T>&);                           \
  template void add_scaled(std::vector<T>&, double, const std::vector<T>&); \
  template std::vector<T> scaled(std::vector<T>, double);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
