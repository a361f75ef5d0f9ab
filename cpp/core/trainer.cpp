#include "core/trainer.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <numeric>
#include <optional>

#include "core/shuffle.h"
#include "core/staged_rows.h"
#include "core/thread_pool.h"
#include "core/trainee.h"

namespace fastmlp {

namespace {

constexpr Index kMostLosses = Index{1} << 20;  // that a call on a device leaves

template <class T>
class Fit {
 public:
  Fit(const std::vector<Trainee<T>>& group, const LossSpec& loss, const DataSet<T>& data, const DataSet<T>* validation,
      const FitOptions& options, const PollHook& poll, const BatchHook<T>& stream)
      : loss_(loss),
        data_(data),
        validation_(validation),
        options_(options),
        poll_(poll),
        stream_(stream),
        device_(group[0].network.device()),
        first_epoch_(group[0].history.epochs()),
        batches_((data.rows + options.batch_size - 1) / options.batch_size),
        most_steps_(device_.host ? 256 : std::clamp<Index>(kMostLosses / static_cast<Index>(group.size()), 16, 4096)),
        share_(data.share()),
        losses_(group.size() * static_cast<std::size_t>(most_steps_)),
        device_ids_(device_) {
    if (options.shuffle && batches_ > 1 && !stream) ids_.resize(static_cast<std::size_t>(data.rows));
    const Index rows = std::min(options.batch_size, data.rows), tail = data.rows - (batches_ - 1) * options.batch_size;
    all_.reserve(group.size());
    for (const Trainee<T>& trainee : group) {
      trainee.history.make_room(options.max_epoch, static_cast<bool>(trainee.on_plan), validation != nullptr);
      has_callbacks_ |= static_cast<bool>(trainee.on_epoch);
      ends_early_ |= trainee.early_stopping || trainee.convergence;
      auto& member = all_.emplace_back(std::make_unique<TraineeState<T>>(
          trainee, typename TraineeState<T>::Batches{rows, tail == rows ? 0 : tail, data.columns}, options));
      fused_ = fused_ && member->fused() && !data.function;
      has_own_steps_ |= trainee.has_own_step();
      if ((device_.host || group.size() == 1) && !trainee.own_step)
        member->acquire();  // on a device, the first one's runner may serve all
      active_.push_back(member.get());
    }
    find_members();
    if (data.sources.any()) staged_.emplace(data, options.batch_size, out_columns(data.columns), device_);
  }

  void run() {
    const bool together = fused_ && !validation_ && !has_callbacks_ && !ends_early_ && !stream_ && !has_own_steps_;
    for (Index e = 0; e < options_.max_epoch && !active_.empty();) {
      epochs_left_ = options_.max_epoch - e;
      const Index most = epochs_left_ - (options_.keep_gradient ? 1 : 0);
      if (together && most > 0) {
        if (const Index n = batches_ == 1 ? run_short_epochs(most) : run_epochs(most); n > 0) {
          e += n;
          keep_if([&](TraineeState<T>& member) { return goes_on(member, n); });
          continue;
        }
      }
      const Index epoch = first_epoch_ + e;
      if (has_own_steps_)
        run_own_step(epoch);
      else if (active_[0]->trainee.exchange)
        run_rounds(epoch);
      else if (stream_)
        run_stream(epoch);
      else
        run_epoch(epoch, e + 1 == options_.max_epoch);
      ++e;
      keep_if([&](TraineeState<T>& member) { return end_epoch(member, epoch); });
    }
  }

 private:
  // Drops the members whose training ends; `goes_on` is called once for each.
  template <class GoesOn>
  void keep_if(const GoesOn& goes_on) {
    const std::size_t before = active_.size();
    std::erase_if(active_, [&](TraineeState<T>* member) { return !goes_on(*member); });
    if (active_.size() != before) find_members();
  }
  void find_members() {
    members_.clear();
    for (TraineeState<T>* member : active_) members_.push_back({&member->network.program(), &member->optimizer});
  }

  bool goes_on(const TraineeState<T>& member, Index epochs) const {
    return !options_.stop_at_nonfinite || member.history.is_finite(epochs);
  }

  // After an epoch. Returns whether the member's training goes on.
  bool end_epoch(TraineeState<T>& member, Index epoch) {
    const Trainee<T>& trainee = member.trainee;
    double value = 0;
    EpochResult result{epoch, member.epoch_loss, nullptr, {}, member.optimizer.last_rates(1, 1)[0]};
    if (validation_) {
      value = member.evaluate(loss_, *validation_);
      result.validation_loss = &value;
      if (trainee.measure) result.metrics = trainee.measure();
    }
    member.history.add_epoch(result, trainee.metrics, lap());
    if (!goes_on(member, 1)) return false;
    bool stops = trainee.early_stopping && trainee.early_stopping->template add<T>(result);
    if (trainee.convergence) stops |= trainee.convergence->add(result.loss);
    if (trainee.on_epoch) {
      if (trainee.on_epoch(result, stops)) return false;
      member.change_optimizer();
    }
    return !stops;
  }

