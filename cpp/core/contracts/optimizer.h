// How an optimizer changes a parameter, and where a gradient goes. The formulas are in ops/optimizers.h.
#pragma once

#include "core/types.h"

namespace fastmlp {

// The rule and the constants of one step.
struct Update {
  UpdateKind kind = UpdateKind::SGD;
  ops::UpdateConstants constants;
  double momentum_product = 1;  // NAdam: of the momenta of all steps up to this one
};

// Rates of steps to come, of each step the one that lies `stride` behind the last; null: none.
struct StepRates {
  const double* first = nullptr;
  std::ptrdiff_t stride = 0;

  explicit operator bool() const { return first; }
  double operator[](std::ptrdiff_t step) const { return first[step * stride]; }
};

// What it changes: the values of a parameter and up to three states of as many values; those that the rule does not use
// are null.
template <class T>
struct UpdateTarget {
  T* value = nullptr;
  T* state[3] = {nullptr, nullptr, nullptr};

  bool operator==(const UpdateTarget&) const = default;
};

// What becomes of a parameter's gradient: added to or written into `grad`, or, with `update`, used up at once (`grad`
// may then be null unless the kernel needs it for partial sums, see weight_update_needs_grad), or, without both, not
// wanted.
template <class T>
struct GradientSink {
  T* grad = nullptr;
  bool accumulate = false;
  const Update* update = nullptr;
  UpdateTarget<T> target;

  FASTMLP_IN_KERNELS bool wanted() const { return grad || update; }
};

}  // namespace fastmlp
