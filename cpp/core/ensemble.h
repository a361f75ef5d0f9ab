// Many networks that predict the same thing: the mean of their outputs, and how far these are apart.
#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "core/network.h"

namespace fastmlp {

template <class T>
class Ensemble {
 public:
  using Members = std::vector<std::shared_ptr<Network<T>>>;

  // At least one network, all on the host and staying there, all with as many inputs and outputs: what takes any number has none of its own.
  explicit Ensemble(Members members) : members_(std::move(members)) {}

  const Members& members() const { return members_; }
  Index in_features() const;  // -1: any
  Index out_columns(Index columns) const;
  // Of the outputs, rows x out_columns, over the members: the mean and, unless it is null, the standard deviation, the root
  // of the mean square of what is left. In double, by Welford's recurrence (Technometrics 4, 1962) in the members' order.
  void moments(const T* x, Index rows, Index columns, T* mean, T* deviation) const;
  // Each member's, members x rows x out_columns.
  void outputs(const T* x, Index rows, Index columns, T* y) const;

 private:
  using Lease = typename Network<T>::Lease;

  const Members members_;
  // The members' runners for the few rows of the last call: to ask each network for one would take as long as to run it.
  mutable std::atomic_flag busy_;  // a thread works with them
  mutable std::vector<Lease> kept_;
  mutable std::pair<Index, Index> kept_for_{0, 0};  // so many rows of so many columns
};

}  // namespace fastmlp
