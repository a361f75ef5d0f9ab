// Arithmetic of whole vectors.
#pragma once

#include <vector>

namespace fastmlp {

// Sums are formed in T, as torch forms them.
template <class T>
double dot(const std::vector<T>& a, const std::vector<T>& b);
template <class T>
double sum_of_magnitudes(const std::vector<T>& values);
// The largest magnitude; NaN if there is one.
template <class T>
double largest(const std::vector<T>& values);

// y += a x
template <class T>
void add_scaled(std::vector<T>& y, double a, const std::vector<T>& x);
// y + a x
template <class T>
std::vector<T> sum_with_scaled(std::vector<T> y, double a, const std::vector<T>& x) {
  add_scaled(y, a, x);
  return y;
}
// a x
template <class T>
std::vector<T> scaled(std::vector<T> x, double a);

}  // namespace fastmlp
