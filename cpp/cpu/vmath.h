// exp, log, tanh and their relatives on Vec<T>, without branches.
//
// Accuracy in units in the last place, for every argument: 2 in float, 4 in double; denormal results included.
// NaN gives NaN; infinities and signed zeros behave as in the C library. tests/test_vmath.cpp checks this for each
// instruction set; with --all, at every float.
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
// which most callers need anyway. `c(k)` is the coefficient of x^k, k < count.
template <int count, class T, class Coefficient>
FASTMLP_INLINE Vec<T> evaluate(Coefficient c, Vec<T> x, Vec<T> x2) {
  constexpr int top = (count - 1) / 2 * 2;
  Vec<T> sum = c(top);
  if constexpr (top + 1 < count) sum = fma(c(top + 1), x, sum);
  FASTMLP_UNROLL
  for (int k = top - 2; k >= 0; k -= 2) sum = fma(sum, x2, fma(c(k + 1), x, c(k)));
  return sum;
}

template <class T, int count>
FASTMLP_INLINE Vec<T> polynomial(const T (&c)[count], Vec<T> x, Vec<T> x2) {
  return evaluate<count>([&c](int k) { return Vec<T>(c[k]); }, x, x2);
}

// The integer n nearest to x * factor, and 2^(n + offset): a sum beyond 2^23 (2^52) has no fraction, and ends with n's bits.
template <class T>
struct NearestPower {
  Vec<T> n, power;

  FASTMLP_INLINE NearestPower(Vec<T> x, T factor, T offset = T(0)) {
    const T shift = Vec<T>::power_shift + offset;
    const Vec<T> sum = fma(x, factor, shift);
    n = sum - shift;
    power = power_from(sum);
  }
};

// x - n ln 2, of magnitude up to ln(2) / 2, for the nearest n and |x| < 2^10 or so. NaN stays.
template <class T>
FASTMLP_INLINE Vec<T> remainder(Vec<T> x, Vec<T> n) {
  using C = Coefficients<T>;
  return fnma(n, C::ln2_low, fnma(n, C::ln2_high, x));
}
template <class T>
FASTMLP_INLINE Vec<T> reduce(Vec<T> x, Vec<T>& n) {
  n = NearestPower<T>(x, Coefficients<T>::log2e).n;
  return remainder(x, n);
}

// The same for x + x_low.
template <class T>
FASTMLP_INLINE Vec<T> reduce(Vec<T> x, Vec<T>& n, Vec<T> x_low) {
  using C = Coefficients<T>;
  n = NearestPower<T>(x, C::log2e).n;
  return fnma(n, C::ln2_high, x) + fnma(n, C::ln2_low, x_low);
}

// exp(r) - 1 for |r| <= ln(2) / 2.
template <class T>
FASTMLP_INLINE Vec<T> expm1_reduced(Vec<T> r) {
  const Vec<T> r2 = r * r;
  return fma(r2, polynomial(Coefficients<T>::expm1_tail, r, r2), r);
}

// (exp(2 r) - 1) / 2 for |r| <= ln(2) / 4.
template <class T>
FASTMLP_INLINE Vec<T> half_expm1_of_double(Vec<T> r) {
  using C = Coefficients<T>;
  constexpr int count = sizeof(C::expm1_tail) / sizeof(T);
  const Vec<T> r2 = r * r;
  return fma(r2, evaluate<count>([](int k) { return Vec<T>(T(2 << k) * C::expm1_tail[k]); }, r, r2), r);
}

template <class T>
FASTMLP_INLINE Vec<T> exp_in_range(Vec<T> x) {
  Vec<T> n;
  const Vec<T> p = expm1_reduced(reduce(x, n));
  return scale2n_unit(T(1) + p, n);
}

// Beyond these arguments exp is 0 or infinite.
template <class T>
inline constexpr T kExpLow = sizeof(T) == 4 ? T(-104) : T(-745.5);
template <class T>
inline constexpr T kExpHigh = sizeof(T) == 4 ? T(89) : T(710);

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

// (1 + p) mills(t), where mills(t) = exp(t^2 / 2) normal_cdf(-t), for 0 <= t < 14.5: c + w is one of eight polynomials,
// and (1 + p) (c + w) is rounded only once.
FASTMLP_INLINE Vec<float> times_mills(Vec<float> p, Vec<float> t) {
  using C = Coefficients<float>;
  constexpr int count = sizeof(C::mills_piece) / sizeof(C::mills_piece[0]);
  const Vec<float> s = 1.0F + t, x = t - lookup8(C::mills_centre, s), c = lookup8(C::mills_piece[0], s);
  const Vec<float> w = x * evaluate<count - 1>([s](int k) { return lookup8(C::mills_piece[k + 1], s); }, x, x * x);
  return c + fma(c, p, fma(w, p, w));
}

// The same for 0 <= t < 39: one polynomial, but two divisions.
FASTMLP_INLINE Vec<double> times_mills(Vec<double> p, Vec<double> t) {
  using C = Coefficients<double>;
  const Vec<double> v = (t - C::mills_centre) / (t + C::mills_centre);
  const Vec<double> mills = polynomial(C::mills, v, v * v) / (t + C::mills_shift);
  return fma(mills, p, mills);
}

}  // namespace vmath

