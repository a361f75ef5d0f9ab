// exp, log, tanh and their relatives on Vec<T>, without branches.
//
// Accuracy in units in the last place, for every argument: 2 in float, 4 in double; denormal results
// included. NaN gives NaN; infinities and signed zeros behave as in the C library.
// tests/test_vmath.cpp proves this for each instruction set.
#pragma once

#include "cpu/isa.h"
#include FASTMLP_ISA_HEADER
#include "cpu/vmath_coefficients.h"

namespace fastmlp::FASTMLP_ISA_NS {

namespace vmath {

template <class T>
inline constexpr T kInfinity = static_cast<T>(__builtin_inf());
template <class T>
inline constexpr T kNaN = static_cast<T>(__builtin_nan(""));

// Horner's rule in x^2 over pairs of coefficients: half the latency of the plain rule for one more multiplication,
// which most callers need anyway.
template <class T, int count>
FASTMLP_INLINE Vec<T> polynomial(const T (&c)[count], Vec<T> x, Vec<T> x2) {
  constexpr int top = (count - 1) / 2 * 2;
  Vec<T> sum = top + 1 < count ? fma(Vec<T>(c[count - 1]), x, Vec<T>(c[top])) : Vec<T>(c[top]);
  FASTMLP_UNROLL
  for (int k = top - 2; k >= 0; k -= 2) sum = fma(sum, x2, fma(Vec<T>(c[k + 1]), x, Vec<T>(c[k])));
  return sum;
}

// exp(x) = 2^n (1 + p) with |p| < 0.42. For |x| < 2^10 or so; NaN passes through p.
template <class T>
struct ReducedExp {
  Vec<T> n, p;
};

// `x_low` is a small correction to x, for a caller that knows x to more than its own precision.
template <class T>
FASTMLP_INLINE ReducedExp<T> reduced_exp(Vec<T> x, Vec<T> x_low = T(0)) {
  using C = Coefficients<T>;
  const Vec<T> n = round_nearest(x * C::log2e);
  const Vec<T> r = fnma(n, C::ln2_low, fnma(n, C::ln2_high, x)) + x_low;
  const Vec<T> r2 = r * r;
  return {n, fma(r2, polynomial(C::expm1_tail, r, r2), r)};
}

template <class T>
FASTMLP_INLINE Vec<T> exp_in_range(Vec<T> x) {
  const ReducedExp<T> e = reduced_exp(x);
  return scale2n_unit(T(1) + e.p, e.n);
}

// Beyond these arguments exp is 0 or infinite.
template <class T>
inline constexpr T kExpLow = sizeof(T) == 4 ? T(-104) : T(-745.5);
template <class T>
inline constexpr T kExpHigh = sizeof(T) == 4 ? T(89) : T(710);

// exp(-|x|)
template <class T>
FASTMLP_INLINE Vec<T> exp_minus_abs(Vec<T> x) {
  return exp_in_range(max(Vec<T>(kExpLow<T>), -abs(x)));
}

// n ln 2 + log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1].
template <class T>
FASTMLP_INLINE Vec<T> log_from_parts(Vec<T> n, Vec<T> f) {
  using C = Coefficients<T>;
  if constexpr (sizeof(T) == 4) {
    const Vec<T> f2 = f * f;
    Vec<T> tail = fma(f * f2, polynomial(C::log1p_tail, f, f2), n * C::ln2_low);
    tail = fnma(T(0.5), f2, tail);
    return fma(n, C::ln2_high, f + tail);
  } else {
    const Vec<T> s = f / (T(2) + f), z = s * s, half_square = T(0.5) * f * f;
    const Vec<T> ratio = half_square + z * polynomial(C::log_ratio_tail, z, z * z);
    const Vec<T> tail = half_square - fma(s, ratio, n * C::ln2_low);
    return fma(n, C::ln2_high, f - tail);
  }
}

}  // namespace vmath

template <class T>
FASTMLP_INLINE Vec<T> exp(Vec<T> x) {
  return vmath::exp_in_range(max(Vec<T>(vmath::kExpLow<T>), min(Vec<T>(vmath::kExpHigh<T>), x)));
}

template <class T>
FASTMLP_INLINE Vec<T> expm1(Vec<T> x) {
  constexpr T low = sizeof(T) == 4 ? -18 : -40, max_exponent = sizeof(T) == 4 ? 127 : 1023;
  const auto e = vmath::reduced_exp(max(Vec<T>(low), min(Vec<T>(vmath::kExpHigh<T>), x)));
  // 2^n itself may overflow where the result does not.
  const Vec<T> power = pow2n(min(e.n, max_exponent));
  const Vec<T> y = fma(power, e.p, power - T(1));
  return select(e.n > max_exponent, y + y, y);
}

template <class T>
FASTMLP_INLINE Vec<T> log(Vec<T> x) {
  Vec<T> mantissa;
  const Vec<T> n = split_exponent(x, mantissa);
  Vec<T> y = vmath::log_from_parts(n, mantissa - T(1));
  y = select(x < vmath::kInfinity<T>, y, x);
  y = select(x < T(0), vmath::kNaN<T>, y);
  return select(x == T(0), -vmath::kInfinity<T>, y);
}

template <class T>
FASTMLP_INLINE Vec<T> log1p(Vec<T> x) {
  // 1 + x = 2^n (1 + f), with f computed from x itself and rounded once; f = x where n = 0.
  const Vec<T> sum = T(1) + x;
  Vec<T> mantissa;
  const Vec<T> n = split_exponent(sum, mantissa);
  const Vec<T> inverse = scale2n_unit(Vec<T>(1), -n);
  const Vec<T> f = fma(x, inverse, inverse - T(1));
  Vec<T> y = copysign(vmath::log_from_parts(n, f), x);
  y = select(x < vmath::kInfinity<T>, y, x);
  y = select(x < T(-1), vmath::kNaN<T>, y);
  return select(x == T(-1), -vmath::kInfinity<T>, y);
}

template <class T>
FASTMLP_INLINE Vec<T> tanh(Vec<T> x) {
  // (e - 1) / (e + 1) with e = exp(2 |x|) = power (1 + p); beyond the limit the quotient rounds to 1.
  constexpr T limit = sizeof(T) == 4 ? 10 : 20;
  const Vec<T> magnitude = min(Vec<T>(limit), abs(x));
  const auto e = vmath::reduced_exp(magnitude + magnitude);
  const Vec<T> power = pow2n(e.n);
  return copysign(fma(power, e.p, power - T(1)) / fma(power, e.p, power + T(1)), x);
}

// 1 / (1 + exp(-x))
template <class T>
FASTMLP_INLINE Vec<T> sigmoid(Vec<T> x) {
  const Vec<T> e = vmath::exp_minus_abs(x);
  return select(x >= T(0), T(1), e) / (T(1) + e);
}

// log(sigmoid(x)) = -softplus(-x)
template <class T>
FASTMLP_INLINE Vec<T> log_sigmoid(Vec<T> x) {
  const Vec<T> e = vmath::exp_minus_abs(x);
  // log(1 + e) for e in [0, 1]: as log1p, with only two possible exponents.
  const Mask<T> upper = e > T(0.4142135);
  const Vec<T> f = select(upper, T(0.5) * (e - T(1)), e);
  return min(Vec<T>(0), x) - vmath::log_from_parts(select(upper, T(1), T(0)), f);
}

// The distribution function of the standard normal distribution, erfc(-x / sqrt(2)) / 2.
template <class T>
FASTMLP_INLINE Vec<T> normal_cdf(Vec<T> x) {
  using C = Coefficients<T>;
  constexpr T limit = sizeof(T) == 4 ? T(14.5) : 39;
  const Vec<T> t = min(Vec<T>(limit), abs(x));
  // t^2 = square + low: a relative error of the square would be an absolute one of the exponent.
  constexpr T splitter = sizeof(T) == 4 ? 0x1p12 + 1 : 0x1p27 + 1;
  const Vec<T> high = splitter * t - (splitter * t - t);
  const Vec<T> square = high * high, low = (t - high) * (t + high);
  const auto e = vmath::reduced_exp(T(-0.5) * square, T(-0.5) * low);
  const Vec<T> u = C::mills_centre / (C::mills_centre + t);
  const Vec<T> ratio = u * vmath::polynomial(C::mills, u, u * u);
  const Vec<T> tail = scale2n_unit(fma(ratio, e.p, ratio), e.n);
  return select(x > T(0), T(1) - tail, tail);
}

}  // namespace fastmlp::FASTMLP_ISA_NS
