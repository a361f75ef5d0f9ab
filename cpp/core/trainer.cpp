#include "core/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/rng.h"
#include "core/thread_pool.h"

namespace fastmlp {

template <class T>
double clip_grad_norm(const std::vector<std::shared_ptr<Parameter<T>>>& parameters, double max_norm) {
  const Backend<T>& kernels = active_backend<T>();
  double squares = 0;
  for (const auto& parameter : parameters)
    if (parameter->has_grad) squares += kernels.sum_of_squares(parameter->size(), parameter->grad.data());
  const double norm = std::sqrt(squares), factor = max_norm / (norm + 1e-6);
  if (factor < 1)
    for (const auto& parameter : parameters)
      if (parameter->has_grad) kernels.scale(parameter->size(), static_cast<T>(factor), parameter->grad.data());
  return norm;
}

namespace {

using Clock = std::chrono::steady_clock;

// Says when a poll is due, without reading the clock at each of millions of short steps.
class Pacer {
 public:
  // Steps until the next look at the clock.
  Index patience() const { return std::max(stride_ - count_, Index{1}); }

  // Counts steps.
  bool due(Index steps) {
    count_ += steps;
    if (count_ < stride_) return false;
    count_ = 0;
    const Clock::time_point now = Clock::now();
    const double elapsed = std::chrono::duration<double>(now - last_look_).count();
    last_look_ = now;
    if (elapsed < kPollSeconds / 16) stride_ = std::min(stride_ * 2, Index{1} << 20);
    if (elapsed > kPollSeconds / 4) stride_ = std::max(stride_ / 2, Index{1});
    if (std::chrono::duration<double>(now - last_poll_).count() < kPollSeconds) return false;
    last_poll_ = now;
    return true;
  }

 private:
  Index count_ = 0, stride_ = 1;
  Clock::time_point last_look_ = Clock::now(), last_poll_ = last_look_;
};

template <class T>
class Fit {
 public:
  Fit(Network<T>& network, Optimizer<T>& optimizer, const LossSpec& loss, const DataSet<T>& data,
      const DataSet<T>* validation, const FitOptions& options, History& history, const FitHooks& hooks)
      : network_(network),
        optimizer_(optimizer),
        loss_(loss),
        data_(data),
        validation_(validation),
        options_(options),
        history_(history),
        hooks_(hooks),
        batches_((data.rows + options.batch_size - 1) / options.batch_size),
        fused_(network.can_fuse() && options.max_grad == 0),
        first_step_(history.steps) {
    if (options.shuffle && batches_ > 1) ids_.resize(static_cast<std::size_t>(data.rows));
    const Index tail = data.rows - (batches_ - 1) * options.batch_size;
    full_ = network.acquire(std::min(options.batch_size, data.rows), data.columns, true);
    if (tail != full_->rows()) tail_ = network.acquire(tail, data.columns, true);
  }

  void run() {
    const bool short_epochs = fused_ && batches_ == 1 && !validation_ && !hooks_.epoch;
    for (Index e = 0; e < options_.max_epoch;) {
      if (short_epochs && e + 1 < options_.max_epoch) {
        e += run_short_epochs(options_.max_epoch - 1 - e);
        continue;
      }
      const Index epoch = static_cast<Index>(history_.loss.size());
      const double loss = run_epoch(epoch, ++e == options_.max_epoch);
      double validation_loss = 0;
      if (validation_)
        validation_loss =
            network_.evaluate(loss_, validation_->x, validation_->targets, validation_->rows, validation_->columns);
      history_.loss.push_back(loss);
      if (validation_) history_.validation_loss.push_back(validation_loss);
      if (!hooks_.epoch) continue;
      if (hooks_.epoch(epoch, loss, validation_ ? &validation_loss : nullptr)) return;
      full_->forget_optimizer();
      if (tail_) tail_->forget_optimizer();
    }
  }

 private:
  // Epochs of one step, between which nothing else happens. Returns how many it has run.
  Index run_short_epochs(Index most) {
    const Index n = run_steps(0, data_.rows, most, false);
    for (Index i = 0; i < n; ++i) history_.loss.push_back(losses_[static_cast<std::size_t>(i)]);
    poll(n, static_cast<Index>(history_.loss.size()) - 1);
    return n;
  }

