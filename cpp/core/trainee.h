// One of the networks of a fit, while it lasts: its runners, and how it takes a step by itself.
#pragma once

#include <memory>

#include "core/clipping.h"
#include "core/host_mirror.h"
#include "core/thread_pool.h"
#include "core/trainer.h"

namespace fastmlp {

template <class T>
class TraineeState {
 public:
  // Rows of a whole batch, and of a short last one (0: there is none).
  struct Batches {
    Index rows, tail, columns;
  };

  TraineeState(const Trainee<T>& trainee, const Batches& batches, const FitOptions& options)
      : network(trainee.network),
        optimizer(trainee.optimizer),
        history(trainee.history),
        on_epoch(trainee.on_epoch),
        on_plan(trainee.on_plan),
        batches_(batches),
        options_(options),
        fused_(network.can_fuse() && options.max_grad == 0),
        first_step_(history.steps()),
        output_(network.device()) {
    for (const auto& parameter : network.parameters()) parameter->has_grad = false;
    // What can fail for want of memory comes before anything changes.
    optimizer.prepare();
    if (options.keep_gradient || !fused_ || network.device().host)
      for (const auto& parameter : network.parameters())
        if (parameter->requires_grad) parameter->grad_memory();
    if (options.max_grad > 0) clipper_ = std::make_unique<Clipper<T>>(network.device());
  }

  Network<T>& network;
  Optimizer<T>& optimizer;
  History& history;
  const std::function<bool(Index, double, const double*)>& on_epoch;
  const std::function<void(Index)>& on_plan;
  double loss_sum = 0;    // of the epoch's steps so far, times their rows where they are means
  double epoch_loss = 0;  // then

  // Whether the optimizer uses gradients up within the backward pass.
  bool fused() const { return fused_; }
  DropoutState dropout() const { return {options_.seed, static_cast<std::uint64_t>(history.steps())}; }

  // Takes memory for steps, unless it has.
  void acquire() {
    if (!whole_) whole_ = network.acquire(batches_.rows, batches_.columns, true);
    if (!tail_ && batches_.tail > 0) tail_ = network.acquire(batches_.tail, batches_.columns, true);
  }
  Runner<T>& runner(Index rows) {
    acquire();
    return rows == batches_.rows ? *whole_ : *tail_;
  }

  // Makes the options that were set take effect: states that the rule needs now are made, and pointers to them renewed.
  void take_options() {
    if (optimizer.take_options()) change_optimizer();
  }
  void change_optimizer() {
    optimizer.prepare();
    if (whole_) whole_->forget_optimizer();
    if (tail_) tail_->forget_optimizer();
  }

  // `count` fused steps; losses are one a step.
  void steps(const LossSpec& loss, Batch<T> batch, Index count, bool same_rows, double* losses) {
    batch.unchanged = same_rows && history.steps() > first_step_;
    runner(batch.rows).steps(loss, batch, count, same_rows, dropout(), optimizer, losses);
  }

  // A step that leaves its gradient with the parameters; returns the loss.
  double step_with_gradient(const LossSpec& loss, Batch<T> batch, bool same_rows) {
    batch.unchanged = same_rows && history.steps() > first_step_;
    forget_gradients();
    const DropoutState dropout = this->dropout();
    const double value = runner(batch.rows).step(loss, batch, &dropout, nullptr);
    update();
    return value;
  }

  // The same with a loss that is a function.
  double step_with_function(const LossFunction<T>& function, const Batch<T>& batch, const RowNumbers& rows) {
    forget_gradients();
    const DropoutState dropout = this->dropout();
    Runner<T>& own = runner(batch.rows);
    const Index size = batch.rows * out_columns(batches_.columns);
    output_.reserve(size);
    own.forward(own.consecutive(batch), &dropout, output_.memory(0));
    const double value = function(output_.to_host(0, size), rows, output_.host(1));
    own.backward(output_.to_device(1, size), nullptr, nullptr);
    update();
    return value;
  }

  // The loss of other data, in evaluation mode.
  double evaluate(const LossSpec& loss, const DataSet<T>& data) {
    if (!data.function) return network.evaluate(loss, data.x, data.targets, data.rows, data.columns, data.share());
    const Index size = data.rows * out_columns(data.columns);
    HostMirror<T> output(network.device());
    output.reserve(size);
    network.predict(data.x, data.rows, data.columns, nullptr, output.memory(0));
    return data.function(output.to_host(0, size), {nullptr, 0, data.rows}, nullptr);
  }

 private:
  Index out_columns(Index columns) const { return network.out_features() < 0 ? columns : network.out_features(); }
  void forget_gradients() {
    for (const auto& parameter : network.parameters()) parameter->has_grad = false;
  }
  // From the gradients that the parameters have.
  void update() {
    optimizer.begin_step();
    if (clipper_) clipper_->clip(network.parameters(), options_.max_grad);
    for (const auto& parameter : network.parameters())
      if (const int slot = optimizer.slot(parameter.get()); slot >= 0 && parameter->has_grad)
        optimizer.step_slot(slot, {thread_pool_executor(), nullptr, StreamScope::current()});
  }

  const Batches batches_;
  const FitOptions& options_;
  const bool fused_;
  const Index first_step_;
  std::unique_ptr<Clipper<T>> clipper_;
  typename Network<T>::Lease whole_, tail_;
  HostMirror<T> output_;  // and its gradient, for losses that are functions
};

}  // namespace fastmlp
