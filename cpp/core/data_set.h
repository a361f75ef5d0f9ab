// Rows with their targets, in memory or from sources.
#pragma once

#include <functional>
#include <optional>

#include "core/backend.h"
#include "core/row_source.h"

namespace fastmlp {

// A loss that is not one of ours: from the output of some rows its value and, unless dy is null, its gradient. All
// memory is the host's. It may throw, which ends the fit before the step changes anything.
template <class T>
using LossFunction = std::function<double(const T* y, const RowNumbers& rows, T* dy)>;

// What comes in the place of arrays in memory, on the host; null: nothing.
template <class T>
struct RowSources {
  const RowSource<T>* x = nullptr;
  const RowSource<T>* dense = nullptr;  // of Targets, and so on
  const RowSource<Index>* classes = nullptr;
  const RowSource<T>* weights = nullptr;

  bool any() const { return x || dense || classes || weights; }
  bool waits() const {
    const auto waits = [](const auto* source) { return source && source->waits(); };
    return waits(x) || waits(dense) || waits(classes) || waits(weights);
  }
};

template <class T>
struct DataSet {
  const T* x = nullptr;
  Targets<T> targets;
  Index rows = 0, columns = 0;
  const double* shares = nullptr;      // of the rows (see Targets), in the host's memory; null: 1 each
  LossFunction<T> function = nullptr;  // in place of the loss and the targets, unless empty
  RowSources<T> sources = {};
  std::optional<double> all_shares = {};  // their sum, where sources have them

  // The sum of some rows' shares, which are in memory.
  double share(const RowNumbers& which) const {
    if (!shares) return static_cast<double>(which.count);
    double sum = 0;
    for (Index i = 0; i < which.count; ++i) sum += shares[which[i]];
    return sum;
  }
  // That of all.
  double share() const { return all_shares ? *all_shares : share({nullptr, 0, rows}); }
};

}  // namespace fastmlp
