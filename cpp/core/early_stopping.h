// Ends a training that improves no more, and keeps what the network had learnt in its best epoch.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/history.h"
#include "core/program.h"
#include "core/state.h"

namespace fastmlp {

// A copy of what a network has learnt, in memory that is made once.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  // Gives the network these values again; those that have moved to another device meanwhile are left alone.
  virtual void restore() const = 0;
  virtual void take() = 0;
  // Adds the copy to a state, in the program's order.
  virtual void add_to(State& state) const = 0;
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
  void take() override {
    const Stream stream = StreamScope::current();
    for (std::size_t i = 0; i < values_.size(); ++i) copy(copies_[i], values_[i]->value, stream);
    for (Count& count : counts_) count.copy = *count.batches;
  }
  void restore() const override {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (&copies_[i].device() != &values_[i]->device()) continue;
      copy(values_[i]->value, copies_[i], StreamScope::current());
      values_[i]->count_change();
    }
    for (const Count& count : counts_) *count.batches = count.copy;
    if (!copies_.empty()) check(copies_[0].device().synchronize(StreamScope::current()));
  }
  void add_to(State& state) const override {
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      std::vector<T> values(copies_[i].size());
      const Device& device = copies_[i].device();
      check(device.download(values.data(), copies_[i].data(), values.size() * sizeof(T), StreamScope::current()));
      state.add(value_name(i), std::move(values));
    }
    for (std::size_t i = 0; i < counts_.size(); ++i) state.add(count_name(i), Index{counts_[i].copy});
  }
  // Takes the copy from a state instead. Returns false, and has taken nothing, where that is of another network.
  bool take_from(const State& state) {
    std::vector<std::vector<T>> values;
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      if (!state.has(value_name(i))) return false;
      values.push_back(state.get<std::vector<T>>(value_name(i)));
      if (values.back().size() != copies_[i].size()) return false;
    }
    for (std::size_t i = 0; i < counts_.size(); ++i)
      if (!state.has(count_name(i))) return false;
    if (state.has(value_name(copies_.size())) || state.has(count_name(counts_.size()))) return false;
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i].copy = state.get<Index>(count_name(i));
    for (std::size_t i = 0; i < copies_.size(); ++i)
      check(copies_[i].device().upload(copies_[i].data(), values[i].data(), values[i].size() * sizeof(T),
                                       StreamScope::current()));
    return true;
  }

 private:
  using Values = std::vector<std::shared_ptr<Parameter<T>>>;
  struct Count {
    std::shared_ptr<std::int64_t> batches;
    std::int64_t copy;
  };

  static std::string value_name(std::size_t i) { return "value." + std::to_string(i); }
  static std::string count_name(std::size_t i) { return "count." + std::to_string(i); }
  static Values values_of(const Program<T>& program) {
    Values all = program.parameters();
    all.insert(all.end(), program.buffers().begin(), program.buffers().end());
    return all;
  }
  static void copy(Buffer<T>& to, const Buffer<T>& from, Stream stream) {
    check(to.device().copy(to.data(), from.data(), to.size() * sizeof(T), stream));
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
    auto copy = std::make_unique<ModelSnapshot<T>>(program);
    best_ = std::numeric_limits<double>::quiet_NaN();
    best_epoch_ = stopped_epoch_ = -1;
    waited_ = 0;
    if (before_ && (!rule_.keep_best || before_->best_epoch < 0 || copy->take_from(before_->state))) {
      best_ = before_->best;
      best_epoch_ = before_->best_epoch;
      waited_ = before_->waited;
    }
    before_.reset();
    kept_ = std::move(copy);
  }

  // Where a training is in the search for its best epoch, with a copy of that.
  State state() const {
    State state("early_stopping");
    state.add("best", best());
    state.add("best_epoch", best_epoch());
    state.add("waited", waited_);
    if (kept_ && rule_.keep_best && best_epoch_ >= 0) kept_->add_to(state);
    return state;
  }
  // Copies what the network holds now, and nothing else, to a state: as if this were its best epoch.
  State snapshot() {
    State state("early_stopping");
    if (kept_) {
      kept_->take();
      kept_->add_to(state);
    }
    return state;
  }
  // Before a training that goes on from there. One of another network begins anew.
  // Throws std::invalid_argument unless it is a state; nothing has changed then.
  void resume(State state) {
    const auto best = state.get<double>("best");
    const auto epoch = state.get<Index>("best_epoch"), waited = state.get<Index>("waited");
    if (epoch < -1 || waited < 0 || std::isnan(best) != (epoch < 0))
      throw std::invalid_argument("early_stopping: expected numbers that belong together");
    before_ = Before{best, epoch, waited, std::move(state)};
  }

  // Takes an epoch's result, and a copy of the network's values where it is the best one. Returns whether the training ends.
  template <class T>
  bool add(const EpochResult& result) {
    const double value = value_of(result);
    if (improves(value)) {
      best_.store(value, std::memory_order_relaxed);
      best_epoch_.store(result.epoch, std::memory_order_relaxed);
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

  struct Before {  // the training that is resumed
    double best;
    Index best_epoch, waited;
    State state;
  };

  const StoppingRule rule_;
  std::atomic<double> best_{std::numeric_limits<double>::quiet_NaN()};
  std::atomic<Index> best_epoch_{-1}, stopped_epoch_{-1};
  Index waited_ = 0;
  std::unique_ptr<Snapshot> kept_;
  std::optional<Before> before_;
};

}  // namespace fastmlp
