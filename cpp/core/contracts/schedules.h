// Rates along a cosine, in torch's recursive form: how one follows from the one before it.
#pragma once

#include "core/types.h"

namespace fastmlp {

// Step n has the rate (lr - least) h(n) / h(n - 1) + least, h(n) = 1 + cos(pi n / period); but lr + rise in step `up`, which
// leaves the lowest point, and in every 2 period-th after it.
struct CosineSteps {
  double lr;  // before the first step
  double least, rise;
  Index period, up;
  Index first;  // the first step's number
};

}  // namespace fastmlp
