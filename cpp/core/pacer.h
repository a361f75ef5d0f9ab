// Says when a poll is due: every kPollSeconds or so, without a look at the clock in every step.
#pragma once

#include <algorithm>
#include <chrono>

#include "core/types.h"

namespace fastmlp {

inline constexpr double kPollSeconds = 0.05;

// It reads the clock once in a number of steps that it adapts to their length.
class Pacer {
 public:
  // The first look comes after so many steps.
  explicit Pacer(Index stride = 1) : stride_(stride) {}

  // Steps until the next look at the clock.
  Index patience() const { return std::max(stride_ - count_, Index{1}); }

  // Steps between two looks.
  Index stride() const { return stride_; }

  // Counts steps.
  bool due(Index steps) {
    count_ += steps;
    if (count_ < stride_) return false;
    count_ = 0;
    const Clock::time_point now = Clock::now();
    const double elapsed = std::chrono::duration<double>(now - last_look_).count();
    last_look_ = now;
    if (elapsed < kPollSeconds / 16) stride_ = std::min(stride_ * 2, Index{1} << 20);
    for (double length = elapsed; length > kPollSeconds / 4 && stride_ > 1; length /= 2) stride_ /= 2;
    if (std::chrono::duration<double>(now - last_poll_).count() < kPollSeconds) return false;
    last_poll_ = now;
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;

  Index count_ = 0, stride_;
  Clock::time_point last_look_ = Clock::now(), last_poll_ = last_look_;
};

}  // namespace fastmlp
