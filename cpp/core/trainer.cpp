#include "core/trainer.h"

#include <algorithm>
#include <optional>

#include "core/bursts.h"
#include "core/row_orders.h"
#include "core/staged_rows.h"
#include "core/tasks.h"
#include "core/trainee.h"

namespace fastmlp {

namespace {

constexpr Index kMostLosses = Index{1} << 18;  // that a call on a device leaves, and constants of steps

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
        has_order_(options.shuffle && batches_ > 1 && !stream),
        orders_(data.sources.any() ? host_device() : device_, data.rows) {
    const Index rows = std::min(options.batch_size, data.rows), tail = data.rows - (batches_ - 1) * options.batch_size;
    all_.reserve(group.size());
    for (const Trainee<T>& trainee : group) {
      trainee.history.make_room(options.max_epoch, static_cast<bool>(trainee.on_plan), validation != nullptr);
      has_callbacks_ |= static_cast<bool>(trainee.on_epoch);
      has_plans_ |= static_cast<bool>(trainee.on_plan);
      ends_early_ |= trainee.early_stopping || trainee.convergence;
      auto& member = all_.emplace_back(std::make_unique<TraineeState<T>>(
          trainee, data, validation, typename TraineeState<T>::Batches{rows, tail == rows ? 0 : tail, data.columns},
          options));
      fused_ = fused_ && member->fused() && !member->data.function;
      own_orders_ |= has_order_ && member->seed != all_[0]->seed;
      has_own_steps_ |= trainee.has_own_step();
      if ((device_.host || group.size() == 1) && !trainee.own_step)
        member->acquire();  // on a device, the first one's runner may serve all
      active_.push_back(member.get());
    }
    if (!device_.host) pacer_ = Pacer(first_burst(rows));
    find_seeds();
    if (data.sources.any()) staged_.emplace(data, options.batch_size, out_columns(data.columns), device_);
  }

  void run() {
    try {
      run_epochs();
      bursts_.finish_last(polls());
    } catch (...) {
      bursts_.collect_all();
      throw;
    }
  }

 private:
  void run_epochs() {
    const bool together = fused_ && !validation_ && !has_callbacks_ && !ends_early_ && !stream_ && !has_own_steps_;
    bursts_.overlap = together && !device_.host && !has_plans_ && !staged_ && !options_.stop_at_nonfinite;
    for (Index e = 0; e < options_.max_epoch && !active_.empty();) {
      epochs_left_ = options_.max_epoch - e;
      bursts_.make_room(most_steps_);
      const Index most = epochs_left_ - (options_.keep_gradient ? 1 : 0);
      if (together && most > 0) {
        if (const Index n = begin_burst(most); n > 0) {
          e += n;
          if (bursts_.overlap) {
            bursts_.finish_last(polls());
            bursts_.swap();
          } else {
            bursts_.finish(polls());
            keep_if([&](TraineeState<T>& member) { return member.goes_on(n); });
          }
          continue;
        }
      }
      bursts_.finish_last(polls());
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
      if (validation_)
        for (TraineeState<T>* member : active_) validate(*member);
      const double seconds = bursts_.lap();
      keep_if([&](TraineeState<T>& member) { return member.end_epoch(epoch, seconds); });
    }
  }

  // Drops the members whose training ends; `goes_on` is called once for each.
  template <class GoesOn>
  void keep_if(const GoesOn& goes_on) {
    if (std::erase_if(active_, [&](TraineeState<T>* member) { return !goes_on(*member); }) > 0) find_seeds();
  }
  void find_seeds() {
    seeds_.clear();
    for (const TraineeState<T>* member : active_)
      if (own_orders_ || seeds_.empty()) seeds_.push_back(member->seed);
  }

  // Steps that a device begins with: many, as each burst costs the host some 20 us, but not for long, of large networks.
  Index first_burst(Index rows) const {
    constexpr Index kMost = 256, kProducts = Index{1} << 36;  // some milliseconds
    Index values = 1;
    for (const auto& parameter : all_[0]->network.parameters()) values += parameter->size();
    return std::clamp(kProducts / (3 * rows * values * static_cast<Index>(all_.size())), Index{1}, kMost);
  }

  void validate(TraineeState<T>& member) {
    member.validation_loss = member.evaluate(loss_, *member.validation);
    if (member.trainee.measure) member.metrics = member.trainee.measure();
  }

