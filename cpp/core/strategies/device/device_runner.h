// The device strategy: the dense one, and many training steps without waiting for one before the next is on its way. A
// tiny network runs them as a whole in one launch (whole.cpp); others as a step that is recorded once and replayed, all
// that changes lying in the device's memory (replay.cpp).
#pragma once

#include "core/strategies/dense/dense_runner.h"

namespace fastmlp {

template <class T>
class DeviceRunner final : public DenseRunner<T> {
 public:
  explicit DeviceRunner(const Program<T>& program);
  ~DeviceRunner() override;

  Strategy strategy() const override { return Strategy::Device; }
  void steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows, DropoutState dropout,
             Optimizer<T>& optimizer, double* losses) override;

 private:
  using Runner<T>::program_;
  using Runner<T>::kernels;
  using Runner<T>::device;
  using Runner<T>::rows_;

  // Fills in the network's part of a whole training; whether there is one.
  bool describe_training(const LossSpec& spec, Optimizer<T>& optimizer, std::vector<LanesLayer<T>>& layers,
                         SingleBlockTraining<T>& args) const;
  void replay_steps(const LossSpec& spec, const Batch<T>& batch, Index count, Replay replay,
                    const DropoutState& dropout, Optimizer<T>& optimizer);
  // Everything that a recorded kernel has in its arguments, but for the loss.
  std::vector<std::uintptr_t> recording_key(const Batch<T>& batch, const Replay& replay, const DropoutState& dropout,
                                            Optimizer<T>& optimizer) const;

  Buffer<Index> first_;
  Buffer<std::uint64_t> counters_;  // dropout's step
  Buffer<Update> updates_;
  Buffer<double> losses_;
  void* recording_ = nullptr;
  std::vector<std::uintptr_t> recorded_;  // what it stands for
  LossSpec recorded_loss_;
};

}  // namespace fastmlp
