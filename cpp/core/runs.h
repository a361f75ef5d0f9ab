// A list of numbers of which many neighbours are equal, such as the rates of epochs: it takes memory where they change.
// New memory for an epoch of a tiny network costs as much as a tenth of the epoch.
#pragma once

#include <algorithm>
#include <vector>

#include "core/types.h"

namespace fastmlp {

class Runs {
 public:
  Runs() = default;
  explicit Runs(const std::vector<double>& values) {
    for (const double value : values) add(value);
  }

  void add(double value, Index count = 1) {
    if (runs_.empty() || runs_.back().value != value) runs_.push_back({value, 0});
    runs_.back().count += count;
    size_ += count;
  }
  std::size_t size() const { return static_cast<std::size_t>(size_); }
  void copy(double* to) const {
    for (const Run& run : runs_) to = std::fill_n(to, run.count, run.value);
  }
  std::vector<double> values() const {
    std::vector<double> all(size());
    copy(all.data());
    return all;
  }

 private:
  struct Run {
    double value;
    Index count;
  };
  std::vector<Run> runs_;
  Index size_ = 0;
};

}  // namespace fastmlp
