// Many training steps on a device without the host between them.
#pragma once

#include "core/contracts/lanes.h"

namespace fastmlp {

// A training step that a device records once and replays, with what changes from step to step. It takes the place of
// the constants, row numbers and results that the kernels' arguments have; all memory is the device's.
struct Replay {
  // Two numbers: how many steps of the call there were before the replay, which the device counts (Device::advance), and
  // that of the call's first row of data.
  const Index* first;
  Index offset;  // of this step from the replay's first one
  const Update* updates;
  bool one_update;   // updates[0] for all steps, or one for each
  const Index* ids;  // row i of those made ready is row ids[first[1] + i], or, where ids is null, first[1] + i
  bool same_rows;    // all steps take the same rows
  const std::uint64_t* counters;  // dropout's step is this plus the step's number
  double* losses;                 // of each step
};

// An affine layer of a network that is trained in one block, and which of its parameters are trained.
struct SingleBlockLayer {
  Index in, out;
  Activation activation;
  bool has_bias, trains_weight, trains_bias;

  bool operator==(const SingleBlockLayer&) const = default;
};

// What a network is trained on: rows, as Targets has them, and where `by_ids`, in which order: the numbers of all steps'
// rows, one after the other.
template <class T>
struct SingleBlockRows {
  const T* x;
  const T* dense;
  const Index* classes;
  const T* weights;
  const Index* ids;

  bool operator==(const SingleBlockRows&) const = default;
};

// Steps with fused updates of a whole network, or of many of one shape that differ in their parameters, their rows, and the
// constants of their updates. Each comes to the same bits as alone. All memory but `layers` is the device's.
template <class T>
struct SingleBlockTraining {
  const SingleBlockLayer* layers;
  int depth;
  RowActivationKind row_activation;  // of the last layer, where has_row_activation
  bool has_row_activation;
  UpdateKind rule;                 // of every parameter that is trained
  bool states[3];                  // those that the rule keeps
  Index rows;                      // of a step
  const SingleBlockRows<T>* data;  // of each network
  Targets<T> targets;  // those of the first one: which of them there are, and, for all networks, those of the columns
  bool by_ids;         // or consecutive rows
  Index row;           // the first one's number (in ids)
  bool same_rows;
  LossSpec loss;
  bool logits;
  Index steps;
  Index models;
  // Of each network and each of its layers: the weight with its states, then the bias with its own.
  const UpdateTarget<T>* parameters;
  const Update* updates;  // of each step, or a single one ...
  bool one_update;
  Index update_stride;  // ... and as many constants further on those of the next network; 0: the same ones
  double* losses;       // `steps` values of each network
};

}  // namespace fastmlp
