// The dense strategy: operation by operation, each affine one a product of matrices with its epilogue.
#pragma once

#include "core/strategies/dense/buffers.h"
#include "core/strategies/dense/pointwise.h"
#include "core/strategies/dense/weight_columns.h"
#include "core/strategies/runner.h"

namespace fastmlp {

template <class T>
class DenseRunner : public Runner<T> {
 public:
  explicit DenseRunner(const Program<T>& program);

  Strategy strategy() const override { return Strategy::Dense; }
  void forward(const Batch<T>& batch, const DropoutState* dropout, T* y) override;
  double loss(const LossSpec& spec, const Batch<T>& batch, bool gradient) override;
  void backward(const T* dy, T* dx, Optimizer<T>* fused) override;
  // From now on with no thread beside the caller's.
  void run_alone() { alone_ = true; }
  // Backward for the input alone; the parameters' gradients stay as they are.
  void backward_to_input(const T* dy, T* dx);
  // Backward for some weights, of each row by itself: rows x weights.count(), on the host.
  void backward_to_rows(const T* dy, const WeightColumns<T>& weights, T* rows);
  // Takes the place of a forward pass: row i is row ids[i] of the other runner's last one, in evaluation mode.
  void repeat_pass(DenseRunner& other, const Index* ids);
  double step(const LossSpec& spec, const Batch<T>& batch, const DropoutState* dropout, Optimizer<T>* fused) override;
  Batch<T> consecutive(const Batch<T>& batch) override;
  double evaluate(const LossSpec& spec, const Batch<T>& batch) override;
  std::size_t bytes() const override;

 protected:
  using Runner<T>::program_;
  using Runner<T>::kernels;
  using Runner<T>::device;
  using Runner<T>::rows_;

  void lay_out() override;
  Context context() override;
  // A batch given by row numbers, as consecutive rows.
  Batch<T> gather(const Batch<T>& batch);
  // The same for a step, which may leave the choice of x's rows to the first product, and that of the targets' to the head.
  Batch<T> gather_for_step(const Batch<T>& batch, LossKind loss);
  void reserve_rows(const Batch<T>& batch, int head);
  // The number of the last affine operation, where the backend takes it together with the loss; else the program's size.
  int head_of(LossKind loss) const;
  // A training step on rows that gather_for_step has made ready, its loss into partial_.
  void enqueue_step(const LossSpec& spec, const Batch<T>& rows, const DropoutState* dropout, Optimizer<T>* fused);
  void copy(const T* from, Index n, T* to) const;
  void count_changes() const;
  const Buffer<T>& memory() const { return memory_; }

  const Replay* replay_ = nullptr;  // of the step that is being enqueued
  Buffer<unsigned char> scratch_;
  Buffer<T> batch_x_, batch_targets_, batch_weights_;
  Buffer<Index> batch_classes_;

 private:
  Batch<T> gathered(const Batch<T>& batch, bool with_x);
  bool product_chooses_rows(int head);

  // Of one pass, beside the runner.
  struct Gradients;

  Index width(int value) const { return program_.width(value) < 0 ? this->columns_ : program_.width(value); }
  const Operation<T>& operation(int i) const { return program_.operations()[static_cast<std::size_t>(i)]; }
  const T*& value(int number) { return values_[static_cast<std::size_t>(number)]; }
  // At a pass's end: what could not be launched is this pass's error, and no later call's.
  void check_launches() const {
    if (!device().host) check(device().launch_problem());
  }
  // Of the program's first `operations` ones; in inference the last one writes to y.
  void run_forward(const Batch<T>& batch, const DropoutState* dropout, int operations, T* y);
  void enqueue_loss(const LossSpec& spec, const Targets<T>& targets, bool gradient);
  void head_forward(int i, const LossSpec& spec, const Batch<T>& batch, const Context& context);
  PointwiseArgs<T> pointwise_args(int i, const Context& context);
  // What the derivative of an affine operation's activation is formed from.
  const T* saved_by(int i);
  void affine_forward(int i, T* y, const Context& context);
  void affine_backward(const BackwardStep& step, Gradients& gradients, Optimizer<T>* fused, const Context& context);
  void pointwise_to_rows(const BackwardStep& step, const Gradients& gradients, const Context& context);
  void run_backward(Gradients gradients, Optimizer<T>* fused);

  bool alone_ = false;
  const ForwardBuffers forward_buffers_;
  const BackwardBuffers backward_buffers_[3];  // without and with the input's gradient; for grouped weights' gradients

  Buffer<T> memory_;
  std::vector<Index> outputs_;   // offsets in memory_ of each operation's output,
  std::vector<Index> z_;         // and of the input of its activation, where that is saved,
  std::vector<Index> kept_;      // and of what its rule keeps for the backward pass,
  std::vector<Index> gradient_;  // and of the buffers for gradients
  bool groups_ = false;          // the weights' gradients, at the end of a backward pass
  Index result_ = 0;             // of the output's gradient; in evaluation, of the output

  // The pass.
  std::vector<const T*> values_;
  std::vector<AffineBackwardWeight<T>> grouped_;
  bool x_chosen_ = false;
  const Index* x_ids_ = nullptr;
  DropoutState dropout_;
  bool drops_ = false;
  bool logits_ = false;  // the loss's gradient is with respect to the input of the last activation
};

}  // namespace fastmlp