  Index out_columns(Index columns) const {
    const Index out = all_[0]->network.out_features();
    return out < 0 ? columns : out;
  }

  // Seconds since the last call, or since the beginning.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(lap_begin_, now)).count();
  }

  // Makes the options that were set, and those of a schedule, take effect. Returns how many of the next steps, `most` at
  // most, can be taken with them.
  Index take_options(Index most) {
    for (TraineeState<T>* member : active_) {
      if (const auto& on_plan = member->trainee.on_plan) {
        if (member->optimizer.planned().left() == 0) on_plan(epochs_left_);
        most = std::min(most, member->optimizer.planned().left());
      }
      member->take_options();
    }
    return most;
  }

  // Epochs of one step each, without anything between them. Returns how many it has run.
  Index run_short_epochs(Index most) {
    const Index n = run_steps(0, data_.rows, most, false);
    const double seconds = lap();
    for (std::size_t m = 0; m < active_.size(); ++m)
      active_[m]->history.add_epochs(losses_of(m, n), active_[m]->optimizer.last_rates(n, 1), n, seconds);
    poll(n, active_[0]->history.epochs() - 1);
    return n;
  }

  // On a device, prepares the rows of several epochs at once, to avoid host round trips; their batches are all full.
  // Returns how many epochs it has run; 0: not worth it.
  Index run_epochs(Index most) {
    constexpr Index kMostRows = Index{1} << 20;
    if (device_.host || staged_ || data_.rows % options_.batch_size != 0) return 0;
    const Index steps = take_options(std::min(pacer_.patience(), most_steps_));
    const Index n = std::min({most, steps / batches_, kMostRows / data_.rows});
    if (n < 2) return 0;
    const Index before = active_[0]->history.epochs();
    epoch_ids_.resize(static_cast<std::size_t>(n * data_.rows));
    for (Index e = 0; e < n; ++e) {
      Index* const ids = epoch_ids_.data() + e * data_.rows;
      if (options_.shuffle)
        shuffle_rows(ids, before + e);
      else
        std::iota(ids, ids + data_.rows, Index{0});
    }
    upload_ids(epoch_ids_);
    run_burst({data_.x, data_.targets, device_ids_.data(), options_.batch_size}, n * batches_);
    const double seconds = lap();
    std::vector<double> epoch_losses(static_cast<std::size_t>(n));
    for (std::size_t m = 0; m < active_.size(); ++m) {
      for (Index e = 0; e < n; ++e) {
        active_[m]->loss_sum = 0;
        add_losses(active_[m]->loss_sum, losses_of(m, n * batches_) + e * batches_, batches_, options_.batch_size,
                   [&, ids = epoch_ids_.data() + e * data_.rows](Index row, Index rows) {
                     return data_.share({ids + row, row, rows});
                   });
        epoch_losses[static_cast<std::size_t>(e)] = epoch_loss(active_[m]->loss_sum, share_);
      }
      active_[m]->history.add_epochs(epoch_losses.data(), active_[m]->optimizer.last_rates(n, batches_), n, seconds);
    }
    poll(n * batches_, before + n - 1);
    return n;
  }

  void shuffle_rows(Index* ids, Index epoch) const {
    shuffle({ids, static_cast<std::size_t>(data_.rows)},
            {options_.seed, stream(StreamUse::Shuffle, static_cast<std::uint64_t>(epoch))});
  }

  void upload_ids(const std::vector<Index>& ids) {
    device_ids_.reserve(ids.size());
    check(device_.upload(device_ids_.data(), ids.data(), ids.size() * sizeof(Index), StreamScope::current()));
  }

  // An epoch's loss from those of its batches, of so many rows each; share_of(row, rows) is that of some of them, from the
  // first batch's row number `row` on.
  template <class ShareOf>
  void add_losses(double& sum, const double* losses, Index count, Index rows, const ShareOf& share_of) const {
    for (Index i = 0; i < count; ++i) sum += losses[i] * (loss_.is_mean() ? share_of(i * rows, rows) : 1.0);
  }
  double epoch_loss(double sum, double share) const { return loss_.is_mean() ? sum / share : sum; }
  // Of an epoch, from row number `row` of its order on. Staged rows have to lie there.
  double share_from(Index row, Index count) const {
    return staged_ ? staged_->share(row, count) : data_.share(rows_from(row, count));
  }
  RowNumbers rows_from(Index row, Index count) const {
    return {ids_.empty() ? nullptr : ids_.data() + row, row, count};
  }