  Index out_columns(Index columns) const {
    const Index out = all_[0]->network.out_features();
    return out < 0 ? columns : out;
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

  // Epochs without anything between them. Returns how many, 0: they are not worth it; finish() gives their losses.
  Index begin_burst(Index most) {
    const Index n = batches_ == 1 ? begin_steps(0, data_.rows, most) : begin_epochs(most);
    if (n > 0)
      bursts_.begin_epochs(n, [&](std::size_t m, Index batch) {
        return share_from(m, batch * options_.batch_size, options_.batch_size);
      });
    return n;
  }

  // On a device, prepares the rows of several epochs at once, to avoid host round trips; their batches are all full.
  Index begin_epochs(Index most) {
    constexpr Index kMostRows = Index{1} << 22;
    if (device_.host || staged_ || data_.rows % options_.batch_size != 0) return 0;
    const Index steps = take_options(std::min(pacer_.stride(), most_steps_));
    const Index orders = own_orders_ ? static_cast<Index>(active_.size()) : 1;
    const Index n = std::min({most, steps / batches_, kMostRows / (data_.rows * orders)});
    if (n < 2) return 0;
    if (options_.shuffle)
      orders_.draw(seeds_, bursts_.next_epoch(), n);
    else
      orders_.repeat(n);
    run_burst(0, options_.batch_size, n * batches_);
    return n;
  }

  // An epoch's loss from those of its batches, of so many rows each; share_of(row, rows) is that of some of them, from the
  // first batch's row number `row` on.
  template <class ShareOf>
  void add_losses(double& sum, const double* losses, Index count, Index rows, const ShareOf& share_of) const {
    for (Index i = 0; i < count; ++i) sum += losses[i] * (loss_.is_mean() ? share_of(i * rows, rows) : 1.0);
  }
  double epoch_loss(double sum, double share) const { return loss_.is_mean() ? sum / share : sum; }
  // Of an epoch of a member, from row number `row` of its order on. Staged rows have to lie there.
  double share_from(std::size_t member, Index row, Index count) const {
    return staged_ ? staged_->share(row, count) : active_[member]->data.share(rows_from(member, row, count));
  }
  RowNumbers rows_from(std::size_t member, Index row, Index count) const {
    const Index* const ids = orders_.here(member);
    return {ids ? ids + row : nullptr, row, count};
  }

  void begin_order(Index epoch) {
    if (has_order_)
      orders_.draw(seeds_, epoch, 1);
    else
      orders_.forget();
    if (staged_) staged_->begin(orders_.here(0));
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
        add_losses(active_[m]->loss_sum, bursts_.losses_of(m, n), n, rows,
                   [&](Index first, Index count) { return share_from(m, row + first, count); });
      row += n * rows;
      poll(n, epoch);
    }
    for (std::size_t m = 0; m < active_.size(); ++m) {
      active_[m]->finish_group();  // a single batch's loss unrounded, as in a burst
      active_[m]->epoch_loss =
          batches_ == 1 ? bursts_.losses_of(m, 1)[0] : epoch_loss(active_[m]->loss_sum, active_[m]->share);
    }
  }

  // Of each member by itself.
  void run_own_step(Index epoch) {
    for (std::size_t m = 0; m < active_.size(); ++m) {
      bool begun = false;
      const double loss = active_[m]->own_step(loss_, active_[m]->data, [&](double value) {
        if (!std::exchange(begun, true)) *bursts_.losses_of(m, 1) = value;
        poll(1, epoch);  // a step may take long
      });
      *bursts_.losses_of(m, 1) = active_[m]->epoch_loss = loss;
    }
    bursts_.record(1);
    poll(1, epoch);
  }

  // An epoch of batches that come one by one. Each leaves its gradient, since it may be the last.
  void run_stream(Index epoch) {
    double all = 0;
    for (TraineeState<T>* member : active_) member->loss_sum = 0;
    while (const DataSet<T>* data = stream_()) {
      take_options(1);
      const double share = data->share();
      for_active(1, [&](TraineeState<T>& member, std::size_t, double* loss) {
        *loss =
            step(member, *data, {data->x, data->targets, nullptr, data->rows}, {nullptr, 0, data->rows}, share, false);
      });
      bursts_.record(1);
      for (std::size_t m = 0; m < active_.size(); ++m)
        active_[m]->loss_sum += bursts_.losses_of(m, 1)[0] * (loss_.is_mean() ? share : 1.0);
      all += share;
      poll(1, epoch);
    }
    for (TraineeState<T>* member : active_) {
      member->finish_group();
      member->epoch_loss = epoch_loss(member->loss_sum, all);
    }
  }

  // An epoch together with other processes, which may have more batches or fewer.
  [[gnu::cold]] void run_rounds(Index epoch) {
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
      if (staged_) staged_batch_ = staged_->batch(first, rows);
      return OwnBatch<T>{&data_, batch_of(0, first, rows), rows_from(0, first, rows), share_from(0, first, rows)};
    };
    const auto [sum, share] = active_[0]->run_rounds(
        loss_, next, batches_ == 1 && !stream_, [&] { take_options(1); },
        [&](double loss) {
          *bursts_.losses_of(0, 1) = loss;
          bursts_.record(1);
          poll(1, epoch);
        });
    active_[0]->epoch_loss = epoch_loss(sum, share);
  }

  // A step of a network by itself, on a batch of some rows of the data, which have this share; it leaves its gradient.
  double step(TraineeState<T>& member, const DataSet<T>& data, const Batch<T>& batch, const RowNumbers& rows,
              double share, bool same_rows) {
    return data.function ? member.step_with_function(data.function, batch, rows)
                         : member.step_with_gradient(loss_, batch, share, same_rows);
  }

