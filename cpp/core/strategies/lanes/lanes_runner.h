// The lanes strategy: a tiny network as a whole, batch rows in SIMD lanes. It runs chains of affine operations.
#pragma once

#include "core/strategies/runner.h"

namespace fastmlp {

template <class T>
class LanesRunner final : public Runner<T> {
 public:
  explicit LanesRunner(const Program<T>& program) : Runner<T>(program), memory_(program.device()) {}

  // Whether it can run the program, and whether the backend finds that it should.
  static bool can_run(const Program<T>& program);
  static bool is_preferred(const Program<T>& program, Index rows, bool training);
  // Elements of memory that a batch of so many rows takes in training.
  static Index memory_for(const Program<T>& program, Index rows);

  Strategy strategy() const override { return Strategy::Lanes; }
  void forward(const Batch<T>& batch, const DropoutState* dropout, T* y) override;
  double loss(const LossSpec& spec, const Batch<T>& batch, bool gradient) override;
  void backward(const T* dy, T* dx, Optimizer<T>* fused) override;
  double step(const LossSpec& spec, const Batch<T>& batch, const DropoutState* dropout, Optimizer<T>* fused) override;
  void steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows, DropoutState dropout,
             Optimizer<T>& optimizer, double* losses, PendingDownload* later = nullptr) override;
  double evaluate(const LossSpec& spec, const Batch<T>& batch) override;
  bool keeps_input() const override { return true; }
  void forget_optimizer() override { sinks_for_ = nullptr; }
  std::size_t bytes() const override { return (memory_.size() + packed_.size()) * sizeof(T); }

 private:
  using Runner<T>::program_;
  using Runner<T>::kernels;

  void lay_out() override;
  Context context() override;
  LanesArgs<T> args();
  LanesArgs<T> args(const LossSpec& spec, const Batch<T>& batch);
  void set_sinks(Optimizer<T>* fused);
  bool pack_parameters(const Optimizer<T>& optimizer);

  Buffer<T> memory_;
  LanesPlanStorage plan_;
  std::vector<LanesLayer<T>> layers_;
  bool logits_ = false;  // the loss's gradient is with respect to the input of the last activation
  // The optimizer that the layers' sinks are set for, and the slots of the parameters in it; see set_sinks.
  const Optimizer<T>* sinks_for_ = nullptr;
  std::vector<int> sink_slots_;
  // The parameters and their optimizer's states, brought together while many steps run in one call: four sections.
  Buffer<T> packed_;
  std::vector<LanesLayer<T>> packed_layers_;
};

}  // namespace fastmlp