  void begin_order(Index epoch) {
    if (!ids_.empty()) {
      shuffle_rows(ids_.data(), epoch);
      if (!device_.host && !staged_) upload_ids(ids_);
    }
    if (staged_) staged_->begin(ids_.empty() ? nullptr : ids_.data());
  }

  void run_epoch(Index epoch, bool last_epoch) {
    begin_order(epoch);
    const bool keep_last = options_.keep_gradient && (last_epoch || has_callbacks_);
    for (TraineeState<T>* member : active_) member->loss_sum = 0;
    for (Index row = 0; row < data_.rows;) {
      const Index left = data_.rows - row, rows = std::min(options_.batch_size, left);
      const bool last_batch = rows == left;
      const Index like_this = left / rows - (keep_last && left % rows == 0 && !last_batch ? 1 : 0);
      const Index n = run_steps(row, rows, like_this, keep_last && last_batch);
      for (std::size_t m = 0; m < active_.size(); ++m)
        add_losses(active_[m]->loss_sum, losses_of(m, n), n, rows,
                   [&](Index first, Index count) { return share_from(row + first, count); });
      row += n * rows;
      poll(n, epoch);
    }
    for (std::size_t m = 0; m < active_.size(); ++m) {
      active_[m]->finish_group();  // a single batch's loss unrounded, as in run_short_epochs
      active_[m]->epoch_loss = batches_ == 1 ? losses_of(m, 1)[0] : epoch_loss(active_[m]->loss_sum, share_);
    }
  }

  // Of each member by itself.
  void run_own_step(Index epoch) {
    for (std::size_t m = 0; m < active_.size(); ++m) {
      bool begun = false;
      const double loss = active_[m]->own_step(loss_, data_, [&](double value) {
        if (!std::exchange(begun, true)) losses_[m] = value;
        poll(1, epoch);  // a step may take long
      });
      losses_[m] = active_[m]->epoch_loss = loss;
    }
    record_losses(1);
    poll(1, epoch);
  }

  // An epoch of batches that come one by one. Each leaves its gradient, since it may be the last.
  void run_stream(Index epoch) {
    double all = 0;
    for (TraineeState<T>* member : active_) member->loss_sum = 0;
    while (const DataSet<T>* data = stream_()) {
      take_options(1);
      const double share = data->share();
      step_each(*data, {data->x, data->targets, nullptr, data->rows}, {nullptr, 0, data->rows}, share, false);
      for (std::size_t m = 0; m < active_.size(); ++m)
        active_[m]->loss_sum += losses_of(m, 1)[0] * (loss_.is_mean() ? share : 1.0);
      all += share;
      poll(1, epoch);
    }
    for (TraineeState<T>* member : active_) {
      member->finish_group();
      member->epoch_loss = epoch_loss(member->loss_sum, all);
    }
  }

  // An epoch together with other processes, which may have more batches or fewer.
  void run_rounds(Index epoch) {
    begin_order(epoch);
    Index row = 0;
    const auto next = [&]() -> std::optional<OwnBatch<T>> {
      if (stream_) {
        const DataSet<T>* const data = stream_();
        return data ? std::optional(OwnBatch<T>::whole(*data)) : std::nullopt;
      }
      const Index first = row, rows = std::min(options_.batch_size, data_.rows - row);
      row += rows;
      if (rows == 0) return std::nullopt;
      return OwnBatch<T>{&data_, batch_at(first, rows), rows_from(first, rows), share_from(first, rows)};
    };
    const auto [sum, share] = active_[0]->run_rounds(
        loss_, next, batches_ == 1 && !stream_, [&] { take_options(1); },
        [&](double loss) {
          losses_[0] = loss;
          record_losses(1);
          poll(1, epoch);
        });
    active_[0]->epoch_loss = epoch_loss(sum, share);
  }

  // A batch of some rows of the data, which have this share, for each network by itself; it leaves its gradient.
  void step_each(const DataSet<T>& data, const Batch<T>& batch, const RowNumbers& rows, double share, bool same_rows) {
    for_active(1, [&](TraineeState<T>& member, double* loss) {
      *loss = data.function ? member.step_with_function(data.function, batch, rows)
                            : member.step_with_gradient(loss_, batch, share, same_rows);
    });
  }

  void poll(Index steps, Index epoch) {
    if (pacer_.due(steps) && poll_) poll_(epoch, losses_[static_cast<std::size_t>(steps - 1)]);
  }

