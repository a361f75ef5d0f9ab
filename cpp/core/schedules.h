// Rates of schedules, many steps at once, into `out`. Each rounds as torch's formula does, step by step: a rate often follows from the
// one before it, which something else may have changed. `first` is the number of the first step. Cosines are those of
// Isa::cosine_heights.
#pragma once

#include <span>

#include "core/types.h"

namespace fastmlp::schedules {

using Rates = std::span<double>;

// Times `gamma` at each step.
void exponential(Rates out, double lr, double gamma);
// Times `gamma` at each multiple of `size`.
void stepwise(Rates out, double lr, double gamma, Index size, Index first);
// From `start` times the initial rate to `end` times it, in `total` steps.
void linear(Rates out, double lr, double start, double end, Index total, Index first);
// Down to `least` along half a cosine of `period` steps, and up again. `base` is the initial rate.
void cosine(Rates out, double lr, double base, double least, Index period, Index first);
// From `base` to `least` along half a cosine of `period` steps, of which `first` are done, then anew with a period that is `factor`
// times as long, and so on.
void restarts(Rates out, double base, double least, Index first, Index period, Index factor);
// 1 + cos(pi (step - start) / length), from 2 down to 0; 0 where there is no length.
void annealing_heights(Rates out, double start, double length, Index first);

}  // namespace fastmlp::schedules
