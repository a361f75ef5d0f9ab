// The sliced strategy: the dense one for training with many rows. A batch is cut into slices of rows, each of which one
// thread takes forward and backward while it is in its cache, and waits for nobody. Slices form parts, the unit of
// threading, each with sums of its own for the gradients; these are added in order, so that threads change nothing.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/strategies/dense/dense_runner.h"

namespace fastmlp {

// How a batch is cut; its last slice, and its last part, may be smaller than the others.
struct SlicePlan {
  Index rows = 0;  // of a slice
  Index slices = 0, slices_per_part = 0, parts = 0;
};

template <class T>
class SlicedRunner final : public DenseRunner<T> {
 public:
  explicit SlicedRunner(const Program<T>& program) : DenseRunner<T>(program) {}

  // Whether rows can be taken a few at a time: none depends on another.
  static bool can_run(const Program<T>& program);
  // Whether that pays for batches of so many rows.
  static bool is_preferred(const Program<T>& program, Index rows);

  Strategy strategy() const override { return Strategy::Sliced; }
  void forward(const Batch<T>& batch, const DropoutState* dropout, T* y) override;
  double loss(const LossSpec& spec, const Batch<T>& batch, bool gradient) override;
  void backward(const T* dy, T* dx, Optimizer<T>* fused) override;
  double step(const LossSpec& spec, const Batch<T>& batch, const DropoutState* dropout, Optimizer<T>* fused) override;
  double evaluate(const LossSpec& spec, const Batch<T>& batch) override;
  std::size_t bytes() const override;

 private:
  using Runner<T>::program_;
  using Runner<T>::kernels;
  using Runner<T>::rows_;
  using Runners = std::vector<std::unique_ptr<DenseRunner<T>>>;

  void lay_out() override;
  Index rows_of(Index slice) const;
  Batch<T> slice_of(const Batch<T>& batch, Index slice) const;
  std::optional<DropoutState> dropout_of(const DropoutState* whole, Index slice) const;
  // Number `i` of these, ready for so many rows.
  DenseRunner<T>& runner_for(Runners& runners, Index i, Index rows);
  DenseRunner<T>& with_sums(DenseRunner<T>& runner, Index slice);
  // body(slice, worker) for every slice, in order within a part, on up to `threads` threads; the sum of what it returns.
  template <class Body>
  double for_slices(int threads, const Body& body);
  void add_sums();
  // Sends the sums of all parts to the parameters.
  void finish(Optimizer<T>* fused);

  SlicePlan plan_;
  Index sums_size_ = 0;  // of a part
  Buffer<T> sums_;
  std::vector<double> losses_;  // of each part
  // A step has a runner for each thread, and one for the last slice, which is in front. A pass that is taken half by half
  // has one for each slice.
  Runners of_steps_, of_passes_;
};

}  // namespace fastmlp