  Batch<T> batch_at(Index row, Index rows) {
    if (staged_) return staged_->batch(row, rows);
    Batch<T> batch{data_.x, data_.targets, nullptr, rows, false, row};
    if (!ids_.empty()) batch.ids = device_.host ? ids_.data() : device_ids_.data();
    return device_.host ? batch.advanced(data_.columns, out_columns(data_.columns)) : batch;
  }

  // Up to `most` steps on batches of `rows` rows from `row` on (all the same, if there is only one batch), as many as
  // may run before the clock is looked at; one, if it is to keep its gradient. Their losses are in losses_.
  Index run_steps(Index row, Index rows, Index most, bool keep_gradient) {
    most = take_options(most);
    const Batch<T> batch = batch_at(row, rows);
    if (staged_ && batches_ > 1) most = std::min(most, std::max(Index{1}, staged_->together(row) / rows));
    if (keep_gradient || !fused_) {
      step_each(data_, batch, rows_from(row, rows), share_from(row, rows), batches_ == 1);
      return 1;
    }
    const Index n = std::min({most, pacer_.patience(), most_steps_});
    run_burst(batch, n);
    return n;
  }

  // Fused steps on the rows of the batch and those after them, or on the same ones where there is only one batch.
  void run_burst(const Batch<T>& batch, Index count) {
    const bool same_rows = batches_ == 1;
    if (active_.size() > 1 &&
        active_[0]->runner(batch.rows).group_steps(loss_, batch, count, same_rows, members_, losses_.data()))
      return record_losses(count);
    for_active(count,
               [&](TraineeState<T>& member, double* losses) { member.steps(loss_, batch, count, same_rows, losses); });
  }

  // step(member, losses), `count` steps of each; on the host one network a thread.
  template <class Step>
  void for_active(Index count, const Step& step) {
    if (active_.size() == 1) {
      step(*active_[0], losses_.data());
      return record_losses(count);
    }
    std::vector<std::exception_ptr> errors(active_.size());
    auto run = [&](int member) {
      const auto m = static_cast<std::size_t>(member);
      try {
        step(*active_[m], losses_of(m, count));
      } catch (...) {
        errors[m] = std::current_exception();
      }
    };
    const int size = static_cast<int>(active_.size());
    const Executor executor = thread_pool_executor();
    executor.run(
        executor.pool, device_.host ? executor.workers : 1, size,
        [](void* body, int member, int) { (*static_cast<decltype(run)*>(body))(member); }, &run);
    for (const std::exception_ptr& error : errors)
      if (error) std::rethrow_exception(error);
    record_losses(count);
  }

  // Of a member's steps in the last call.
  double* losses_of(std::size_t member, Index count) {
    return losses_.data() + member * static_cast<std::size_t>(count);
  }

  // Counts the steps whose losses are in losses_.
  void record_losses(Index count) {
    for (std::size_t m = 0; m < active_.size(); ++m)
      active_[m]->history.add_steps(losses_of(m, count), count, options_.eval_interval);
  }

  const LossSpec& loss_;
  const DataSet<T>& data_;
  const DataSet<T>* validation_;
  const FitOptions& options_;
  const PollHook& poll_;
  const BatchHook<T>& stream_;
  const Device& device_;
  const Index first_epoch_, batches_, most_steps_;
  const double share_;  // of all rows
  bool fused_ = true, has_callbacks_ = false, ends_early_ = false, has_own_steps_ = false;
  Index epochs_left_ = 0;  // with the one that is under way
  std::vector<std::unique_ptr<TraineeState<T>>> all_;
  std::vector<TraineeState<T>*> active_;  // those that are still trained
  std::vector<GroupMember<T>> members_;   // the same, as strategies take them
  Pacer pacer_;
  std::vector<double> losses_;  // of the steps of one call, for each active network
  std::vector<Index> ids_, epoch_ids_;
  Buffer<Index> device_ids_;
  std::optional<StagedRows<T>> staged_;  // the data's, where they have a source
  std::chrono::steady_clock::time_point lap_begin_ = std::chrono::steady_clock::now();
};

}  // namespace

template <class T>
void fit(const std::vector<Trainee<T>>& group, const LossSpec& loss, const DataSet<T>& data,
         const DataSet<T>* validation, const FitOptions& options, const PollHook& poll, const BatchHook<T>& batches) {
  Fit<T>(group, loss, data, validation, options, poll, batches).run();
}

#define FASTMLP_INSTANTIATE(T)                                                                                \
  template void fit<T>(const std::vector<Trainee<T>>&, const LossSpec&, const DataSet<T>&, const DataSet<T>*, \
                       const FitOptions&, const PollHook&, const BatchHook<T>&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
