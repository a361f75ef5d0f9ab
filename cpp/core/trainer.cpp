#include "core/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/rng.h"
#include "core/thread_pool.h"

namespace fastmlp {

namespace {

// Clips gradients on their device, and owns the memory that this needs there.
template <class T>
class Clipper {
 public:
  explicit Clipper(const Device& device) : device_(device), norm_(std::size_t{1}, device), scratch_(device) {
    if (!device.host) scratch_.reserve(kernels_of<T>(device).scratch_bytes);
  }

  void clip(const std::vector<std::shared_ptr<Parameter<T>>>& parameters, double max_norm) {
    grads_.clear();
    sizes_.clear();
    for (const auto& parameter : parameters) {
      if (!parameter->has_grad) continue;
      grads_.push_back(parameter->grad.data());
      sizes_.push_back(parameter->size());
    }
    run(max_norm);
  }
  void measure(const T* values, Index size) {
    grads_.assign(1, const_cast<T*>(values));  // an infinite limit only measures
    sizes_.assign(1, size);
    run(std::numeric_limits<double>::infinity());
  }
  double norm() const {
    double norm = 0;
    check(device_.download(&norm, norm_.data(), sizeof norm, StreamScope::current()));
    return norm;
  }

 private:
  void run(double max_norm) {
    const Context context{thread_pool_executor(), scratch_.data(), StreamScope::current()};
    kernels_of<T>(device_).clip(static_cast<int>(grads_.size()), grads_.data(), sizes_.data(), max_norm, norm_.data(),
                                context);
  }

  const Device& device_;
  Buffer<double> norm_;
  Buffer<unsigned char> scratch_;
  std::vector<T*> grads_;
  std::vector<Index> sizes_;
};

}  // namespace

template <class T>
double clip_grad_norm(const std::vector<std::shared_ptr<Parameter<T>>>& parameters, double max_norm) {
  if (parameters.empty()) return 0;
  Clipper<T> clipper(parameters[0]->device());
  clipper.clip(parameters, max_norm);
  return clipper.norm();
}

template <class T>
double norm(const Device& device, const T* values, Index size) {
  Clipper<T> clipper(device);
  clipper.measure(values, size);
  return clipper.norm();
}

namespace {

using Clock = std::chrono::steady_clock;

// Says when a poll is due. It reads the clock once in a number of steps that it adapts to their length.
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
        first_step_(history.steps),
        host_(network.device().host),
        losses_(host_ ? 256 : 4096),
        device_ids_(network.device()) {
    if (options.shuffle && batches_ > 1) ids_.resize(static_cast<std::size_t>(data.rows));
    // What can fail for want of memory comes before anything changes.
    optimizer.prepare();
    for (const auto& parameter : network.parameters())
      if (parameter->requires_grad) parameter->grad_memory();
    if (options.max_grad > 0) clipper_ = std::make_unique<Clipper<T>>(network.device());
    const Index tail = data.rows - (batches_ - 1) * options.batch_size;
    full_ = network.acquire(std::min(options.batch_size, data.rows), data.columns, true);
    if (tail != full_->rows()) tail_ = network.acquire(tail, data.columns, true);
  }

  void run() {
    const bool together = fused_ && !validation_ && !hooks_.epoch;
    for (Index e = 0; e < options_.max_epoch;) {
      if (together && e + 1 < options_.max_epoch) {
        const Index most = options_.max_epoch - 1 - e;
        if (const Index n = batches_ == 1 ? run_short_epochs(most) : run_epochs(most); n > 0) {
          e += n;
          if (must_stop(n)) return;
          continue;
        }
      }
      const Index epoch = static_cast<Index>(history_.loss.size());
      const double loss = run_epoch(epoch, ++e == options_.max_epoch);
      double validation_loss = 0;
      if (validation_)
        validation_loss =
            network_.evaluate(loss_, validation_->x, validation_->targets, validation_->rows, validation_->columns);
      {
        const Locked locked(history_.lock);
        history_.loss.push_back(loss);
        if (validation_) history_.validation_loss.push_back(validation_loss);
      }
      if (must_stop(1)) return;
      if (!hooks_.epoch) continue;
      if (hooks_.epoch(epoch, loss, validation_ ? &validation_loss : nullptr)) return;
      change_optimizer();
    }
  }

 private:
  // The states that its rule needs now, and where they are.
  void change_optimizer() {
    optimizer_.prepare();
    full_->forget_optimizer();
    if (tail_) tail_->forget_optimizer();
  }

  bool must_stop(Index epochs) const {
    return options_.stop_at_nonfinite && !std::all_of(history_.loss.end() - epochs, history_.loss.end(),
                                                      [](double loss) { return std::isfinite(loss); });
  }

  // Epochs of one step each, without anything between them. Returns how many it has run.
  Index run_short_epochs(Index most) {
    const Index n = run_steps(0, data_.rows, most, false);
    {
      const Locked locked(history_.lock);
      history_.loss.insert(history_.loss.end(), losses_.begin(), losses_.begin() + n);
    }
    poll(n, static_cast<Index>(history_.loss.size()) - 1);
    return n;
  }

