// The rows that a step takes.
#pragma once

#include "core/backend.h"

namespace fastmlp {

// A batch: rows of x and of the targets, with their weights, by number where ids is given. Its arrays outlive the backward pass.
template <class T>
struct Batch {
  const T* x = nullptr;
  Targets<T> targets;
  const Index* ids = nullptr;
  Index rows = 0;
  bool unchanged = false;       // the very rows of this runner's last step, or evaluation
  Index row = 0;                // the first one's number; 0 where x, targets and ids begin with it
  bool x_chosen = false;        // x is left by number: see AffineForward
  bool targets_chosen = false;  // and so are the targets: see HeadForward

  // So many rows on; x has `in` columns, dense targets have `out`.
  void advance(Index by, Index in, Index out) {
    if (ids) {
      ids += by;
      return;
    }
    x += by * in;
    targets = targets.from(by, out);
  }
  // The same rows, the first one being number 0.
  Batch advanced(Index in, Index out) const {
    Batch result = *this;
    result.row = 0;
    result.advance(row, in, out);
    return result;
  }
};

}  // namespace fastmlp
