// Many training steps on a device without the host between them.
#pragma once

#include "core/contracts/lanes.h"

namespace fastmlp {

// A training step that a device records once and replays, with what changes from step to step. It takes the place of
// the constants, row numbers and results that the kernels' arguments have; all memory is the device's.
struct Replay {
  // Two numbers: of the replay's first step among those that were made ready, and of their first row.
  const Index* first;
  Index offset;  // of this step from the replay's first one
  const Update* updates;
  bool one_update;   // updates[0] for all steps, or one for each
  const Index* ids;  // row i of those made ready is row ids[first[1] + i], or, where ids is null, first[1] + i
  bool same_rows;    // all steps take the same rows
  const std::uint64_t* counters;  // dropout's step is this plus the step's number
  double* losses;                 // of each step
};

// Steps of a whole network with fused updates. Unlike the passes above, it takes any number of networks alike, which
// differ in their parameters: `model_stride` values lie between those of one network and the next (and so for all that
// the pointers of `layers` name), and losses has `steps` values for each network.
template <class T>
struct SingleBlockTraining {
  const LanesLayer<T>* layers;  // sinks have an update for each parameter that is trained, and no grad
  int depth;
  RowActivationKind row_activation;  // of the last layer, where has_row_activation
  bool has_row_activation;
  Index rows;       // of a step
  Index row_count;  // of x
  const T* x;
  Targets<T> targets;
  const Index* ids;  // the device's: rows of all steps, one after the other, or null: consecutive rows
  bool same_rows;
  LossSpec loss;
  bool logits;
  Index steps;
  const Update* updates;  // the device's, of each step, or a single one
  bool one_update;
  double* losses;  // the device's
  Index models = 1, model_stride = 0;
};

}  // namespace fastmlp
