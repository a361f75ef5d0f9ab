// Which rows of the data are those of a batch.
#pragma once

#include "cuda/block/by_kind.h"

namespace fastmlp::cuda {

// Row r of the batch is row ids[r] of the data, or, in a replayed step, what its Replay says.
struct BatchRows {
  bool chosen = false;  // otherwise row r
  const Index* ids = nullptr;
  Index rows = 0;  // of a batch
  Step step;

  BatchRows(bool chosen, const Index* ids, Index rows, const Context& context)
      : chosen(chosen && (ids || context.replay)), ids(ids), rows(rows), step(context) {}
  BatchRows() : step(Context{}) {}

  FASTMLP_DEVICE Index of(Index row) const {
    const Replay& replay = step.replay;
    if (!step.replayed) return ids ? ids[row] : row;
    const Index i = replay.first[1] + (replay.same_rows ? 0 : step.number() * rows) + row;
    return replay.ids ? replay.ids[i] : i;
  }
};

}  // namespace fastmlp::cuda
