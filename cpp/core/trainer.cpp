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
  bool due() {
    if (++count_ < stride_) return false;
    count_ = 0;
    const Clock::time_point now = Clock::now();
    const double elapsed = std::chrono::duration<double>(now - last_look_).count();
    last_look_ = now;
    if (elapsed < kPollSeconds / 16) stride_ = std::min(stride_ * 2, 1 << 20);
    if (elapsed > kPollSeconds / 4) stride_ = std::max(stride_ / 2, 1);
    if (std::chrono::duration<double>(now - last_poll_).count() < kPollSeconds) return false;
    last_poll_ = now;
    return true;
  }

 private:
  int count_ = 0, stride_ = 1;
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
        fused_(network.can_fuse() && options.max_grad == 0) {
    if (options.shuffle && batches_ > 1) ids_.resize(static_cast<std::size_t>(data.rows));
    const Index tail = data.rows - (batches_ - 1) * options.batch_size;
    full_ = network.acquire(std::min(options.batch_size, data.rows), data.columns, true);
    if (tail != full_->rows()) tail_ = network.acquire(tail, data.columns, true);
  }

  void run() {
    for (Index e = 0; e < options_.max_epoch; ++e) {
      const Index epoch = static_cast<Index>(history_.loss.size());
      const bool last_epoch = e + 1 == options_.max_epoch;
      const double loss = run_epoch(epoch, last_epoch);
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
  double run_epoch(Index epoch, bool last_epoch) {
    if (!ids_.empty())
      shuffle(ids_.data(), data_.rows,
              Philox(options_.seed, stream(StreamUse::Shuffle, static_cast<std::uint64_t>(epoch))));
    double sum = 0;
    for (Index b = 0; b < batches_; ++b) {
      const Index row = b * options_.batch_size, rows = std::min(options_.batch_size, data_.rows - row);
      const double value = run_step(row, rows, b + 1 == batches_ && (last_epoch || hooks_.epoch));
      sum += loss_.mean ? value * static_cast<double>(rows) : value;
      report(value);
      if (pacer_.due() && hooks_.poll) hooks_.poll(epoch, value);
    }
    return loss_.mean ? sum / static_cast<double>(data_.rows) : sum;
  }

  double run_step(Index row, Index rows, bool keep_gradient) {
    Batch<T> batch{data_.x, data_.targets, nullptr, rows};
    if (!ids_.empty()) {
      batch.ids = ids_.data() + row;
    } else {
      const Index out = network_.out_features() < 0 ? data_.columns : network_.out_features();
      batch.x += row * data_.columns;
      if (batch.targets.dense) batch.targets.dense += row * out;
      if (batch.targets.classes) batch.targets.classes += row;
      batch.unchanged = batches_ == 1 && !first_step_;
    }
    first_step_ = false;
    const DropoutState dropout{options_.seed, static_cast<std::uint64_t>(history_.steps++)};
    Workspace<T>& workspace = rows == full_->rows() ? *full_ : *tail_;
    if (fused_ && !keep_gradient) return network_.step(workspace, loss_, batch, &dropout, &optimizer_);

    for (const auto& parameter : network_.parameters()) parameter->has_grad = false;
    const double value = network_.step(workspace, loss_, batch, &dropout, nullptr);
    if (options_.max_grad > 0) clip_grad_norm(network_.parameters(), options_.max_grad);
    for (const auto& parameter : network_.parameters())
      if (const int slot = optimizer_.slot(parameter.get()); slot >= 0 && parameter->has_grad)
        optimizer_.step_slot(slot, {thread_pool_executor(), nullptr});
    return value;
  }

  void report(double loss) {
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
  bool first_step_ = true;
  Pacer pacer_;
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
