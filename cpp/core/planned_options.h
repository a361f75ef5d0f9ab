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
  Index used() const { return entry_ * repeat_ + within_; }
  Index left() const { return steps_ - used(); }
  void use(Index steps) {
    const Index number = within_ + steps, entries = entries_in(number);
    entry_ += entries;
    within_ = number - entries * repeat_;
  }

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
  // The rates of a group in the next steps, where they change by step or not at all; or null.
  StepRates rates(std::size_t group, Index steps) const { return those_of(rates_, group, steps); }
  // Likewise its momenta; null, too, where the plan leaves them as they are.
  StepRates momenta(std::size_t group, Index steps) const { return those_of(momenta_, group, steps); }
  bool sets_momenta() const { return !momenta_.empty(); }

 private:
  StepRates those_of(const std::vector<double>& values, std::size_t group, Index steps) const {
    if (empty() || values.empty() || (repeat_ != 1 && within_ + steps > repeat_)) return {};
    return {values.data() + place_of(0, group), repeat_ == 1 ? groups_ : 0};
  }
  std::size_t place_of(Index step, std::size_t group) const {
    return static_cast<std::size_t>((entry_ + entries_in(within_ + step)) * groups_) + group;
  }
  // Of so many steps from an entry's beginning on, or back from there: a division takes as long as a good part of a step.
  Index entries_in(Index steps) const {
    if (repeat_ == 1) return steps;
    if (0 <= steps && steps < repeat_) return 0;
    if (steps == repeat_) return 1;
    return steps > 0 ? steps / repeat_ : -((repeat_ - 1 - steps) / repeat_);
  }

  std::vector<double> rates_, momenta_;
  Index groups_ = 1, repeat_ = 1, steps_ = 0;
  Index entry_ = 0, within_ = 0;  // the one that holds, and for how many steps it has held
};

// Brings them into the options of a group; returns whether that changes any.
bool schedule(OptimizerKind kind, const ScheduledOptions& values, OptimizerOptions& options);

}  // namespace fastmlp
