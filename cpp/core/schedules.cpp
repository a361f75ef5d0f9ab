#include "core/schedules.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/backend.h"

namespace fastmlp::schedules {

namespace {

using std::numbers::pi;

constexpr Index kFar = Index{1} << 53;  // a step that is never reached

// The rates lr = next(step, lr), one after the other.
template <class Next>
void fill(Rates out, double lr, Index first, Next next) {
  for (double& rate : out) rate = lr = next(first++, lr);
}

// 1 + cos(angle(step)) of the steps from number `first` on.
template <class Angle>
void fill_heights(Rates out, Index first, const Angle& angle) {
  double angles[64];
  const auto cosine_heights = active_isa().cosine_heights;
  for (std::size_t begin = 0; begin < out.size(); begin += std::size(angles)) {
    const int count = static_cast<int>(std::min(std::size(angles), out.size() - begin));
    const double step = static_cast<double>(first + static_cast<Index>(begin));
    for (int i = 0; i < count; ++i) angles[i] = angle(step + i);
    cosine_heights(count, angles, out.data() + begin);
  }
}
void fill_cosine_heights(Rates out, Index first, Index period) {
  fill_heights(out, first, [period = static_cast<double>(period)](double step) { return pi * step / period; });
}

}  // namespace

void exponential(Rates out, double lr, double gamma) {
  fill(out, lr, 0, [=](Index, double lr) { return lr * gamma; });
}

void stepwise(Rates out, double lr, double gamma, Index size, Index first) {
  Index due = (first + size - 1) / size * size;
  if (due == 0) due = size;
  fill(out, lr, first, [=](Index step, double lr) mutable {
    if (step != due) return lr;
    due += size;
    return lr * gamma;
  });
}

void linear(Rates out, double lr, double start, double end, Index total, Index first) {
  const double rise = end - start, begin = static_cast<double>(total) * start;
  fill(out, lr, first, [=](Index step, double lr) {
    if (step > total) return lr;
    // On the way to 0 the last one may be a rounding error below it.
    return lr * std::max(0.0, 1.0 + rise / (begin + static_cast<double>(step - 1) * rise));
  });
}

void cosine(Rates out, double lr, double base, double least, Index period, Index first) {
  const double rise = (base - least) * (1 - std::cos(pi / static_cast<double>(period))) / 2;
  // The next step that goes up from the lowest point, where a ratio to it would be one to 0.
  Index up = period + 1;
  if (first > up) up += (first - up + 2 * period - 1) / (2 * period) * (2 * period);
  active_isa().cosine_rates({lr, least, rise, period, up, first}, static_cast<Index>(out.size()), out.data());
}

void restarts(Rates out, double base, double least, Index first, Index period, Index factor) {
  while (!out.empty()) {
    if (first >= period) {
      first %= period;
      period = period > kFar / factor ? kFar : period * factor;
    }
    const auto count = std::min(out.size(), static_cast<std::size_t>(period - first));
    const Rates own = out.first(count);
    fill_cosine_heights(own, first, period);
    for (double& rate : own) rate = least + (base - least) * rate / 2;
    out = out.subspan(count);
    first += static_cast<Index>(count);
    if (factor == 1 && count == static_cast<std::size_t>(period)) {
      // What follows are such periods, too, each a copy of the one before it.
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = own.data()[i];
      return;
    }
  }
}

void annealing_heights(Rates out, double start, double length, Index first) {
  if (length == 0) return std::fill(out.begin(), out.end(), std::cos(pi) + 1);
  fill_heights(out, first, [=](double step) { return pi * ((step - start) / length); });
}

}  // namespace fastmlp::schedules
