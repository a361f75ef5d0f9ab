// The device strategy: the dense one, and many training steps without host round trips. A tiny network, or a group of them,
// runs all of them in one launch, a block for each network, and some larger ones do on all blocks (device_runner.cpp);
// others run a step that is recorded once and replayed (replay.cpp), with everything that changes from step to step in the
// device's memory.
#pragma once

#include "core/strategies/dense/dense_runner.h"

namespace fastmlp {

template <class T>
class DeviceRunner final : public DenseRunner<T> {
 public:
  explicit DeviceRunner(const Program<T>& program);
  ~DeviceRunner() override;

  Strategy strategy() const override { return Strategy::Device; }
  void forward(const Batch<T>& batch, const DropoutState* dropout, T* y) override;
  void steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows, DropoutState dropout,
             Optimizer<T>& optimizer, double* losses, PendingDownload* later = nullptr) override;
  bool group_steps(const LossSpec& spec, Index count, bool same_rows, const std::vector<GroupMember<T>>& members,
                   double* losses, PendingDownload* later = nullptr) override;

 private:
  using Runner<T>::program_;
  using Runner<T>::kernels;
  using Runner<T>::device;
  using Runner<T>::rows_;

  bool predict_at_once(const Batch<T>& batch, T* y);
  void upload_parameters(const std::vector<GroupMember<T>>& members);
  void upload_rows(const std::vector<GroupMember<T>>& members);
  void upload_updates(const std::vector<Update>& updates);
  void replay_steps(const LossSpec& spec, const Batch<T>& batch, Index count, Replay replay,
                    const DropoutState& dropout, Optimizer<T>& optimizer);
  void give_losses(std::size_t count, double* losses, PendingDownload* later);
  Index many_steps() const;
  void forget_recordings();
  // Everything that a recorded kernel has in its arguments, but for the loss.
  std::vector<std::uintptr_t> recording_key(const Batch<T>& batch, const Replay& replay, const DropoutState& dropout,
                                            Optimizer<T>& optimizer) const;

  static constexpr Index kFewSteps = 8;
  // Steps that a replay runs; null: not recorded.
  struct Recording {
    void* replayed = nullptr;
    Index steps = 0;
  };

  std::vector<LanesLayer<T>> layers_;  // of a prediction in one launch
  Buffer<std::uint64_t> begin_;        // of a call: see Replay::first; then dropout's step
  Buffer<Update> updates_;
  Buffer<double> losses_;
  Buffer<UpdateTarget<T>> parameters_;  // of a training in one block
  std::vector<UpdateTarget<T>> uploaded_;
  Buffer<SingleBlockRows<T>> block_rows_;
  std::vector<SingleBlockRows<T>> uploaded_rows_;
  Buffer<unsigned char> workspace_;       // of a training across blocks
  Recording recordings_[2];               // of many steps and of few
  std::vector<std::uintptr_t> recorded_;  // what they stand for
  LossSpec recorded_loss_;
};

}  // namespace fastmlp