template <class T>
FASTMLP_INLINE Vec<T> exp(Vec<T> x) {
  return vmath::exp_in_range(max(Vec<T>(vmath::kExpLow<T>), min(Vec<T>(vmath::kExpHigh<T>), x)));
}

template <class T>
FASTMLP_INLINE Vec<T> expm1(Vec<T> x) {
  constexpr T low = sizeof(T) == 4 ? -18 : -40, max_exponent = sizeof(T) == 4 ? 127 : 1023;
  Vec<T> n;
  const Vec<T> p = vmath::expm1_reduced(vmath::reduce(max(Vec<T>(low), min(Vec<T>(vmath::kExpHigh<T>), x)), n));
  // 2^n itself may overflow where the result does not.
  const Vec<T> power = pow2n(min(n, max_exponent));
  const Vec<T> y = fma(power, p, power - T(1));
  return copysign(select(n > max_exponent, y + y, y), x);
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

// log(shift + x) for a shift of 0 or 1, as exact as log and log1p.
template <class T>
FASTMLP_INLINE Vec<T> log_shifted(Vec<T> shift, Vec<T> x) {
  // shift + x = 2^n (1 + f), with f computed from x itself and rounded once.
  const Vec<T> sum = shift + x;
  Vec<T> mantissa;
  const Vec<T> n = split_exponent(sum, mantissa);
  const Vec<T> inverse = scale2n_unit(Vec<T>(1), -n);
  const Vec<T> f = select(shift == T(0), mantissa - T(1), fma(x, inverse, inverse - T(1)));
  const Vec<T> y = vmath::log_from_parts(n, f);
  return select(sum == T(0), -vmath::kInfinity<T>, select(sum < T(0), vmath::kNaN<T>, y));
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
  // m / (m + 1) with m = (exp(2 |x|) - 1) / 2, written as near + (m - near (m + 1)) / (m + 1): what is rounded most is only
  // a correction to a number near tanh |x|. Beyond the limit the result rounds to 1. One constant for ln 2 does: what it
  // adds to a large exponent is small beside the result.
  using C = Coefficients<T>;
  constexpr T limit = sizeof(T) == 4 ? 10 : 20, half_ln2 = (C::ln2_high + C::ln2_low) / 2;
  const Vec<T> magnitude = min(Vec<T>(limit), abs(x)), near = min(Vec<T>(T(0.5)), magnitude);
  const vmath::NearestPower<T> nearest(magnitude, 2 * C::log2e);
  const Vec<T> r = fnma(nearest.n, half_ln2, magnitude), p = vmath::half_expm1_of_double(r);
  const Vec<T> m = fma(nearest.power, p, fma(nearest.power, T(0.5), T(-0.5)));
  return or_sign(near + fnma(near, m, m - near) / (m + T(1)), x);
}

// 1 / (1 + exp(-x))
template <class T>
FASTMLP_INLINE Vec<T> sigmoid(Vec<T> x) {
  // q = 1 / (1 + exp(|x|)) and 1 - q, with exp(|x|) = power + power p: adding the large power last costs one rounding
  // less than adding 1. All is taken times 2^-shift, so that nothing overflows where q is denormal.
  constexpr T shift = sizeof(T) == 4 ? 64 : 128, scale = sizeof(T) == 4 ? T(0x1p-64) : T(0x1p-128);
  const Vec<T> magnitude = min(Vec<T>(-vmath::kExpLow<T>), abs(x));
  const vmath::NearestPower<T> nearest(magnitude, Coefficients<T>::log2e, -shift);
  const Vec<T> p = vmath::expm1_reduced(vmath::remainder(magnitude, nearest.n));
  const Vec<T> q = scale / (nearest.power + fma(nearest.power, p, scale));
  return select_negative(x, q, T(1) - q);  // 1/2 at either zero
}

// log(sigmoid(x)) = -softplus(-x)
template <class T>
FASTMLP_INLINE Vec<T> log_sigmoid(Vec<T> x) {
  const Vec<T> e = vmath::exp_in_range(max(Vec<T>(vmath::kExpLow<T>), -abs(x)));
  // log(1 + e) for e in [0, 1]: as log1p, with only two possible exponents.
  const Mask<T> upper = e > T(0.4142135);
  const Vec<T> f = select(upper, T(0.5) * (e - T(1)), e);
  return min(Vec<T>(-T(0)), x) - vmath::log_from_parts(select(upper, T(1), T(0)), f);
}

// The distribution function of the standard normal distribution, erfc(-x / sqrt(2)) / 2.
template <class T>
FASTMLP_INLINE Vec<T> normal_cdf(Vec<T> x) {
  constexpr T limit = sizeof(T) == 4 ? T(14.5) : 39;
  const Vec<T> t = min(Vec<T>(limit), abs(x));
  // t^2 = square + low, since a relative error of the square would be an absolute one of the exponent.
  constexpr T splitter = sizeof(T) == 4 ? 0x1p12 + 1 : 0x1p27 + 1;
  const Vec<T> high = splitter * t - (splitter * t - t);
  const Vec<T> square = high * high, low = (t - high) * (t + high);
  Vec<T> n;
  const Vec<T> p = vmath::expm1_reduced(vmath::reduce(T(-0.5) * square, n, T(-0.5) * low));
  const Vec<T> tail = scale2n_unit(vmath::times_mills(p, t), n);
  return select(x > T(0), T(1) - tail, tail);
}

}  // namespace fastmlp::FASTMLP_ISA_NS
