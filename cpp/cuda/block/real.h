// Real<T>: a number as the formulas of cpp/ops want it, one for each thread of a device; what Vec<T> is to the CPU.
//
// Its functions are CUDA's accurate ones (a few units in the last place), not the fast intrinsics. NaNs go the way they
// go in cpu/simd/vec.h: comparisons are false, min and max return their second argument.
#pragma once

#include <cmath>
#include <type_traits>

#include "ops/common.h"

namespace fastmlp::cuda {

namespace math {

#define FASTMLP_FUNCTION(name)                                 \
  FASTMLP_FORMULA float name(float x) { return ::name##f(x); } \
  FASTMLP_FORMULA double name(double x) { return ::name(x); }
FASTMLP_FUNCTION(fabs)
FASTMLP_FUNCTION(sqrt)
FASTMLP_FUNCTION(exp)
FASTMLP_FUNCTION(expm1)
FASTMLP_FUNCTION(log)
FASTMLP_FUNCTION(log1p)
FASTMLP_FUNCTION(tanh)
#undef FASTMLP_FUNCTION

// One rounding on a device. On the host, where it would be a call of the C library, two.
template <class T>
FASTMLP_FORMULA T fma(T a, T b, T c) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) == sizeof(float))
    return ::fmaf(a, b, c);
  else
    return ::fma(a, b, c);
#else
  return a * b + c;
#endif
}

// a / b for b from 1 to 2^100: on a device within 2 units in the last place, without the branch of a division that must
// round correctly for all b.
template <class T>
FASTMLP_FORMULA T ratio(T a, T b) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) == sizeof(float)) return __fdividef(a, b);
#endif
  return a / b;
}

// The distribution function of the standard normal distribution. A rounded argument of erfc would be a relative error
// of the result that grows with its square; CUDA's function makes up for it, long double has bits to spare.
template <class T>
FASTMLP_FORMULA T normal_cdf(T x) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) == sizeof(float))
    return ::normcdff(x);
  else
    return ::normcdf(x);
#else
  constexpr long double kRootOfHalf = 0.70710678118654752440084436210485L;
  return static_cast<T>(0.5L * ::erfcl(-kRootOfHalf * static_cast<long double>(x)));
#endif
}

}  // namespace math

struct RealMask {
  bool bit;

  friend FASTMLP_FORMULA RealMask operator&(RealMask a, RealMask b) { return {a.bit && b.bit}; }
  friend FASTMLP_FORMULA RealMask operator|(RealMask a, RealMask b) { return {a.bit || b.bit}; }
  friend FASTMLP_FORMULA RealMask operator~(RealMask a) { return {!a.bit}; }
  friend FASTMLP_FORMULA bool any(RealMask a) { return a.bit; }
};

template <class T>
struct Real {
  T value;

  Real() = default;  // uninitialised
  template <class Number, class = std::enable_if_t<std::is_arithmetic_v<Number>>>
  FASTMLP_FORMULA Real(Number number) : value(static_cast<T>(number)) {}

  friend FASTMLP_FORMULA Real operator+(Real a, Real b) { return a.value + b.value; }
  friend FASTMLP_FORMULA Real operator-(Real a, Real b) { return a.value - b.value; }
  friend FASTMLP_FORMULA Real operator*(Real a, Real b) { return a.value * b.value; }
  friend FASTMLP_FORMULA Real operator/(Real a, Real b) { return a.value / b.value; }
  friend FASTMLP_FORMULA Real operator-(Real a) { return -a.value; }
  FASTMLP_FORMULA Real& operator+=(Real b) { return *this = *this + b; }
  FASTMLP_FORMULA Real& operator-=(Real b) { return *this = *this - b; }
  FASTMLP_FORMULA Real& operator*=(Real b) { return *this = *this * b; }

  friend FASTMLP_FORMULA RealMask operator<(Real a, Real b) { return {a.value < b.value}; }
  friend FASTMLP_FORMULA RealMask operator<=(Real a, Real b) { return {a.value <= b.value}; }
  friend FASTMLP_FORMULA RealMask operator>(Real a, Real b) { return {a.value > b.value}; }
  friend FASTMLP_FORMULA RealMask operator>=(Real a, Real b) { return {a.value >= b.value}; }
  friend FASTMLP_FORMULA RealMask operator==(Real a, Real b) { return {a.value == b.value}; }
  friend FASTMLP_FORMULA Real select(RealMask mask, Real if_true, Real if_false) {
    return mask.bit ? if_true.value : if_false.value;
  }

  friend FASTMLP_FORMULA Real fma(Real a, Real b, Real c) { return math::fma(a.value, b.value, c.value); }
  friend FASTMLP_FORMULA Real fnma(Real a, Real b, Real c) { return math::fma(-a.value, b.value, c.value); }
  friend FASTMLP_FORMULA Real min(Real a, Real b) { return a.value < b.value ? a.value : b.value; }
  friend FASTMLP_FORMULA Real max(Real a, Real b) { return a.value > b.value ? a.value : b.value; }
  friend FASTMLP_FORMULA Real abs(Real a) { return math::fabs(a.value); }
  friend FASTMLP_FORMULA Real sqrt(Real a) { return math::sqrt(a.value); }
  friend FASTMLP_FORMULA Real exp(Real a) { return math::exp(a.value); }
  friend FASTMLP_FORMULA Real expm1(Real a) { return math::expm1(a.value); }
  friend FASTMLP_FORMULA Real log(Real a) { return math::log(a.value); }
  friend FASTMLP_FORMULA Real log1p(Real a) { return math::log1p(a.value); }
  friend FASTMLP_FORMULA Real tanh(Real a) { return math::tanh(a.value); }
  friend FASTMLP_FORMULA Real normal_cdf(Real a) { return math::normal_cdf(a.value); }

  friend FASTMLP_FORMULA Real ratio(Real a, Real b) { return math::ratio(a.value, b.value); }

  // log(shift + a) for a shift of 0 or 1.
  friend FASTMLP_FORMULA Real log_shifted(Real shift, Real a) {
    return shift.value == T(0) ? math::log(a.value) : math::log1p(a.value);
  }
  // 1 / (1 + exp(-a)), whose exponential cannot overflow.
  friend FASTMLP_FORMULA Real sigmoid(Real a) {
    const Real e = exp(-abs(a));
    return ratio(select(a < Real(0), e, Real(1)), Real(1) + e);
  }
  // log(sigmoid(a)) = -softplus(-a)
  friend FASTMLP_FORMULA Real log_sigmoid(Real a) { return min(Real(-T(0)), a) - log1p(exp(-abs(a))); }
};

}  // namespace fastmlp::cuda