  double run_epoch(Index epoch, bool last_epoch) {
    if (!ids_.empty())
      shuffle(ids_.data(), data_.rows,
              Philox(options_.seed, stream(StreamUse::Shuffle, static_cast<std::uint64_t>(epoch))));
    const bool keep_last = last_epoch || hooks_.epoch;
    double sum = 0;
    for (Index row = 0; row < data_.rows;) {
      const Index left = data_.rows - row, rows = std::min(options_.batch_size, left);
      const bool last_batch = rows == left;
      const Index like_this = left / rows - (keep_last && left % rows == 0 && !last_batch ? 1 : 0);
      const Index n = run_steps(row, rows, like_this, keep_last && last_batch);
      for (Index i = 0; i < n; ++i)
        sum += losses_[static_cast<std::size_t>(i)] * (loss_.mean ? static_cast<double>(rows) : 1.0);
      row += n * rows;
      poll(n, epoch);
    }
    if (batches_ == 1) return losses_[0];  // unrounded, as in run_short_epochs
    return loss_.mean ? sum / static_cast<double>(data_.rows) : sum;
  }

  void poll(Index steps, Index epoch) {
    if (pacer_.due(steps) && hooks_.poll) hooks_.poll(epoch, losses_[static_cast<std::size_t>(steps - 1)]);
  }

  // Up to `most` steps on batches of `rows` rows from `row` on (all the same, if there is only one batch), as many as
  // may run before the clock is looked at; one, if it is to keep its gradient. Their losses are in losses_.
  Index run_steps(Index row, Index rows, Index most, bool keep_gradient) {
    Batch<T> batch{data_.x, data_.targets, nullptr, rows};
    const Index out = network_.out_features() < 0 ? data_.columns : network_.out_features();
    if (!ids_.empty()) batch.ids = ids_.data();
    batch.advance(row, data_.columns, out);
    batch.unchanged = batches_ == 1 && history_.steps > first_step_;
    const DropoutState dropout{options_.seed, static_cast<std::uint64_t>(history_.steps)};
    Workspace<T>& workspace = rows == full_->rows() ? *full_ : *tail_;
    const bool alone = keep_gradient || !fused_;
    const Index n = alone ? 1 : std::min({most, pacer_.patience(), static_cast<Index>(losses_.size())});
    if (alone) {
      losses_[0] = step_with_gradient(workspace, batch, dropout);
    } else {
      network_.steps(workspace, loss_, batch, n, batches_ == 1, dropout, optimizer_, losses_.data());
    }
    for (Index i = 0; i < n; ++i) report(losses_[static_cast<std::size_t>(i)]);
    return n;
  }

  double step_with_gradient(Workspace<T>& workspace, const Batch<T>& batch, const DropoutState& dropout) {
    for (const auto& parameter : network_.parameters()) parameter->has_grad = false;
    const double value = network_.step(workspace, loss_, batch, &dropout, nullptr);
    if (options_.max_grad > 0) clip_grad_norm(network_.parameters(), options_.max_grad);
    for (const auto& parameter : network_.parameters())
      if (const int slot = optimizer_.slot(parameter.get()); slot >= 0 && parameter->has_grad)
        optimizer_.step_slot(slot, {thread_pool_executor(), nullptr});
    return value;
  }

  void report(double loss) {
    ++history_.steps;
    history_.report_sum += loss;
    if (++history_.report_count < options_.eval_interval) return;
    history_.report_step.push_back(history_.steps);
    history_.report_loss.push_back(history_.report_sum / static_cast<double>(history_.report_count));
    history_.report_sum = 0;
    history_.report_count = 0;
  }

  Network<T>& network_;
  Optimizer<T>& optimizer_;
  const LossSpec& loss_;
  const DataSet<T>& data_;
  const DataSet<T>* validation_;
  const FitOptions& options_;
  History& history_;
  const FitHooks& hooks_;
  const Index batches_;
  const bool fused_;
  const Index first_step_;
  Pacer pacer_;
  std::vector<double> losses_ = std::vector<double>(256);  // of the steps of one call
  std::vector<Index> ids_;
  typename Network<T>::Lease full_, tail_;  // workspaces of whole batches, and of a short last one
};

}  // namespace

template <class T>
void fit(Network<T>& network, Optimizer<T>& optimizer, const LossSpec& loss, const DataSet<T>& data,
         const DataSet<T>* validation, const FitOptions& options, History& history, const FitHooks& hooks) {
  for (const auto& parameter : network.parameters()) parameter->has_grad = false;
  Fit<T>(network, optimizer, loss, data, validation, options, history, hooks).run();
}

#define FASTMLP_INSTANTIATE(T)                                                                            \
  template double clip_grad_norm<T>(const std::vector<std::shared_ptr<Parameter<T>>>&, double);           \
  template void fit<T>(Network<T>&, Optimizer<T>&, const LossSpec&, const DataSet<T>&, const DataSet<T>*, \
                       const FitOptions&, History&, const FitHooks&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
