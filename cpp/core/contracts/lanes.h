// A whole tiny network on a batch, rows in SIMD lanes.
#pragma once

#include "core/contracts/loss.h"
#include "core/contracts/optimizer.h"

namespace fastmlp {

// One affine operation of a chain, y = act(x W + b), and where its gradients go.
template <class T>
struct LanesLayer {
  Index in, out;
  const T* weight;  // in x out
  const T* bias;    // out, or null
  Activation activation;
  GradientSink<T> weight_sink, bias_sink;
};

// Opaque storage for the backend's layout of a tiny network's buffer.
struct LanesPlanStorage {
  alignas(16) unsigned char bytes[256];
};

// `buffer` has as many elements as lanes_plan says. Phases: load (x, and the targets where given, into blocks), forward,
// loss, backward; a step does all of them block by block.
template <class T>
struct LanesArgs {
  const LanesLayer<T>* layers;
  int depth;
  Index rows;
  const LanesPlanStorage* plan;  // made by lanes_plan for these layers and rows
  T* buffer;
  const T* x;  // row r of the batch is row ids[r] of x, or row r where ids is null; likewise targets
  const Index* ids;
  bool loaded;          // a step, or an evaluation, may reuse the rows and targets of the last one
  Index preload_index;  // which of the batches that were loaded at once a step takes
  bool training;        // save for a backward pass
  T* y;                 // forward: receives the output, row-major, unless null
  LossSpec loss;
  Targets<T> targets;
  bool logits;
  const T* dy;  // backward: the output's gradient, row-major, or null where the loss phase left it
  T* dx;        // backward: the input's gradient, row-major, unless null
};

// Many steps in one call, on parameters that lie one after the other (each layer's weight, then its bias or a gap of
// its size) and have room for whole vectors; the layers point to them.
template <class T>
struct LanesTraining {
  Index steps;
  bool same_rows;         // all steps on the same rows, or each on those after the last one's
  const Update* updates;  // of each step
  bool one_update;        // or one for all
  StepRates rates;        // but with these rates, if there are any ...
  StepRates momenta;      // ... and these momenta; only with rates
  UpdateTarget<T> target;
  double* losses;  // of each step, before its update
};

}  // namespace fastmlp
