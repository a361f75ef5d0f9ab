#include "core/schedules.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fastmlp::schedules {

namespace {

using std::numbers::pi;

// The rates lr = next(step, lr), one after the other.
template <class Next>
void fill(Rates out, double lr, Index first, Next next) {
  for (double& rate : out) rate = lr = next(first++, lr);
}

double cosine_height(Index step, Index period) {
  return 1 + std::cos(pi * static_cast<double>(step) / static_cast<double>(period));
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
  fill(out, lr, first, [=, before = cosine_height(first - 1, period)](Index step, double lr) mutable {
    const double now = cosine_height(step, period), ratio = now / before;
    before = now;
    if (step != up) return ratio * (lr - least) + least;
    up += 2 * period;
    return lr + rise;
  });
}

void cosine_heights(Rates out, Index period, Index first) {
  fill(out, 0, first, [=](Index step, double) { return cosine_height(step, period); });
}

void annealing_heights(Rates out, double start, double length, Index first) {
  fill(out, 0, first, [=](Index step, double) {
    const double share = length == 0 ? 1 : (static_cast<double>(step) - start) / length;
    return std::cos(pi * share) + 1;
  });
}

}  // namespace fastmlp::schedules
