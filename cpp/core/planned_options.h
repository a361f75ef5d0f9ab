// Options of steps to come, which a schedule has computed ahead.
#pragma once

#include <vector>

#include "core/optimizer_options.h"

namespace fastmlp {

// What a schedule sets of one group.
struct ScheduledOptions {
  double lr = 0;
  double momentum = 0;  // of rules with betas the first of them; NaN: as it is
};

class PlannedOptions {
 public:
  PlannedOptions() = default;
  // `values`: of one entry after the other those of all groups. An entry holds for `repeat` steps.
  PlannedOptions(std::vector<ScheduledOptions> values, Index groups, Index repeat)
      : values_(std::move(values)),
        groups_(groups),
        repeat_(repeat),
        steps_(static_cast<Index>(values_.size()) / groups * repeat) {}

  bool empty() const { return steps_ == 0; }
  Index used() const { return used_; }
  Index left() const { return steps_ - used_; }
  void use(Index steps) { used_ += steps; }

  // What holds for a group in a step, counted from the next one; negative numbers: in one of the last.
  const ScheduledOptions& at(Index step, std::size_t group) const {
    const Index number = used_ + step, entry = repeat_ == 1 ? number : number / repeat_;
    return values_[static_cast<std::size_t>(entry * groups_) + group];
  }

 private:
  std::vector<ScheduledOptions> values_;
  Index groups_ = 1, repeat_ = 1, steps_ = 0, used_ = 0;
};

// Brings them into the options of a group.
void schedule(OptimizerKind kind, const ScheduledOptions& values, OptimizerOptions& options);

}  // namespace fastmlp
