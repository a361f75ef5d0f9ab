// What works on values one by one or row by row, beside its arguments, and the gathering of a batch.
#pragma once

#include "core/contracts/loss.h"

namespace fastmlp {

// Dropout's masks are a function of (seed, step, layer, element).
struct DropoutState {
  std::uint64_t seed = 0, step = 0;
  Index row = 0;  // the number that the first row has in its batch
};

// The rows of a batch, as consecutive rows. Row r of a result is row ids[r] of x and of the targets, or, where ids is
// null, row first + r (see Replay; 0 without one). x: in columns; dense targets: out columns. What has no source, or no
// place, is left alone.
template <class T>
struct GatherArgs {
  Index rows, in, out;
  const T* x;
  Targets<T> targets;
  const Index* ids;
  T* x_rows;
  T* dense_rows;
  Index* class_rows;
  T* weight_rows;
};

}  // namespace fastmlp
