// 1 + cos(x) of many x, which schedules need once a step of a tiny network, and the rates that follow from one another.
//
// With FMA, the cosine has an error of at most 0.51 units in the last place, and where the sum is below 1/4, so that such
// an error would count, it rounds as the C library's: that is asked where its own errors, of at most 0.52 units in glibc,
// could lead to another number. The sum is then within 4.5e-16 of the C library's, relatively, and mostly equal.
// tests/test_cosines.cpp checks this.
#pragma once

#include "cpu/isa.h"
#include FASTMLP_ISA_HEADER
#include "cpu/loops.h"

namespace fastmlp::FASTMLP_ISA_NS {

namespace cosines {

// An unevaluated sum, whose second part is small beside the first.
template <class V>
struct Pair {
  V high, low;
};

template <class V>
FASTMLP_INLINE Pair<V> squared(Pair<V> a) {
  const V square = a.high * a.high;
  return {square, fma(a.high + a.high, a.low, fma(a.high, a.high, -square))};
}
// Times a number that is given as such a sum.
template <class V>
FASTMLP_INLINE Pair<V> times(Pair<V> a, double high, double low) {
  const V product = a.high * V(high);
  return {product, fma(a.low, high, fma(a.high, low, fma(a.high, high, -product)))};
}

// x = n pi / 2 + the rest, which is at most pi / 4, for |x| < 2^20: the first difference is exact. Also gives n's bits.
template <class V>
FASTMLP_INLINE Pair<V> reduced(V x, Words& bits) {
  constexpr double shift = 0x1.8p52, two_by_pi = 0x1.45f306dc9c883p-1;
  constexpr double half_pi = 0x1.921fb54442d18p0, half_pi_low = 0x1.1a62633145c07p-54,
                   half_pi_rest = -0x1.f1976b7ed8fbcp-110;
  const V shifted = fma(x, two_by_pi, shift), n = shifted - shift;
  bits = Words(shifted.reg);
  const V first = fnma(n, half_pi, x), part = n * half_pi_low, high = first - part;
  const V low = ((first - high) - part) - fma(n, half_pi_low, -part);
  return {high, fnma(n, half_pi_rest, low)};
}

// Taylor's series for |r| <= pi / 4: the terms that count for the last place as sums of two numbers.
template <class V>
FASTMLP_INLINE Pair<V> cosine(Pair<V> r) {
  const Pair<V> z = squared(r), z2 = squared(z), fourth = times(z2, 0x1.5555555555555p-5, 0x1.5555555555555p-59);
  const V later = fma(z2.high, fma(z.high, 1 / 479001600.0, -1 / 3628800.0), fma(z.high, 1 / 40320.0, -1 / 720.0));
  const V last = fma(z.high, 1 / 20922789888000.0, -1 / 87178291200.0);
  const V tail = fma(z.high * z2.high, fma(z2.high * z2.high, last, later), fourth.low);
  const V one = fnma(0.5, z.high, 1.0), one_low = fnma(0.5, z.high, 1.0 - one);  // 1 - r^2 / 2
  const V sum = one + fourth.high;
  return {sum, ((one - sum) + fourth.high) + (one_low + fnma(0.5, z.low, tail))};
}
template <class V>
FASTMLP_INLINE Pair<V> sine(Pair<V> r) {
  const Pair<V> z = squared(r);
  const V z2 = z.high * z.high, power = z.high * r.high;
  const Pair<V> cube{power, fma(z.high, r.low, fma(z.low, r.high, fma(z.high, r.high, -power)))};
  const Pair<V> third = times(cube, -0x1.5555555555555p-3, -0x1.5555555555555p-57);
  const V later = fma(z2, fma(z.high, -1 / 39916800.0, 1 / 362880.0), fma(z.high, -1 / 5040.0, 1 / 120.0));
  const V last = fma(z2, 1 / 355687428096000.0, fma(z.high, -1 / 1307674368000.0, 1 / 6227020800.0));
  const V tail = fma(power * z.high, fma(z2 * z2, last, later), third.low);
  const V sum = r.high + third.high;
  return {sum, ((r.high - sum) + third.high) + (r.low + tail)};
}

template <class V>
FASTMLP_INLINE V with_bits(Words bits) {
  return V::of(decltype(V::reg)(bits));
}

template <class T>
FASTMLP_INLINE T library_height(T x) {
  return 1 + __builtin_cos(x);
}
template <class T>
FASTMLP_NOINLINE void ask_library(Index n, const T* x, const T* low, const T* high, T* out) {
  for (Index i = 0; i < n; ++i) out[i] = low[i] == high[i] ? low[i] : library_height(x[i]);
}

template <class T>
FASTMLP_INLINE void heights(Index count, const T* x, T* out) {
  using V = Vec<T>;
  if constexpr (V::lanes == 1) {  // and no FMA
    for (Index i = 0; i < count; ++i) out[i] = library_height(x[i]);
  } else {
    for_vectors<T>(count, [&](Index i, auto part) {
      const V angle = load(x + i, part);
      Words n;
      const Pair<V> rest = reduced(angle, n);
      const Words one = Words(V(1.0).reg);
      const Mask<T> odd = with_bits<V>((n << 63) | one) < V(0.0);
      Pair<V> value;
      if (!any(odd)) {  // neighbours mostly lie in one quadrant
        value = cosine(rest);
      } else {
        value = sine(rest);
        if (any(~odd)) {
          const Pair<V> even = cosine(rest);
          value = {select(odd, value.high, even.high), select(odd, value.low, even.low)};
        }
      }
      const Words sign = ((n + 1) & 2) << 62;
      const V high = with_bits<V>(Words(value.high.reg) ^ sign), low = with_bits<V>(Words(value.low.reg) ^ sign);
      // 0.025 units in the last place, or up to twice as much.
      V doubt = select(high < V(-0.75), V(-0.025 * 0x1p-52) * high, V(0.0));
      doubt = select(abs(angle) < V(0x1p20), doubt, V(__builtin_nan("")));
      const V least = 1.0 + (high + (low - doubt)), most = 1.0 + (high + (low + doubt));
      store(out + i, least, part);
      if (__builtin_expect(any(~(least == most)), false)) {
        T all[3][V::lanes];
        angle.store(all[0]);
        least.store(all[1]);
        most.store(all[2]);
        ask_library(lanes_of<T>(part), all[0], all[1], all[2], out + i);
      }
    });
  }
}

}  // namespace cosines

FASTMLP_NOINLINE inline void cosine_heights(Index count, const double* x, double* out) {
  cosines::heights(count, x, out);
}

// A rate waits for the one before it: meanwhile the processor comes to the heights of the next ones, if they are near.
FASTMLP_NOINLINE inline void cosine_rates(CosineSteps steps, Index count, double* out) {
  constexpr int most = 16;
  constexpr double pi = 0x1.921fb54442d18p1;
  const double period = static_cast<double>(steps.period);
  double angles[most], heights[most + 1];
  angles[0] = pi * static_cast<double>(steps.first - 1) / period;
  cosine_heights(1, angles, heights);
  for (; count > 0; count -= most, out += most, steps.first += most) {
    const int n = static_cast<int>(smaller(count, most));
    const double step = static_cast<double>(steps.first);
    for (int i = 0; i < most; ++i) angles[i] = pi * (step + i) / period;
    cosines::heights<double>(most, angles, heights + 1);
    for (int i = 0; i < n; ++i) out[i] = heights[i + 1] / heights[i];
    heights[0] = heights[n];
    double lr = steps.lr;
    const bool goes_up = steps.first <= steps.up && steps.up < steps.first + n, to_zero = steps.least == 0;
    if (to_zero && !goes_up) {
      for (int i = 0; i < n; ++i) out[i] = lr = out[i] * lr;
    } else if (!goes_up) {
      for (int i = 0; i < n; ++i) out[i] = lr = out[i] * (lr - steps.least) + steps.least;
    } else {
      for (int i = 0; i < n; ++i) {
        const bool up = steps.first + i == steps.up;
        if (up) steps.up += 2 * steps.period;
        out[i] = lr = up ? lr + steps.rise : out[i] * (lr - steps.least) + steps.least;
      }
    }
    steps.lr = lr;
  }
}

}  // namespace fastmlp::FASTMLP_ISA_NS