  // So many rows of a member's data, from number `row` of its order on.
  Batch<T> batch_of(std::size_t m, Index row, Index rows) const {
    if (staged_) return staged_batch_;
    const DataSet<T>& data = active_[m]->data;
    Batch<T> batch{data.x, data.targets, orders_.there(m), rows};
    if (device_.host)
      batch.advance(row, data_.columns, out_columns(data_.columns));
    else
      batch.row = row;
    return batch;
  }

  void poll(Index steps, Index epoch) { poll(steps, epoch, bursts_.losses_of(0, steps)[steps - 1]); }
  void poll(Index steps, Index epoch, double loss) {
    if (pacer_.due(steps) && poll_) poll_(epoch, loss);
  }
  auto polls() {
    return [this](Index steps, Index epoch, double loss) { poll(steps, epoch, loss); };
  }

  // Up to `most` steps on batches of `rows` rows from `row` on (all the same, if there is only one batch), as many as
  // may run before the clock is looked at; one, if it is to keep its gradient. Their losses are in the burst.
  Index run_steps(Index row, Index rows, Index most, bool keep_gradient) {
    if (!keep_gradient && fused_) {
      const Index n = begin_steps(row, rows, most);
      bursts_.count_steps();
      return n;
    }
    take_batch(row, rows, most);
    // Of many networks on a device, each gives its memory back before the next one takes some.
    const bool discards = fused_ && !device_.host && active_.size() > 1;
    for_active(1, [&](TraineeState<T>& member, std::size_t m, double* loss) {
      *loss = step(member, member.data, batch_of(m, row, rows), rows_from(m, row, rows), share_from(m, row, rows),
                   batches_ == 1);
      if (discards) member.discard();
    });
    bursts_.record(1);
    return 1;
  }

  // Makes ready what the next steps need, and returns how many of `most` can be taken with it.
  Index take_batch(Index row, Index rows, Index most) {
    most = take_options(most);
    if (!staged_) return most;
    staged_batch_ = staged_->batch(row, rows);
    return batches_ == 1 ? most : std::min(most, std::max(Index{1}, staged_->together(row) / rows));
  }

  // The same with fused steps, whose losses the burst has, or will have.
  Index begin_steps(Index row, Index rows, Index most) {
    const Index n = std::min({take_batch(row, rows, most), pacer_.patience(), most_steps_});
    run_burst(row, rows, n);
    return n;
  }

  // Fused steps on batches of `rows` rows from `row` on, or on the same ones where there is only one batch.
  void run_burst(Index row, Index rows, Index count) {
    const bool same_rows = batches_ == 1;
    bursts_.begin(count);
    if (active_.size() > 1 && !device_.host) {
      members_.clear();
      for (std::size_t m = 0; m < active_.size(); ++m)
        members_.push_back({&active_[m]->network.program(), &active_[m]->optimizer, batch_of(m, row, rows)});
      if (active_[0]->runner(rows).group_steps(loss_, count, same_rows, members_, bursts_.losses_of(0, count),
                                               bursts_.later(0)))
        return;
    }
    for_active(count, [&](TraineeState<T>& member, std::size_t m, double* losses) {
      member.steps(loss_, batch_of(m, row, rows), count, same_rows, losses, bursts_.later(m));
    });
  }

  // step(member, its number, losses), `count` steps of each; on the host one network a thread.
  template <class Step>
  void for_active(Index count, const Step& step) {
    if (active_.size() == 1) return step(*active_[0], 0, bursts_.losses_of(0, count));
    for_tasks(static_cast<Index>(active_.size()), device_.host ? kMostThreads : 1, [&](Index member) {
      const auto m = static_cast<std::size_t>(member);
      step(*active_[m], m, bursts_.losses_of(m, count));
    });
  }

  const LossSpec& loss_;
  const DataSet<T>& data_;
  const DataSet<T>* validation_;
  const FitOptions& options_;
  const PollHook& poll_;
  const BatchHook<T>& stream_;
  const Device& device_;
  const Index first_epoch_, batches_, most_steps_;
  const bool has_order_;  // a random one
  bool fused_ = true, has_callbacks_ = false, ends_early_ = false, has_own_steps_ = false;
  bool own_orders_ = false;  // each network takes the rows in an order of its own
  Index epochs_left_ = 0;    // with the one that is under way
  std::vector<std::unique_ptr<TraineeState<T>>> all_;
  std::vector<TraineeState<T>*> active_;  // those that are still trained
  std::vector<GroupMember<T>> members_;   // the same, as strategies take them, in a burst
  Pacer pacer_;
  bool has_plans_ = false;
  Bursts<T> bursts_{active_, options_, batches_, loss_.is_mean()};
  std::vector<std::uint64_t> seeds_;  // that orders of rows depend on: of each active network, or of all of them
  RowOrders orders_;
  std::optional<StagedRows<T>> staged_;  // the data's, where they have a source
  Batch<T> staged_batch_;
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
