// Steps of a fit that run without anything between them, and their losses, which may be on their way to the host while the
// next steps run already.
#pragma once

#include <chrono>
#include <utility>
#include <vector>

#include "core/trainee.h"

namespace fastmlp {

template <class T>
class Bursts {
 public:
  // Of networks that are trained side by side, in so many batches an epoch.
  Bursts(const std::vector<TraineeState<T>*>& members, const FitOptions& options, Index batches, bool is_mean)
      : members_(members), options_(options), batches_(batches), is_mean_(is_mean) {}

  // Whether a burst begins before the losses of the one before it are there.
  bool overlap = false;

  void make_room(Index most_steps) { now_->losses.resize(members_.size() * static_cast<std::size_t>(most_steps)); }
  // The losses of a network's steps.
  double* losses_of(std::size_t member, Index steps) {
    return now_->losses.data() + member * static_cast<std::size_t>(steps);
  }

  // Begins a burst of so many steps.
  void begin(Index steps) {
    now_->steps = steps;
    if (overlap) now_->downloads.resize(members_.size());
  }
  // For Runner::steps of a network.
  PendingDownload* later(std::size_t member) { return overlap ? &now_->downloads[member] : nullptr; }

  // Waits for the burst's losses and counts its steps, which are of an epoch that goes on.
  void count_steps() {
    take(*now_);
    record(std::exchange(now_->steps, 0));
  }
  // Counts steps whose losses are there.
  void record(Index steps) {
    for (std::size_t m = 0; m < members_.size(); ++m)
      members_[m]->history.add_steps(losses_of(m, steps), steps, options_.eval_interval);
  }

  // The burst is of whole epochs; share(member, batch) is that of a batch's rows. finish, or finish_last once the next one
  // has begun, counts them.
  template <class Share>
  void begin_epochs(Index epochs, const Share& share) {
    now_->epochs = epochs;
    epochs_ahead_ += epochs;
    for (std::size_t m = 0; m < members_.size(); ++m) {
      members_[m]->steps_ahead += now_->steps;
      if (overlap) now_->rates.push_back(members_[m]->optimizer.last_rates(1, 1)[0]);
      for (Index i = 0; i < now_->steps && batches_ > 1; ++i) now_->shares.push_back(is_mean_ ? share(m, i) : 1);
    }
  }
  // The number of the next epoch that begins.
  Index next_epoch() const { return members_[0]->history.epochs() + epochs_ahead_; }

  // poll(steps, last epoch, last loss)
  template <class Poll>
  void finish(const Poll& poll) {
    finish(*now_, poll);
  }
  // Where they overlap: of the burst before.
  template <class Poll>
  void finish_last(const Poll& poll) {
    finish(*last_, poll);
  }
  void swap() { std::swap(now_, last_); }
  // After an error: the steps that were taken count.
  void collect_all() noexcept {
    for (Burst* burst : {last_, now_}) try {
        collect(*burst);
      } catch (...) {
        continue;  // the first error is what is told
      }
  }

  // Seconds since the last call, or since the beginning.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(lap_begin_, now)).count();
  }

 private:
  struct Burst {
    Index epochs = 0, steps = 0;
    std::vector<double> losses;  // of each network, one a step
    std::vector<double> rates;   // of each, where later steps may have another one
    std::vector<double> shares;  // of each one's batches, where there are several
    std::vector<PendingDownload> downloads;
  };

  static void take(Burst& burst) {
    for (PendingDownload& download : burst.downloads) download.take();
    burst.downloads.clear();
  }

  void collect(Burst& burst) {
    // After a failure nothing is counted: the losses are not there.
    const Index steps = std::exchange(burst.steps, 0), epochs = std::exchange(burst.epochs, 0);
    epochs_ahead_ -= epochs;
    if (epochs > 0)
      for (TraineeState<T>* member : members_) member->steps_ahead -= steps;
    take(burst);
    if (epochs == 0) return;
    const double seconds = lap();
    const double* share = burst.shares.data();
    std::vector<double> sums;
    for (std::size_t m = 0; m < members_.size(); ++m) {
      TraineeState<T>& member = *members_[m];
      const double* losses = burst.losses.data() + m * static_cast<std::size_t>(steps);
      member.history.add_steps(losses, steps, options_.eval_interval);
      if (batches_ > 1) {
        sums.assign(static_cast<std::size_t>(epochs), 0.0);
        for (Index i = 0; i < steps; ++i) sums[static_cast<std::size_t>(i / batches_)] += losses[i] * *share++;
        for (double& sum : sums)
          if (is_mean_) sum /= member.share;
        losses = sums.data();
      }
      const StepRates rates =
          burst.rates.empty() ? member.optimizer.last_rates(epochs, batches_) : StepRates{&burst.rates[m], 0};
      member.history.add_epochs(losses, rates, epochs, seconds);
    }
    burst.rates.clear();
    burst.shares.clear();
  }

  template <class Poll>
  void finish(Burst& burst, const Poll& poll) {
    const Index steps = burst.steps;
    collect(burst);
    if (steps > 0) poll(steps, members_[0]->history.epochs() - 1, burst.losses[static_cast<std::size_t>(steps - 1)]);
  }

  const std::vector<TraineeState<T>*>& members_;
  const FitOptions& options_;
  const Index batches_;
  const bool is_mean_;
  Burst bursts_[2];
  Burst *now_ = &bursts_[0], *last_ = &bursts_[1];
  Index epochs_ahead_ = 0;  // begun, and not in the histories yet
  std::chrono::steady_clock::time_point lap_begin_ = std::chrono::steady_clock::now();
};

}  // namespace fastmlp
