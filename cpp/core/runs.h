// A list of numbers that takes little memory where many neighbours are equal, as rates and times of epochs are: new memory
// for an epoch of a tiny network costs as much as a tenth of the epoch.
#pragma once

#include <algorithm>
#include <vector>

#include "core/contracts/optimizer.h"
#include "core/numbers.h"
#include "core/types.h"

namespace fastmlp {

class Runs {
 public:
  Runs() = default;
  explicit Runs(const std::vector<double>& values) {
    for (const double value : values) add(value);
  }

  void add(double value) {
    if (!stretches_.empty() && values_.back() != value) {
      Stretch& last = stretches_.back();
      if (last.count == 1) last.repeats = false;
      if (!last.repeats) return stretch(&value, 1);
    }
    repeat(value, 1);
  }
  void repeat(double value, Index count) {
    if (stretches_.empty() || !stretches_.back().repeats || values_.back() != value) {
      values_.push_back(value);
      stretches_.push_back({true, 0});
    }
    grow(count);
  }
  // For numbers that are not equal.
  void make_room(Index count) { values_.make_room(count); }
  // As many of them as `count`.
  void add(const StepRates& rates, Index count) {
    Index equal = rates.stride == 0 ? count : 1;
    while (equal < count && rates[equal] == rates[0]) ++equal;
    if (equal >= count) return repeat(rates[0], count);
    if (rates.stride == 1) return stretch(rates.first, count);
    for (Index i = 0; i < count; ++i) stretch(rates.first + i * rates.stride, 1);
  }

  std::size_t size() const { return static_cast<std::size_t>(size_); }
  void copy(double* to) const {
    const double* from = values_.data();
    for (const auto& [repeats, count] : stretches_) {
      to = repeats ? std::fill_n(to, count, *from) : std::copy_n(from, count, to);
      from += repeats ? 1 : count;
    }
  }
  std::vector<double> values() const {
    std::vector<double> all(size());
    copy(all.data());
    return all;
  }

 private:
  // Numbers of their own, or one that repeats.
  struct Stretch {
    bool repeats;
    Index count;
  };

  void stretch(const double* values, Index count) {
    values_.append(values, count);
    if (stretches_.empty() || stretches_.back().repeats) stretches_.push_back({false, 0});
    grow(count);
  }
  void grow(Index count) {
    stretches_.back().count += count;
    size_ += count;
  }

  Numbers values_;  // of one stretch after the other
  std::vector<Stretch> stretches_;
  Index size_ = 0;
};

}  // namespace fastmlp
