// A device's memory for one pass on arrays of the host's: what comes from there, and what goes back. Like the workspaces,
// they are kept for the next pass. All of it needs the GIL, but for the copies themselves.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "core/device_copies.h"
#include "core/network.h"

namespace fastmlp::bindings {

// Rows of a source, some at a time.
template <class T>
T* upload(Buffer<T>& to, const RowSource<T>& from, Index rows, Index columns) {
  constexpr Index kValues = Index{1} << 22;
  const Index most = std::clamp(kValues / columns, Index{1}, rows);
  to.reserve(static_cast<std::size_t>(rows * columns));
  std::vector<T> room(static_cast<std::size_t>(most * columns));
  for (Index row = 0; row < rows; row += most) {
    const Index n = std::min(most, rows - row);
    from.fetch({nullptr, row, n}, room.data());
    check(to.device().upload(to.data() + row * columns, room.data(), static_cast<std::size_t>(n * columns) * sizeof(T),
                             StreamScope::current()));
    check(to.device().synchronize(StreamScope::current()));  // before the room is used again
  }
  return to.data();
}
template <class T>
void download(T* to, const Buffer<T>& from, Index size) {
  check(from.device().download(to, from.data(), static_cast<std::size_t>(size) * sizeof(T), StreamScope::current()));
}

template <class T>
struct Staging {
  explicit Staging(const Device& device) : x(device), y(device), dx(device), dy(device), targets(device) {}

  Buffer<T> x, y, dx, dy;
  TargetCopies<T> targets;
};

template <class T>
class StagingPool : public std::enable_shared_from_this<StagingPool<T>> {
 public:
  struct Return {
    std::shared_ptr<StagingPool> pool;
    void operator()(Staging<T>* staging) const { pool->take_back(std::unique_ptr<Staging<T>>(staging)); }
  };
  using Lease = std::unique_ptr<Staging<T>, Return>;

  Lease acquire(const Device& device) {
    if (free_.empty()) return Lease(new Staging<T>(device), Return{this->shared_from_this()});
    std::unique_ptr<Staging<T>> last = std::move(free_.back());
    free_.pop_back();
    return Lease(last.release(), Return{this->shared_from_this()});
  }

 private:
  void take_back(std::unique_ptr<Staging<T>> staging) {
    constexpr std::size_t kMostKept = 4;
    if (free_.size() < kMostKept) free_.push_back(std::move(staging));
  }

  std::vector<std::unique_ptr<Staging<T>>> free_;
};

}  // namespace fastmlp::bindings
