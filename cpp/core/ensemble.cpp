#include "core/ensemble.h"

#include <algorithm>
#include <cmath>

#include "core/tasks.h"

namespace fastmlp {

namespace {

// A thread's share of the members, and of the values: enough work for waking one.
constexpr Index kMembers = 64, kValues = 16 * 1024;
constexpr Index kFewRows = 64;

// Where another thread has the lock, which may be one that a fork has left behind, this one goes without.
struct TryLock {
  explicit TryLock(std::atomic_flag* flag_)
      : flag(flag_), locked(flag && !flag->test_and_set(std::memory_order_acquire)) {}
  ~TryLock() {
    if (locked) flag->clear(std::memory_order_release);
  }
  TryLock(const TryLock&) = delete;
  TryLock& operator=(const TryLock&) = delete;

  std::atomic_flag* const flag;
  const bool locked;
};

}  // namespace

template <class T>
Index Ensemble<T>::in_features() const {
  Index width = -1;
  for (const auto& member : members_) width = std::max(width, member->in_features());
  return width;
}

template <class T>
Index Ensemble<T>::out_columns(Index columns) const {
  const Index width = members_[0]->out_features();
  return width < 0 ? columns : width;
}

template <class T>
void Ensemble<T>::outputs(const T* x, Index rows, Index columns, T* y) const {
  if (rows == 0) return;
  const Index count = static_cast<Index>(members_.size()), size = rows * out_columns(columns);
  const Index share = std::max(Index{1}, kMembers / rows);
  const TryLock own(rows <= kFewRows ? &busy_ : nullptr);
  if (own.locked && kept_for_ != std::pair(rows, columns)) {
    kept_.clear();
    kept_.resize(members_.size());
    kept_for_ = {rows, columns};
  }
  const auto run = [&](std::size_t m, T* to) {
    Network<T>& network = *members_[m];
    if (!own.locked || network.folds()) return network.predict(x, rows, columns, nullptr, to);
    if (!kept_[m]) kept_[m] = network.acquire(rows, columns, false);
    kept_[m]->forward({x, {}, nullptr, rows}, nullptr, to);
  };
  for_tasks((count + share - 1) / share, [&](Index task) {
    for (Index m = task * share; m < std::min(count, (task + 1) * share); ++m)
      run(static_cast<std::size_t>(m), y + m * size);
  });
}

template <class T>
void Ensemble<T>::moments(const T* x, Index rows, Index columns, T* mean, T* deviation) const {
  constexpr Index kKept = Index{1} << 20;  // outputs that are kept at once
  const Index count = static_cast<Index>(members_.size()), out = out_columns(columns);
  const Index most = std::clamp(kKept / (count * out), Index{1}, std::max(rows, Index{1}));
  std::vector<T> y(static_cast<std::size_t>(count * most * out));
  for (Index row = 0; row < rows; row += most) {
    const Index size = std::min(most, rows - row) * out;
    outputs(x + row * columns, size / out, columns, y.data());
    T* const to = mean + row * out;
    T* const spread = deviation ? deviation + row * out : nullptr;
    const Index share = std::max(Index{1}, kValues / count);
    for_tasks((size + share - 1) / share, [&](Index task) {
      for (Index i = task * share; i < std::min(size, (task + 1) * share); ++i) {
        double center = 0, squares = 0;
        for (Index m = 0; m < count; ++m) {
          const double value = y[static_cast<std::size_t>(m * size + i)], step = value - center;
          center += step / static_cast<double>(m + 1);
          squares += step * (value - center);
        }
        to[i] = static_cast<T>(center);
        if (spread) spread[i] = static_cast<T>(std::sqrt(squares / static_cast<double>(count)));
      }
    });
  }
}

template class Ensemble<float>;
template class Ensemble<double>;

}  // namespace fastmlp
