// One of the networks of a fit, while it lasts: its runners, and how it takes a step by itself.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "core/clipping.h"
#include "core/gradient_buckets.h"
#include "core/host_mirror.h"
#include "core/second_order/flat_parameters.h"
#include "core/thread_pool.h"
#include "core/trainer.h"

namespace fastmlp {

// A batch with the data set that it is of.
template <class T>
struct OwnBatch {
  const DataSet<T>* data;
  Batch<T> batch;
  RowNumbers rows;
  double share;

  static OwnBatch whole(const DataSet<T>& data) {
    return {&data, {data.x, data.targets, nullptr, data.rows}, {nullptr, 0, data.rows}, data.share()};
  }
};

template <class T>
class TraineeState {
 public:
  // Rows of a whole batch, and of a short last one (0: there is none).
  struct Batches {
    Index rows, tail, columns;
  };

  TraineeState(const Trainee<T>& trainee_, const DataSet<T>& data_, const DataSet<T>* validation_,
               const Batches& batches, const FitOptions& options)
      : trainee(trainee_),
        data(trainee_.data ? *trainee_.data : data_),
        validation(trainee_.validation ? trainee_.validation : validation_),
        seed(trainee_.seed.value_or(options.seed)),
        share(data.share()),
        network(trainee.network),
        optimizer(trainee.optimizer),
        history(trainee.history),
        batches_(batches),
        options_(options),
        fused_(network.can_fuse() && options.max_grad == 0 && options.accumulate == 1 && !trainee.exchange),
        first_step_(history.steps()),
        output_(network.device()) {
    for (const auto& parameter : network.parameters()) parameter->has_grad = false;
    // What can fail for want of memory comes before anything changes.
    optimizer.prepare();
    if (options.keep_gradient || !fused_ || network.device().host)
      for (const auto& parameter : network.parameters())
        if (parameter->requires_grad) parameter->grad_memory();
    if (trainee.early_stopping) trainee.early_stopping->prepare(network.program());
    if (options.max_grad > 0) clipper_ = std::make_unique<Clipper<T>>(network.device());
    if (Exchange* exchange = trainee.exchange)
      buckets_ = std::make_unique<GradientBuckets<T>>(network.program(), *exchange, options.bucket_bytes);
  }

  const Trainee<T>& trainee;
  const DataSet<T>& data;
  const DataSet<T>* const validation;  // null: none
  const std::uint64_t seed;
  const double share;  // of all rows
  Network<T>& network;
  Optimizer<T>& optimizer;
  History& history;
  double loss_sum = 0;    // of the epoch's batches so far, times their shares where they are means
  double epoch_loss = 0;  // then
  double validation_loss = 0;
  Index steps_ahead = 0;        // that are taken, or on their way, and that the history does not have yet
  std::vector<double> metrics;  // of the validation data

  // Whether the optimizer uses gradients up within the backward pass.
  bool fused() const { return fused_; }
  DropoutState dropout() const { return {seed, static_cast<std::uint64_t>(history.steps() + steps_ahead)}; }

  // Takes memory for steps, unless it has.
  void acquire() {
    if (!whole_) whole_ = network.acquire(batches_.rows, batches_.columns, true);
    if (!tail_ && batches_.tail > 0) tail_ = network.acquire(batches_.tail, batches_.columns, true);
  }
  Runner<T>& runner(Index rows) {
    acquire();
    if (rows == batches_.rows) return *whole_;
    if (rows != batches_.tail) {  // of batches that come one by one, of any size
      tail_.reset();
      tail_ = network.acquire(rows, batches_.columns, true);
      batches_.tail = rows;
    }
    return *tail_;
  }

