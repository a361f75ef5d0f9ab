// The orders in which the networks of a fit take their rows, of an epoch or some: one for all networks, or one of each.
#pragma once

#include <vector>

#include "core/parameter.h"
#include "core/shuffle.h"
#include "core/tasks.h"

namespace fastmlp {

class RowOrders {
 public:
  RowOrders(const Device& device, Index rows) : device_(device), rows_(rows), there_(device) {}

  // Row after row, without numbers.
  void forget() { ids_.clear(); }
  // The same again in each of so many epochs.
  void repeat(Index epochs) {
    resize(1, epochs);
    for (std::size_t i = 0; i < ids_.size(); ++i) ids_[i] = static_cast<Index>(i) % rows_;
    upload();
  }
  // Random ones of so many epochs from number `first` on, one after the other; a single seed is that of all networks.
  void draw(const std::vector<std::uint64_t>& seeds, Index first, Index epochs) {
    resize(static_cast<Index>(seeds.size()), epochs);
    const auto order = [&](Index task) {
      const std::uint64_t seed = seeds[static_cast<std::size_t>(task / epochs)];
      const auto epoch = static_cast<std::uint64_t>(first + task % epochs);
      shuffle({ids_.data() + task * rows_, static_cast<std::size_t>(rows_)}, {seed, stream(StreamUse::Shuffle, epoch)});
    };
    if (seeds.size() > 1)
      for_tasks(static_cast<Index>(seeds.size()) * epochs, order);
    else
      for (Index epoch = 0; epoch < epochs; ++epoch) order(epoch);
    upload();
  }

  // A network's row numbers, or null; in the host's memory, and where the network is.
  const Index* here(std::size_t network) const { return ids_.empty() ? nullptr : ids_.data() + begin(network); }
  const Index* there(std::size_t network) const {
    if (ids_.empty() || device_.host) return here(network);
    return there_.data() + begin(network);
  }

 private:
  void resize(Index orders, Index epochs) {
    each_ = orders > 1 ? epochs * rows_ : 0;
    ids_.resize(static_cast<std::size_t>(orders * epochs * rows_));
  }
  void upload() {
    if (device_.host) return;
    there_.reserve(ids_.size());
    check(device_.upload(there_.data(), ids_.data(), ids_.size() * sizeof(Index), StreamScope::current()));
  }
  Index begin(std::size_t network) const { return static_cast<Index>(network) * each_; }

  const Device& device_;
  const Index rows_;
  Index each_ = 0;  // numbers of a network; 0: they are all networks'
  std::vector<Index> ids_;
  Buffer<Index> there_;
};

}  // namespace fastmlp
