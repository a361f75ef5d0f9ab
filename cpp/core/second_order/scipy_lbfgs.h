// L-BFGS with SciPy's steps and stopping rules: those of L-BFGS-B (Zhu, Byrd, Lu and Nocedal, 1997) without bounds. A step
// is a whole minimisation, of the loss and half the weighted squares of the vector; in double precision alone.
#pragma once

#include "core/locks.h"
#include "core/second_order/whole_batch.h"

namespace fastmlp {

template <class T>
class ScipyLbfgs final : public WholeBatchMethod<T> {
 public:
  using typename WholeBatchMethod<T>::Evaluate;

  enum class Status : Index { Converged, Iterations, Evaluations, Abnormal };

  double step(std::vector<T>& x, const Evaluate& evaluate) override;

  // "max_iter" and "max_eval", and "tolerance_grad".
  void set_option(const std::string& name, double value) override;

  // "decay", the weights of the squares; and of the last step "n_iter" and "func_evals", "status", and the "loss" at its
  // end, with the squares.
  State state() const override;
  void set_state(const State& state) override;

 private:
  struct Options {
    Index max_iter = 15000, max_eval = 15000;
    double tolerance_grad = 1e-5;
  };
  struct Result {
    Index iterations = 0, evaluations = 0;
    Status status = Status::Converged;
    double loss = 0;
  };

  Result minimise(const Options& options, std::vector<T>& x, double loss, std::vector<T>& gradient,
                  const Evaluate& evaluate) const;
  // The squares' part of a loss, whose gradient is added.
  double squares(const std::vector<T>& x, std::vector<T>& gradient) const;
  Options options() const {
    const Locked locked(lock_);
    return options_;
  }

  mutable Lock lock_;  // of the options
  Options options_;
  std::vector<double> decay_;
  Result result_;
};

}  // namespace fastmlp