  // Frees it.
  void discard() {
    for (auto* lease : {&whole_, &tail_}) delete lease->release();
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

  // `count` fused steps; losses are one a step, and may come later (see Runner).
  void steps(const LossSpec& loss, Batch<T> batch, Index count, bool same_rows, double* losses,
             PendingDownload* later) {
    batch.unchanged = same_rows && history.steps() > first_step_;
    runner(batch.rows).steps(loss, batch, count, same_rows, dropout(), optimizer, losses, later);
  }

  // Leaves a batch's gradient with the parameters; returns its loss. `share` is the sum of its rows' shares. After
  // `accumulate` batches the optimizer takes a step with the gradient of the loss over the rows of all of them.
  double step_with_gradient(const LossSpec& loss, Batch<T> batch, double share, bool same_rows) {
    batch.unchanged = same_rows && history.steps() > first_step_;
    begin_batch(loss);
    const DropoutState dropout = this->dropout();
    double value = runner(batch.rows).step(gathers() ? loss.summed() : loss, batch, &dropout, nullptr);
    if (gathers()) value *= scale(share);
    end_batch(share);
    return value;
  }

  // The same with a loss that is a function: its values are means over rows.
  double step_with_function(const LossFunction<T>& function, const Batch<T>& batch, const RowNumbers& rows) {
    begin_batch({.reduction = Reduction::BatchMean});
    const double value = pass_with_function(function, batch, rows, gathers() ? static_cast<T>(batch.rows) : T(1));
    end_batch(static_cast<double>(batch.rows));
    return value;
  }

  // A step that looks at all rows, maybe several times, and calls `looked` with the loss after each time; returns that
  // before the step.
  template <class Looked>
  double own_step(const LossSpec& loss, const DataSet<T>& data, const Looked& looked) {
    if (!trainee.method) return trainee.own_step();
    Batch<T> batch{data.x, data.targets, nullptr, data.rows};
    return FlatParameters<T>(optimizer.parameters()).step(*trainee.method, [&] {
      batch.unchanged = std::exchange(has_looked_, true);
      begin_batch(loss);
      const DropoutState dropout = this->dropout();
      const double value = data.function ? pass_with_function(data.function, batch, {nullptr, 0, data.rows}, 1)
                                         : runner(batch.rows).step(loss, batch, &dropout, nullptr);
      looked(value);
      return value;
    });
  }

  // An epoch of rounds with other processes. `next` gives this one's batches, and null at their end; `plan_steps` is called
  // in each round, and `after` after it with the loss of all its batches. Returns what the epoch's loss is made of: the sum
  // of these, times their shares where they are means, and that of the shares.
  template <class Next, class PlanSteps, class After>
  [[gnu::cold]] std::pair<double, double> run_rounds(const LossSpec& loss, const Next& next, bool same_rows,
                                                     const PlanSteps& plan_steps, const After& after) {
    double sum = 0, shares = 0;
    LossSpec spec = loss;
    buckets_->lay_out();
    for (bool has_more = true;;) {
      std::optional<OwnBatch<T>> own;
      if (has_more) own = next();
      has_more = own.has_value();
      trainee.exchange->begin_round({own ? own->share : 0, has_more, completes(), gathered_ > 0});
      Pass pass;
      if (own) {
        pass = begin_pass(*own, same_rows);
        spec = own->data->function ? LossSpec{.reduction = Reduction::BatchMean} : loss;
      }
      const std::optional<double> total = trainee.exchange->total_share();
      if (!total) break;
      plan_steps();
      const double value = end_round(completes(), [&] {
        begin_batch(spec);
        return own ? finish_pass(pass, *own, *total) : 0;
      });
      end_batch(*total);
      sum += value * (loss.is_mean() ? *total : 1.0);
      shares += *total;
      after(value);
    }
    if (gathered_ > 0) {
      end_round(true, [] { return 0.0; });
      step();
    }
    trainee.exchange->share_statistics();
    return {sum, shares};
  }

  // Whether the losses of the last epochs let the training go on.
  bool goes_on(Index epochs) const { return !options_.stop_at_nonfinite || history.is_finite(epochs); }

  // After an epoch. Returns whether the training goes on.
  bool end_epoch(Index epoch, double seconds) {
    EpochResult result{epoch, epoch_loss, nullptr, {}, optimizer.last_rates(1, 1)[0]};
    if (validation) {
      result.validation_loss = &validation_loss;
      result.metrics = metrics;
    }
    history.add_epoch(result, trainee.metrics, seconds);
    if (!goes_on(1)) return false;
    bool stops = trainee.early_stopping && trainee.early_stopping->template add<T>(result);
    if (trainee.convergence) stops |= trainee.convergence->add(result.loss);
    if (trainee.on_epoch) {
      if (trainee.on_epoch(result, stops)) return false;
      change_optimizer();
    }
    return !stops;
  }

  // At an epoch's end: the step of a group of fewer batches, if there is one.
  void finish_group() {
    if (gathered_ > 0) step();
  }

  // The loss of the validation data, in evaluation mode; with an exchange, of those of all processes.
  double evaluate(const LossSpec& loss, const DataSet<T>& data) {
    const double own = own_loss(loss, data);
    if (!trainee.exchange) return own;
    return trainee.exchange->combine(own, data.share(), data.function || loss.is_mean());
  }

 private:
  double own_loss(const LossSpec& loss, const DataSet<T>& data) {
    if (!data.function) return evaluate_rows(loss, data);
    const Index size = data.rows * out_columns(data.columns);
    HostMirror<T> output(network.device());
    output.reserve(size);
    network.predict(data, output.memory(0));
    return data.function(output.to_host(0, size), {nullptr, 0, data.rows}, nullptr);
  }

  double evaluate_rows(const LossSpec& loss, const DataSet<T>& data) {
    const bool again = evaluates_;
    if (!evaluates_) {
      evaluator_ = network.acquire_for_evaluation(data);
      evaluates_ = true;
    }
    if (!evaluator_) return network.evaluate(loss, data);
    return network.evaluate(*evaluator_, loss, data, again && !trainee.on_epoch);  // which might change the rows
  }

  // Of a round's own batch.
  struct Pass {
    Runner<T>* runner = nullptr;
    Batch<T> batch;
  };

  Pass begin_pass(const OwnBatch<T>& own, bool same_rows) {
    const DropoutState dropout = this->dropout();
    Pass pass{&runner(own.batch.rows), own.batch};
    pass.batch.unchanged = same_rows && history.steps() > first_step_;
    pass.batch = pass.runner->consecutive(pass.batch);
    T* y = nullptr;
    if (own.data->function) {
      output_.reserve(own.batch.rows * out_columns(batches_.columns));
      y = output_.memory(0);
    }
    pass.runner->forward(pass.batch, &dropout, y);
    return pass;
  }

  // The loss and the backward pass, of this batch's part of the mean over all. Gathered batches are divided later.
  double finish_pass(const Pass& pass, const OwnBatch<T>& own, double total) {
    Runner<T>& runner = *pass.runner;
    const double factor = scale(total);
    double value = 0;
    const T* dy = nullptr;
    if (own.data->function) {
      const Index size = own.batch.rows * out_columns(batches_.columns);
      const double rows = static_cast<double>(own.batch.rows);
      T* const gradient = output_.host(1);
      value = own.data->function(output_.to_host(0, size), own.rows, gradient) * rows * factor;
      const T weight = static_cast<T>(gathers() ? rows : rows * factor);
      for (Index i = 0; i < size; ++i) gradient[i] *= weight;
      dy = output_.to_device(1, size);
    } else {
      value = runner.loss(gathers() ? loss_.summed() : loss_.part_of(total), pass.batch, true);
      if (gathers()) value *= factor;
    }
    struct Telling {
      Runner<T>& runner;
      ~Telling() { runner.tell(nullptr); }
    } telling{runner};
    if (completes()) runner.tell(buckets_.get());
    runner.backward(dy, nullptr, nullptr);
    return value;
  }

  // Whether the optimizer takes a step after the next batch.
  bool completes() const { return gathered_ + 1 == options_.accumulate; }
  // `pass` gives this process's loss and leaves its gradients, which are sent if `sends`. Returns the loss of all.
  template <class PassOfRound>
  double end_round(bool sends, const PassOfRound& pass) {
    if (sends) buckets_->begin();
    const double own = pass();
    if (sends) buckets_->send_rest();
    const double sum = trainee.exchange->end_round(own);
    if (sends) buckets_->collect();
    return sum;
  }

  Index out_columns(Index columns) const { return network.out_features() < 0 ? columns : network.out_features(); }

  // Leaves the gradient, times a factor, of a loss that is a function; returns the loss.
  double pass_with_function(const LossFunction<T>& function, const Batch<T>& batch, const RowNumbers& rows, T factor) {
    const DropoutState dropout = this->dropout();
    Runner<T>& own = runner(batch.rows);
    const Index size = batch.rows * out_columns(batches_.columns);
    output_.reserve(size);
    own.forward(own.consecutive(batch), &dropout, output_.memory(0));
    T* const dy = output_.host(1);
    const double value = function(output_.to_host(0, size), rows, dy);
    if (factor != 1)
      for (Index i = 0; i < size; ++i) dy[i] *= factor;
    own.backward(output_.to_device(1, size), nullptr, nullptr);
    return value;
  }
  // Whether a step takes several batches. Their gradients are then those of sums, and add up; what a mean divides by is
  // known with the last of them.
  bool gathers() const { return options_.accumulate > 1; }
  double scale(double share) const { return loss_.scale(share, out_columns(batches_.columns)); }
  void begin_batch(const LossSpec& loss) {
    loss_ = loss;
    if (gathered_ > 0) return;
    for (const auto& parameter : network.parameters()) parameter->has_grad = false;
  }
  void end_batch(double share) {
    share_ += share;
    if (++gathered_ == options_.accumulate) step();
  }
  void step() {
    if (const double factor = scale(share_); gathers() && factor != 1) scale_gradients(factor);
    gathered_ = 0;
    share_ = 0;
    optimizer.begin_step();
    if (clipper_) clipper_->clip(network.parameters(), options_.max_grad);
    for (const auto& parameter : network.parameters())
      if (const int slot = optimizer.slot(parameter.get()); slot >= 0 && parameter->has_grad)
        optimizer.step_slot(slot, context());
  }
  void scale_gradients(double factor) {
    for (const auto& parameter : network.parameters())
      if (parameter->has_grad)
        kernels_of<T>(network.device())
            .scale(parameter->size(), static_cast<T>(factor), parameter->grad.data(), context());
  }
  static Context context() { return {thread_pool_executor(), nullptr, StreamScope::current()}; }

  Batches batches_;
  const FitOptions& options_;
  const bool fused_;
  const Index first_step_;
  LossSpec loss_;            // of the last batch
  Index gathered_ = 0;       // batches since the last step,
  double share_ = 0;         // and the sum of their shares
  bool has_looked_ = false;  // at the very rows that a step of its own takes
  std::unique_ptr<Clipper<T>> clipper_;
  std::unique_ptr<GradientBuckets<T>> buckets_;  // null: no other process takes part
  typename Network<T>::Lease whole_, tail_, evaluator_;
  bool evaluates_ = false;  // with the last of these, if it is there
  HostMirror<T> output_;    // and its gradient, for losses that are functions
};

}  // namespace fastmlp
