#include "core/network.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>

#include "core/host_mirror.h"
#include "core/staged_rows.h"
#include "core/thread_pool.h"

namespace fastmlp {

template <class T>
struct Network<T>::Folded {
  Folded(std::vector<ValueState> states_, Program<T> program)
      : states(std::move(states_)), network(std::move(program), false) {}

  const std::vector<ValueState> states;  // of the parameters and buffers that it was made of
  Network network;
};

// Runners ----------------------------------------------------------------------------------------------------------

template <class T>
void Network<T>::check_places() const {
  for (const auto* all : {&parameters(), &program_.buffers()})
    for (const auto& parameter : *all)
      if (&parameter->device() != &device()) [[unlikely]]
        throw std::runtime_error("the model's parameters have moved to another device");
}

// The last pass may still run in another stream, and its memory is about to be used in this one. Under the lock.
template <class T>
void Network<T>::join_last_stream() {
  if (device().host) return;
  if (const Stream last = std::exchange(last_stream_, StreamScope::current()); last != last_stream_)
    check(device().wait(last_stream_, last));
}

template <class T>
typename Network<T>::Lease Network<T>::acquire(Index rows, Index columns, bool training) {
  check_places();
  if (const std::uint64_t number = capture()) [[unlikely]]
    return acquire_for(number, rows, columns, training);
  std::unique_ptr<Runner<T>> runner;
  {
    const Locked locked(lock_);
    if (!locked.intact) forget_free();
    join_last_stream();
    auto found = std::find_if(free_.begin(), free_.end(),
                              [&](const auto& free) { return free->is_for(rows, columns, training); });
    if (found == free_.end() && !free_.empty()) {
      const auto like =
          std::find_if(free_.rbegin(), free_.rend(),
                       [strategy = strategy_for(rows, training)](auto& free) { return free->strategy() == strategy; });
      if (like != free_.rend()) found = std::prev(like.base());
    }
    if (found != free_.end()) {
      runner = std::move(*found);
      free_.erase(found);
    }
  }
  if (!runner) runner = make_runner(program_, strategy_for(rows, training));
  runner->prepare(rows, columns, training);
  runner->forget_optimizer();
  runner->use(nullptr);
  return Lease(runner.release(), Return{this});
}

// In a capture of the caller's nothing can be made ready: a runner that has served such a batch before is the graph's from
// then on, and serves all batches of that capture, in their order.
template <class T>
typename Network<T>::Lease Network<T>::acquire_for(std::uint64_t capture, Index rows, Index columns, bool training) {
  const Locked locked(lock_);
  if (!locked.intact) forget_free();
  std::unique_ptr<Runner<T>> runner;
  for (auto& [number, own] : captured_)
    if (!runner && number == capture && own && own->is_for(rows, columns, training)) runner = std::move(own);
  std::erase_if(captured_, [](const auto& each) { return !each.second; });
  const auto found =
      std::find_if(free_.begin(), free_.end(), [&](const auto& free) { return free->is_for(rows, columns, training); });
  if (!runner && found != free_.end()) {
    runner = std::move(*found);
    free_.erase(found);
  }
  if (!runner)
    throw std::runtime_error("a CUDA graph is being captured, and nothing is ready for a batch of " +
                             std::to_string(rows) + " rows: call once with as many before each capture");
  return Lease(runner.release(), Return{this, capture});
}

constexpr std::size_t kMostBytes = std::size_t{256} << 20;  // of all that are kept: larger ones are made anew

template <class T>
void Network<T>::release(Runner<T>* runner, std::uint64_t capture) {
  constexpr std::size_t kMostKept = 4;  // one for training and one for inference, of two threads
  std::unique_ptr<Runner<T>> owned(runner);
  const Locked locked(lock_);
  if (!locked.intact) forget_free();
  if (capture) return void(captured_.emplace_back(capture, std::move(owned)));
  std::size_t kept = owned->bytes();
  if (kept > kMostBytes) return;
  for (kept += kept_bytes(); kept > kMostBytes && !free_.empty(); free_.erase(free_.begin()))
    kept -= free_.front()->bytes();
  if (kept <= kMostBytes && free_.size() < kMostKept) free_.push_back(std::move(owned));
}

template <class T>
std::size_t Network<T>::kept_bytes() const {
  std::size_t bytes = 0;
  for (const auto& free : free_) bytes += free->bytes();
  for (const auto& free : free_derivatives_) bytes += free->bytes();
  return bytes;
}

// The process was forked while another thread was changing what the lock guards: leaks it, since it may be inconsistent.
template <class T>
void Network<T>::forget_free() {
  new (&free_) std::vector<std::unique_ptr<Runner<T>>>();
  new (&captured_) std::vector<std::pair<std::uint64_t, std::unique_ptr<Runner<T>>>>();
  new (&free_derivatives_) std::vector<std::unique_ptr<InputDerivatives<T>>>();
  new (&folded_) std::shared_ptr<Folded>();
  new (&packed_) std::shared_ptr<PackedWeights<T>>();
}

// Inference --------------------------------------------------------------------------------------------------------

// Rows that one pass of inference takes at most: buffers of a few megabytes.
template <class T>
Index Network<T>::inference_rows(Index rows, Index columns, bool training) const {
  constexpr Index kValues = Index{1} << 20, kFewest = 256;
  if (rows <= kFewest || program_.mixes_rows(training)) return rows;
  Index widest = columns;
  for (int value = 0; value <= program_.size(); ++value) widest = std::max(widest, program_.width(value));
  return std::min(rows, std::max(kFewest, kValues / widest / kFewest * kFewest));
}

template <class T>
std::shared_ptr<typename Network<T>::Folded> Network<T>::folded_now() {
  if (!folds_) return nullptr;
  std::vector<ValueState> states;
  bool known = true;
  for (const auto* all : {&parameters(), &program_.buffers()})
    for (const auto& parameter : *all) {
      states.push_back(parameter->state());
      known &= states.back().known();
    }
  if (known) {
    const Locked locked(lock_);
    if (locked.intact && folded_ && folded_->states == states) return folded_;
  }
  auto fresh = std::make_shared<Folded>(std::move(states), Program<T>(folded(program_), program_.precision()));
  if (!known) return fresh;
  const Locked locked(lock_);
  if (!locked.intact) forget_free();
  return folded_ = fresh;
}

// To make copies takes as long as up to a dozen predictions, so that values that change after fewer get none. Nor do single
// rows. Where memory is short it goes without.
template <class T>
std::shared_ptr<const PackedWeights<T>> Network<T>::packed_now(Index rows) {
  constexpr int kPredictionsBefore = 16;
  if (packable_.empty() || rows < 2) return nullptr;
  std::vector<ValueState> states;
  for (const int i : packable_) {
    states.push_back(program_.operations()[static_cast<std::size_t>(i)].weight->state());
    if (!states.back().known()) return nullptr;
  }
  {
    const Locked locked(lock_);
    if (!locked.intact) forget_free();
    if (!packed_ || packed_->states != states) packed_ = std::make_shared<PackedWeights<T>>(states);
    if (packed_->packed()) return packed_;
    if (packed_->predictions > kPredictionsBefore) return nullptr;  // made by another thread, or in vain
    if (strategy_for(rows, false) != Strategy::Dense || ++packed_->predictions <= kPredictionsBefore) return nullptr;
  }
  auto fresh = std::make_shared<PackedWeights<T>>(std::move(states));
  try {
    fresh->pack(program_, packable_, {thread_pool_executor(), nullptr});
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  const Locked locked(lock_);
  if (!locked.intact) forget_free();
  return packed_ = fresh;
}

template <class T>
void Network<T>::predict(const T* x, Index rows, Index columns, const DropoutState* dropout, T* y) {
  if (const auto other = dropout ? nullptr : folded_now()) return other->network.predict(x, rows, columns, nullptr, y);
  const Index out = out_columns(columns), most = inference_rows(rows, columns, dropout != nullptr);
  const auto packed = packed_now(rows);
  for (Index row = 0; row < rows; row += most) {
    const Index n = std::min(most, rows - row);
    const Lease runner = acquire(n, columns, false);
    runner->use(packed.get());
    DropoutState state = dropout ? *dropout : DropoutState{};
    state.step += static_cast<std::uint64_t>(row / most);
    runner->forward({x + row * columns, {}, nullptr, n}, dropout ? &state : nullptr, y + row * out);
  }
}

// body(runner, batch, row, part) for pieces of a data set in turn: the rows from number `row` on, piece number `part`.
template <class T>
template <class Body>
void Network<T>::for_parts(const DataSet<T>& data, bool training, const Body& body) {
  const Index out = out_columns(data.columns), most = inference_rows(data.rows, data.columns, training);
  std::optional<StagedRows<T>> staged;
  if (data.sources.any()) staged.emplace(data, most, out);
  for (Index row = 0; row < data.rows; row += most) {
    const Index n = std::min(most, data.rows - row);
    const Lease runner = acquire(n, data.columns, false);
    const Batch<T> batch =
        staged ? staged->batch(row, n) : Batch<T>{data.x + row * data.columns, data.targets.from(row, out), nullptr, n};
    body(*runner, batch, row, row / most);
  }
}

template <class T>
void Network<T>::predict(const DataSet<T>& data, T* y) {
  if (const auto other = folded_now()) return other->network.predict(data, y);
  const Index out = out_columns(data.columns);
  for_parts(data, false, [&](Runner<T>& runner, const Batch<T>& batch, Index row, Index) {
    runner.forward(batch, nullptr, y + row * out);
  });
}

template <class T>
void Network<T>::predict(const DataSet<T>& data, const DropoutState* dropout, const Take& take) {
  if (const auto other = dropout ? nullptr : folded_now()) return other->network.predict(data, nullptr, take);
  const Index out = out_columns(data.columns);
  Buffer<T> x(device());
  HostMirror<T> y(device());
  for_parts(data, dropout != nullptr, [&](Runner<T>& runner, const Batch<T>& batch, Index row, Index part) {
    DropoutState state = dropout ? *dropout : DropoutState{};
    state.step += static_cast<std::uint64_t>(part);
    Batch<T> own = batch;
    if (!device().host) {
      const auto size = static_cast<std::size_t>(batch.rows * data.columns);
      x.reserve(size);
      check(device().upload(x.data(), batch.x, size * sizeof(T), StreamScope::current()));
      own.x = x.data();
    }
    y.reserve(batch.rows * out);
    runner.forward(own, dropout ? &state : nullptr, y.memory(0));
    take(y.to_host(0, batch.rows * out), batch.targets, row, batch.rows);
  });
}

template <class T>
double Network<T>::evaluate(const LossSpec& spec, const DataSet<T>& data) {
  if (const auto other = folded_now()) return other->network.evaluate(spec, data);
  double total = 0;
  for_parts(data, false, [&](Runner<T>& runner, const Batch<T>& batch, Index, Index) {
    total += runner.evaluate(spec.summed(), batch);
  });
  return mean(spec, total, data);
}

template <class T>
typename Network<T>::Lease Network<T>::acquire_for_evaluation(const DataSet<T>& data) {
  const bool at_once = inference_rows(data.rows, data.columns, false) >= data.rows;
  if (folds_ || !device().host || data.sources.any() || !at_once) return nullptr;
  return acquire(data.rows, data.columns, false);
}

template <class T>
double Network<T>::evaluate(Runner<T>& runner, const LossSpec& spec, const DataSet<T>& data, bool unchanged) {
  return mean(spec, runner.evaluate(spec.summed(), {data.x, data.targets, nullptr, data.rows, unchanged}), data);
}

// Derivatives ------------------------------------------------------------------------------------------------------

// body(derivatives), which serve one thread at a time and are kept for the next call.
template <class T>
template <class Body>
void Network<T>::with_derivatives(const Body& body) {
  constexpr std::size_t kMostKept = 2;
  check_places();
  std::unique_ptr<InputDerivatives<T>> own;
  {
    const Locked locked(lock_);
    if (!locked.intact) forget_free();
    join_last_stream();
    if (!free_derivatives_.empty()) {
      own = std::move(free_derivatives_.back());
      free_derivatives_.pop_back();
    }
  }
  if (!own) own = std::make_unique<InputDerivatives<T>>(program_);
  body(*own);
  const Locked locked(lock_);
  if (!locked.intact) forget_free();
  if (free_derivatives_.size() < kMostKept && own->bytes() + kept_bytes() <= kMostBytes)
    free_derivatives_.push_back(std::move(own));
}

template <class T>
void Network<T>::jacobian(const T* x, Index rows, Index columns, T* jacobian) {
  if (const auto other = folded_now()) return other->network.jacobian(x, rows, columns, jacobian);
  const Index out = out_columns(columns);
  const Index most = std::max(Index{1}, inference_rows(rows * out, columns, false) / out);
  with_derivatives([&](InputDerivatives<T>& derivatives) {
    for (Index row = 0; row < rows; row += most)
      derivatives.jacobian(x + row * columns, std::min(most, rows - row), columns, jacobian + row * out * columns);
  });
}

template <class T>
void Network<T>::weight_jacobian(const T* x, Index rows, Index columns, const WeightColumns<T>& weights, T* jacobian) {
  const Index out = out_columns(columns);
  const Index most = std::max(Index{1}, inference_rows(rows * out, columns, false) / out);
  with_derivatives([&](InputDerivatives<T>& derivatives) {
    for (Index row = 0; row < rows; row += most)
      derivatives.of_weights(x + row * columns, std::min(most, rows - row), columns, weights,
                             jacobian + row * out * weights.count());
  });
}

template <class T>
void Network<T>::loss_gradient(const LossSpec& loss, const T* x, const Targets<T>& targets, Index rows, Index columns,
                               T* dx) {
  if (const auto other = folded_now()) return other->network.loss_gradient(loss, x, targets, rows, columns, dx);
  with_derivatives(
      [&](InputDerivatives<T>& derivatives) { derivatives.of_loss(loss, {x, targets, nullptr, rows}, columns, dx); });
}

template <class T>
void Network<T>::output_gradient(const T* dy, const T* x, Index rows, Index columns, T* dx) {
  if (const auto other = folded_now()) return other->network.output_gradient(dy, x, rows, columns, dx);
  const Index out = out_columns(columns), most = inference_rows(rows, columns, false);
  with_derivatives([&](InputDerivatives<T>& derivatives) {
    for (Index row = 0; row < rows; row += most)
      derivatives.of_output(dy ? dy + row * out : nullptr, x + row * columns, std::min(most, rows - row), columns,
                            dx + row * columns);
  });
}

template class Network<float>;
template class Network<double>;

}  // namespace fastmlp
