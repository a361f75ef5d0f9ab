#include "core/network.h"

#include <algorithm>
#include <stdexcept>

namespace fastmlp {

template <class T>
struct Network<T>::Folded {
  Folded(std::vector<std::uint64_t> versions_, Program<T> program)
      : versions(std::move(versions_)), network(std::move(program), false) {}

  const std::vector<std::uint64_t> versions;  // of the parameters and buffers that it was made of
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
    check(device().synchronize(last));
}

template <class T>
typename Network<T>::Lease Network<T>::acquire(Index rows, Index columns, bool training) {
  check_places();
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
  return Lease(runner.release(), Return{this});
}

constexpr std::size_t kMostBytes = std::size_t{256} << 20;  // of all that are kept: larger ones are made anew

template <class T>
void Network<T>::release(Runner<T>* runner) {
  constexpr std::size_t kMostKept = 4;  // one for training and one for inference, of two threads
  std::unique_ptr<Runner<T>> owned(runner);
  const Locked locked(lock_);
  if (!locked.intact) forget_free();
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
  new (&free_derivatives_) std::vector<std::unique_ptr<InputDerivatives<T>>>();
  new (&folded_) std::shared_ptr<Folded>();
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
  std::vector<std::uint64_t> versions;
  bool viewed = false;  // and so may change unseen
  for (const auto* all : {&parameters(), &program_.buffers()})
    for (const auto& parameter : *all) {
      versions.push_back(parameter->version.load(std::memory_order_relaxed));
      versions.push_back(parameter->watch.made.load(std::memory_order_relaxed));
      viewed |= parameter->watch.views.load(std::memory_order_relaxed) > 0;
    }
  if (!viewed) {
    const Locked locked(lock_);
    if (locked.intact && folded_ && folded_->versions == versions) return folded_;
  }
  auto fresh = std::make_shared<Folded>(std::move(versions), Program<T>(folded(program_), program_.precision()));
  if (viewed) return fresh;
  const Locked locked(lock_);
  if (!locked.intact) forget_free();
  return folded_ = fresh;
}

namespace {

// Rows that are there,
template <class T>
auto rows_of(const T* x, Index columns) {
  return [x, columns](Index row, Index) { return x + row * columns; };
}
// and such as are fetched.
template <class T>
auto rows_of(const RowSource<T>& x, Index columns) {
  return [&x, columns, room = std::make_shared<Buffer<T>>()](Index row, Index n) {
    room->reserve(static_cast<std::size_t>(n * columns));
    x.fetch({nullptr, row, n}, room->data());
    return static_cast<const T*>(room->data());
  };
}

}  // namespace

template <class T>
template <class Rows>
[[gnu::always_inline]] inline void Network<T>::predict_parts(const Rows& x_from, Index rows, Index columns,
                                                             const DropoutState* dropout, T* y) {
  const Index out = out_columns(columns), most = inference_rows(rows, columns, dropout != nullptr);
  for (Index row = 0; row < rows; row += most) {
    const Index n = std::min(most, rows - row);
    const Lease runner = acquire(n, columns, false);
    DropoutState state = dropout ? *dropout : DropoutState{};
    state.step += static_cast<std::uint64_t>(row / most);
    runner->forward({x_from(row, n), {}, nullptr, n}, dropout ? &state : nullptr, y + row * out);
  }
}

template <class T>
void Network<T>::predict(const T* x, Index rows, Index columns, const DropoutState* dropout, T* y) {
  if (const auto other = dropout ? nullptr : folded_now()) return other->network.predict(x, rows, columns, nullptr, y);
  predict_parts(rows_of(x, columns), rows, columns, dropout, y);
}

template <class T>
void Network<T>::predict(const RowSource<T>& x, Index rows, Index columns, const DropoutState* dropout, T* y) {
  if (const auto other = dropout ? nullptr : folded_now()) return other->network.predict(x, rows, columns, nullptr, y);
  predict_parts(rows_of(x, columns), rows, columns, dropout, y);
}

template <class T>
template <class Rows>
double Network<T>::evaluate_parts(const LossSpec& spec, const Rows& x_from, const Targets<T>& targets, Index rows,
                                  Index columns, double share) {
  if (const auto other = folded_now())
    return other->network.evaluate_parts(spec, x_from, targets, rows, columns, share);
  const Index out = out_columns(columns), most = inference_rows(rows, columns, false);
  double total = 0;
  for (Index row = 0; row < rows; row += most) {
    const Index n = std::min(most, rows - row);
    const Lease runner = acquire(n, columns, false);
    total += runner->evaluate(spec.summed(), {x_from(row, n), targets.from(row, out), nullptr, n});
  }
  return spec.is_mean() ? total / (share * static_cast<double>(spec.terms_of_row(out))) : total;
}

template <class T>
double Network<T>::evaluate(const LossSpec& spec, const T* x, const Targets<T>& targets, Index rows, Index columns,
                            double share) {
  return evaluate_parts(spec, rows_of(x, columns), targets, rows, columns, share);
}

template <class T>
double Network<T>::evaluate(const LossSpec& spec, const RowSource<T>& x, const Targets<T>& targets, Index rows,
                            Index columns, double share) {
  return evaluate_parts(spec, rows_of(x, columns), targets, rows, columns, share);
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