  // On a device, prepares the rows of several epochs at once, to avoid host round trips; their batches are all full.
  // Returns how many epochs it has run; 0: not worth it.
  Index run_epochs(Index most) {
    constexpr Index kMostRows = Index{1} << 20;
    if (host_ || data_.rows % options_.batch_size != 0) return 0;
    const Index steps = std::min(pacer_.patience(), static_cast<Index>(losses_.size()));
    const Index n = std::min({most, steps / batches_, kMostRows / data_.rows});
    if (n < 2) return 0;
    const Index before = static_cast<Index>(history_.loss.size());
    epoch_ids_.resize(static_cast<std::size_t>(n * data_.rows));
    for (Index e = 0; e < n; ++e) {
      Index* const ids = epoch_ids_.data() + e * data_.rows;
      if (options_.shuffle)
        shuffle_rows(ids, before + e);
      else
        std::iota(ids, ids + data_.rows, Index{0});
    }
    upload_ids(epoch_ids_);
    if (optimizer_.take_options()) change_optimizer();
    run_burst({data_.x, data_.targets, device_ids_.data(), options_.batch_size}, n * batches_);
    for (Index e = 0; e < n; ++e) {
      double sum = 0;
      for (Index i = e * batches_; i < (e + 1) * batches_; ++i)
        sum += losses_[static_cast<std::size_t>(i)] * (loss_.mean ? static_cast<double>(options_.batch_size) : 1.0);
      const Locked locked(history_.lock);
      history_.loss.push_back(loss_.mean ? sum / static_cast<double>(data_.rows) : sum);
    }
    poll(n * batches_, before + n - 1);
    return n;
  }

  void shuffle_rows(Index* ids, Index epoch) const {
    shuffle(ids, data_.rows, Philox(options_.seed, stream(StreamUse::Shuffle, static_cast<std::uint64_t>(epoch))));
  }

  void upload_ids(const std::vector<Index>& ids) {
    device_ids_.reserve(ids.size());
    check(network_.device().upload(device_ids_.data(), ids.data(), ids.size() * sizeof(Index), StreamScope::current()));
  }

  double run_epoch(Index epoch, bool last_epoch) {
    if (!ids_.empty()) {
      shuffle_rows(ids_.data(), epoch);
      if (!host_) upload_ids(ids_);
    }
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
    if (optimizer_.take_options()) change_optimizer();
    Batch<T> batch{data_.x, data_.targets, nullptr, rows};
    const Index out = network_.out_features() < 0 ? data_.columns : network_.out_features();
    if (!ids_.empty()) batch.ids = host_ ? ids_.data() : device_ids_.data();
    if (host_)
      batch.advance(row, data_.columns, out);
    else
      batch.row = row;
    batch.unchanged = batches_ == 1 && history_.steps > first_step_;
    if (keep_gradient || !fused_) {
      losses_[0] = step_with_gradient(batch);
      report(1);
      return 1;
    }
    const Index n = std::min({most, pacer_.patience(), static_cast<Index>(losses_.size())});
    run_burst(batch, n);
    return n;
  }

  // Steps on the rows of the batch and those after them, or on the same ones where there is only one batch.
  void run_burst(const Batch<T>& batch, Index steps) {
    runner(batch).steps(loss_, batch, steps, batches_ == 1, dropout(), optimizer_, losses_.data());
    report(steps);
  }

  double step_with_gradient(const Batch<T>& batch) {
    for (const auto& parameter : network_.parameters()) parameter->has_grad = false;
    const DropoutState dropout = this->dropout();
    const double value = runner(batch).step(loss_, batch, &dropout, nullptr);
    if (clipper_) clipper_->clip(network_.parameters(), options_.max_grad);
    for (const auto& parameter : network_.parameters())
      if (const int slot = optimizer_.slot(parameter.get()); slot >= 0 && parameter->has_grad)
        optimizer_.step_slot(slot, {thread_pool_executor(), nullptr, StreamScope::current()});
    return value;
  }

  Runner<T>& runner(const Batch<T>& batch) { return batch.rows == full_->rows() ? *full_ : *tail_; }
  DropoutState dropout() const { return {options_.seed, static_cast<std::uint64_t>(history_.steps)}; }

  // Counts the steps whose losses are in losses_.
  void report(Index steps) {
    const Locked locked(history_.lock);
    for (Index i = 0; i < steps; ++i) {
      ++history_.steps;
      history_.report_sum += losses_[static_cast<std::size_t>(i)];
      if (++history_.report_count < options_.eval_interval) continue;
      history_.report_step.push_back(history_.steps);
      history_.report_loss.push_back(history_.report_sum / static_cast<double>(history_.report_count));
      history_.report_sum = 0;
      history_.report_count = 0;
    }
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
  const bool host_;
  Pacer pacer_;
  std::vector<double> losses_;  // of the steps of one call
  std::vector<Index> ids_, epoch_ids_;
  Buffer<Index> device_ids_;
  std::unique_ptr<Clipper<T>> clipper_;
  typename Network<T>::Lease full_, tail_;  // runners of whole batches, and of a short last one
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
  template double norm<T>(const Device&, const T*, Index);                                                \
  template void fit<T>(Network<T>&, Optimizer<T>&, const LossSpec&, const DataSet<T>&, const DataSet<T>*, \
                       const FitOptions&, History&, const FitHooks&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
