// scikit-learn's rule of when a training is over, and the loss with an L2 term that it goes by.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "core/types.h"

namespace fastmlp {

struct ConvergenceRule {
  double tol = 0;       // what falls by no more than this has not improved
  double patience = 0;  // epochs in a row without improvement, which may be infinite: one more ends the training
  bool of_losses =
      true;  // what has to fall; else it is only what `count` gets, and whoever calls that ends the training
  // The loss that is told is (loss + constant) / parts + penalty * s. s is the sum of the weights' squares before the epoch,
  // or, where they change within it, the mean of those before and after.
  double constant = 0, parts = 1, penalty = 0;
  bool changes_within = false;
};

// One for each training, whose thread alone may use it.
class Convergence {
 public:
  // `best` and `waited` are those of the training before, if this one goes on from it.
  Convergence(const ConvergenceRule& rule, std::function<double()> squares, double best, Index waited)
      : rule_(rule), squares_(std::move(squares)), best_(best), waited_(waited) {
    if (rule.penalty != 0) square_ = squares_();
  }

  // After an epoch: its mean loss. Returns whether the training ends.
  bool add(double loss) {
    double square = square_;
    if (rule_.penalty != 0) square_ = squares_();
    if (rule_.changes_within) square = (square + square_) / 2;
    losses_.push_back((loss + rule_.constant) / rule_.parts + rule_.penalty * square);
    if (!rule_.of_losses) return false;
    count(losses_.back());
    return static_cast<double>(waited_) > rule_.patience;
  }
  // After an epoch: a value that has to fall. One that is NaN is an improvement, but not the best value.
  void count(double value) {
    waited_ = value > best_ - rule_.tol ? waited_ + 1 : 0;
    best_ = std::min(best_, value);
  }
  // Begins to wait anew.
  void forgive() { waited_ = 0; }

  const std::vector<double>& losses() const { return losses_; }
  double best() const { return best_; }
  Index waited() const { return waited_; }  // epochs without improvement so far

 private:
  const ConvergenceRule rule_;
  const std::function<double()> squares_;
  double square_ = 0, best_;
  Index waited_;
  std::vector<double> losses_;  // as they are told, of all epochs
};

}  // namespace fastmlp
