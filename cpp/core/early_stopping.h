// Ends a training that improves no more, and keeps what the network had learnt in its best epoch.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "core/history.h"
#include "core/program.h"

namespace fastmlp {

// A copy of what a network has learnt, in memory that is made once.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  // Gives the network these values again; those that have moved to another device meanwhile are left alone.
  virtual void restore() const = 0;
};

// Parameters, and running statistics with the numbers of their batches.
template <class T>
class ModelSnapshot final : public Snapshot {
 public:
  explicit ModelSnapshot(const Program<T>& program) : values_(values_of(program)) {
    for (const auto& values : values_) copies_.emplace_back(static_cast<std::size_t>(values->size()), values->device());
    for (const Operation<T>& operation : program.operations())
      if (operation.batch.batches) counts_.push_back({operation.batch.batches, 0});
  }

  bool is_of(const Program<T>& program) const { return values_of(program) == values_; }
  void take() {
    for (std::size_t i = 0; i < values_.size(); ++i) copy(copies_[i], values_[i]->value);
    for (Count& count : counts_) count.copy = *count.batches;
  }
  void restore() const override {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (&copies_[i].device() != &values_[i]->device()) continue;
      copy(values_[i]->value, copies_[i]);
      values_[i]->count_change();
    }
    for (const Count& count : counts_) *count.batches = count.copy;
    if (!copies_.empty()) check(copies_[0].device().synchronize(StreamScope::current()));
  }

 private:
  using Values = std::vector<std::shared_ptr<Parameter<T>>>;
  struct Count {
    std::shared_ptr<std::int64_t> batches;
    std::int64_t copy;
  };

  static Values values_of(const Program<T>& program) {
    Values all = program.parameters();
    all.insert(all.end(), program.buffers().begin(), program.buffers().end());
    return all;
  }
  static void copy(Buffer<T>& to, const Buffer<T>& from) {
    check(to.device().copy(to.data(), from.data(), to.size() * sizeof(T), StreamScope::current()));
  }

  const Values values_;
  std::vector<Buffer<T>> copies_;
  std::vector<Count> counts_;
};

struct StoppingRule {
  int monitor = 1;  // the curve: 0 for the loss, 1 for that of the validation data, 2 + i for their metric i
  Index patience = 10;
  double min_delta = 0;
  bool maximize = false;
  bool keep_best = true;  // what the network has learnt
};

// One for each training; other threads may read the results meanwhile.
class EarlyStopping {
 public:
  explicit EarlyStopping(const StoppingRule& rule) : rule_(rule) {}

  // Before a training, or before it goes on. If other parameters are trained now, everything begins anew.
  template <class T>
  void prepare(const Program<T>& program) {
    if (auto* kept = dynamic_cast<ModelSnapshot<T>*>(kept_.get()); kept && kept->is_of(program)) return;
    kept_ = std::make_unique<ModelSnapshot<T>>(program);
    best_ = std::numeric_limits<double>::quiet_NaN();
    best_epoch_ = stopped_epoch_ = -1;
    waited_ = 0;
  }

  // Takes an epoch's result, and a copy of the network's values where it is the best one. Returns whether the training ends.
  template <class T>
  bool add(const EpochResult& result) {
    const double value = value_of(result);
    if (improves(value)) {
      best_ = value;
      best_epoch_ = result.epoch;
      waited_ = 0;
      if (rule_.keep_best) static_cast<ModelSnapshot<T>&>(*kept_).take();
      return false;
    }
    if (++waited_ < rule_.patience) return false;
    stopped_epoch_ = result.epoch;
    return true;
  }

  // The values of the best epoch, if there was one; their copy goes.
  void restore() {
    if (kept_ && rule_.keep_best && best_epoch_ >= 0) kept_->restore();
    kept_.reset();
  }

  double best() const { return best_; }                   // NaN: no value was a number
  Index best_epoch() const { return best_epoch_; }        // -1: none
  Index stopped_epoch() const { return stopped_epoch_; }  // -1: it did not stop

 private:
  double value_of(const EpochResult& result) const {
    if (rule_.monitor == 0) return result.loss;
    if (rule_.monitor == 1) return *result.validation_loss;
    return result.metrics[static_cast<std::size_t>(rule_.monitor - 2)];
  }
  bool improves(double value) const {
    if (std::isnan(best_)) return !std::isnan(value);
    return rule_.maximize ? value > best_ + rule_.min_delta : value < best_ - rule_.min_delta;
  }

  const StoppingRule rule_;
  std::atomic<double> best_{std::numeric_limits<double>::quiet_NaN()};
  std::atomic<Index> best_epoch_{-1}, stopped_epoch_{-1};
  Index waited_ = 0;
  std::unique_ptr<Snapshot> kept_;
};

}  // namespace fastmlp
