// Options of steps to come, which a schedule has computed ahead.
#pragma once

#include <algorithm>
#include <limits>
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
  // Of one entry after the other the rates and the momenta of all groups; without momenta they are as they are. An entry
  // holds for `repeat` steps.
  PlannedOptions(std::vector<double> rates, std::vector<double> momenta, Index groups, Index repeat)
      : rates_(std::move(rates)),
        momenta_(std::move(momenta)),
        groups_(groups),
        repeat_(repeat),
        steps_(static_cast<Index>(rates_.size()) / groups * repeat) {}

  bool empty() const { return steps_ == 0; }
  Index used() const { return used_; }
  Index left() const { return steps_ - used_; }
  void use(Index steps) { used_ += steps; }

  // What holds for a group in a step, counted from the next one; negative numbers: in one of the last.
  ScheduledOptions at(Index step, std::size_t group) const {
    const std::size_t place = place_of(step, group);
    return {rates_[place], momenta_.empty() ? std::numeric_limits<double>::quiet_NaN() : momenta_[place]};
  }
  // Of the first group, in the last step of each of the last epochs; an entry holds for a step, or for an epoch.
  StepRates last_rates(Index epochs, Index steps) const {
    const std::size_t first = place_of(-1 - (epochs - 1) * steps, 0);
    return {rates_.data() + first, epochs == 1 ? 0 : groups_ * std::max<Index>(1, steps / repeat_)};
  }
  // The rates of a group in the next steps, where they are all that the plan changes, by step or not at all; or null.
  StepRates rates_alone(std::size_t group, Index steps) const {
    if (empty() || !momenta_.empty() || (repeat_ != 1 && used_ % repeat_ + steps > repeat_)) return {};
    return {rates_.data() + place_of(0, group), repeat_ == 1 ? groups_ : 0};
  }

 private:
  std::size_t place_of(Index step, std::size_t group) const {
    const Index number = used_ + step, entry = repeat_ == 1 ? number : number / repeat_;
    return static_cast<std::size_t>(entry * groups_) + group;
  }

  std::vector<double> rates_, momenta_;
  Index groups_ = 1, repeat_ = 1, steps_ = 0, used_ = 0;
};

// Brings them into the options of a group.
void schedule(OptimizerKind kind, const ScheduledOptions& values, OptimizerOptions& options);

}  // namespace fastmlp
