// L-BFGS (Liu and Nocedal, 1989) with torch's steps, stopping rules and state.
#pragma once

#include "core/locks.h"
#include "core/second_order/curvature_pairs.h"
#include "core/second_order/whole_batch.h"

namespace fastmlp {

struct LbfgsOptions {
  double lr = 1;
  Index max_iter = 20, max_eval = 25;  // in a step
  double tolerance_grad = 1e-7, tolerance_change = 1e-9;
  Index history_size = 100;
  bool searches = false;  // for the length of an iteration's step (line_search.h)
};

template <class T>
class Lbfgs final : public WholeBatchMethod<T> {
 public:
  using typename WholeBatchMethod<T>::Evaluate;

  // Up to max_iter iterations.
  double step(std::vector<T>& x, const Evaluate& evaluate) override;

  // By torch's name, and "line_search" for 0 or 1.
  void set_option(const std::string& name, double value) override;

  // By torch's names, "old_dirs.<number>" and "old_stps.<number>" one by one; empty before a step.
  State state() const override;
  void set_state(const State& state) override;

 private:
  // What is kept from iteration to iteration.
  struct Memory {
    Index iterations = 0, evaluations = 0;
    SharedVector<T> direction;
    double length = 0;         // of the last step along it,
    SharedVector<T> gradient;  // and the gradient before that
    double loss = 0;           // and the loss
    CurvaturePairs<T> curvature;

    void remember(const std::vector<T>& gradient_now, Index most);
  };

  static Memory iterate(Memory memory, const LbfgsOptions& options, std::vector<T>& x, double loss,
                        SharedVector<T> gradient, const Evaluate& evaluate);
  LbfgsOptions options() const {
    const Locked locked(lock_);
    return options_;
  }

  mutable Lock lock_;  // of the options
  LbfgsOptions options_;
  Memory memory_;
};

}  // namespace fastmlp
