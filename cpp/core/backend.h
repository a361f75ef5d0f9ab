// The table of kernels that the core computes with. Each instruction set and each device fills one.
//
// Conventions. Matrices are row-major with a leading dimension in elements (ldx); a batch has one row per sample.
// Weights are stored in x out: W[k][n], k < in, n < out. Nothing overlaps unless a contract says so.
// Kernels allocate nothing, never fail, and give the same bits for any number of workers. A device's kernels are
// enqueued in the context's stream; all their pointers are to its memory, those to descriptions (Update, LanesLayer) are
// the host's.
#pragma once

#include <cstddef>

#include "core/device.h"
#include "core/types.h"

namespace fastmlp {

// run: body(context, task, worker) for every task < tasks, on up to `workers` threads; returns when all are done.
struct Executor {
  using Body = void (*)(void* context, int task, int worker);
  void* pool;
  void (*run)(void* pool, int workers, int tasks, Body body, void* context);
  int workers;
};

// Dropout's masks are a function of (seed, step, layer, element).
struct DropoutState {
  std::uint64_t seed = 0, step = 0;
};

struct Update;

// A training step that a device records once and replays, with what changes from step to step. It takes the place of
// the constants, row numbers and results that the kernels' arguments have; all memory is the device's.
struct Replay {
  const Index*
      first;     // two numbers: of the replay's first step among those that were made ready, and of their first row
  Index offset;  // of this step from the replay's first one
  const Update* updates;
  bool one_update;   // updates[0] for all steps, or one for each
  const Index* ids;  // row i of those made ready is row ids[first[1] + i], or, where ids is null, first[1] + i
  bool same_rows;    // all steps take the same rows
  const std::uint64_t* coins;  // dropout's step is this plus the step's number
  double* losses;              // of each step
};

// What a kernel may use while it runs. Host: threads, and per worker `Backend::scratch_bytes` bytes at scratch + worker *
// that. Device: `scratch_bytes` at scratch, zeros before the first kernel, which nobody else writes to.
struct Context {
  Executor executor;
  unsigned char* scratch;
  Stream stream = nullptr;
  Precision precision = Precision::Float32;
  const Replay* replay = nullptr;
};

// y = act(x W + b); z, unless null, receives x W + b.   x: M x K, W: K x N, b: N or null, y and z: M x N.
template <class T>
struct AffineForward {
  Index M, N, K;
  const T* x;
  Index ldx;
  const T* weight;
  const T* bias;
  Activation activation;
  T* y;
  Index ldy;
  T* z;
};

// dx = (dz W^T) * act'(saved).   dz: M x N, W: K x N, dx and saved: M x K; saved may be null for the identity.
template <class T>
struct AffineBackwardInput {
  Index M, N, K;
  const T* dz;
  Index lddz;
  const T* weight;
  Activation activation;
  const T* saved;
  T* dx;
  Index lddx;
};

// How an optimizer changes one parameter; states that the rule does not use are null.
struct Update {
  UpdateKind kind = UpdateKind::SGD;
  ops::UpdateConstants constants;
};
template <class T>
struct UpdateTarget {
  T* value = nullptr;
  T* state[3] = {nullptr, nullptr, nullptr};
};

// What becomes of a parameter's gradient: added to or written into `grad`, or, with `update`, used up at once (`grad`
// may then be null unless the kernel needs it for partial sums, see weight_update_needs_grad), or, without both, not
// wanted.
template <class T>
struct GradientSink {
  T* grad = nullptr;
  bool accumulate = false;
  const Update* update = nullptr;
  UpdateTarget<T> target;

  bool wanted() const { return grad || update; }
};

// dW = x^T dz, db = column sums of dz.   x: M x K, dz: M x N, dW: K x N.
template <class T>
struct AffineBackwardWeight {
  Index M, N, K;
  const T* x;
  Index ldx;
  const T* dz;
  Index lddz;
  GradientSink<T> weight;
  GradientSink<T> bias;
};

// Targets of a batch: `dense` (rows x columns) or, for class losses, `classes` (rows); the other is null.
template <class T>
struct Targets {
  const T* dense = nullptr;
  const Index* classes = nullptr;
};

struct LossSpec {
  LossKind kind = LossKind::MSE;
  double delta = 1;  // Huber
  bool mean = true;  // over elements, or rows for class losses; else the sum
};

// The loss of y (rows x columns) and, unless dy is null, its gradient with respect to y; `logits` asks for the
// gradient with respect to the input of the sigmoid or log-softmax that made y (BCE and NLL only). dy may be y.
template <class T>
struct LossArgs {
  LossSpec spec;
  Index rows, columns;
  const T* y;
  Targets<T> targets;
  bool logits;
  T* dy;
  double* partial;  // loss_partials(rows) values
  double* value;    // receives the loss
};

// The rows of a batch, as consecutive rows. Row r of a result is row ids[r] of x, or, where ids is null, row first + r.
template <class T>
struct GatherArgs {
  Index rows, in, out;
  const T* x;          // in columns
  Targets<T> targets;  // dense: out columns; both may be null
  const Index* ids;
  T* x_rows;
  T* dense_rows;
  Index* class_rows;
};

// One layer of a tiny network, and the gradient's way (weight and bias).
template <class T>
struct LanesLayer {
  Index in, out;
  const T* weight;
  const T* bias;
  Activation activation;
  GradientSink<T> weight_sink, bias_sink;
};

// Room for the backend's own layout of a tiny network's buffer.
struct LanesPlanStorage {
  alignas(16) unsigned char bytes[256];
};

// A whole tiny network on a batch, rows in SIMD lanes. `buffer` has as many elements as lanes_plan says. Phases: load
// (x, and the targets where given, into blocks), forward, loss, backward; a step does all of them block by block.
template <class T>
struct LanesArgs {
  const LanesLayer<T>* layers;
  int depth;
  Index rows;
  const LanesPlanStorage* plan;  // made by lanes_plan for these layers and rows
  T* buffer;
  const T* x;  // row r of the batch is row ids[r] of x, or row r where ids is null; likewise targets
  const Index* ids;
  bool loaded;    // a step may reuse the rows and targets of the last one
  Index waiting;  // a step's number among the batches that were loaded at once
  bool training;  // save for a backward pass
  T* y;           // forward: receives the output, row-major, unless null
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
  UpdateTarget<T> target;
  double* losses;  // of each step, before its update
};

// Steps of a whole network with fused updates. Unlike the passes above, it takes any number of networks alike, which
// differ in their parameters: `model_stride` values lie between those of one network and the next (and so for all that
// the pointers of `layers` name), and losses has `steps` values for each network.
template <class T>
struct WholeTraining {
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

template <class T>
struct Backend {
  std::size_t scratch_bytes;

  void (*affine_forward)(const AffineForward<T>&, const Context&);
  void (*affine_backward_input)(const AffineBackwardInput<T>&, const Context&);
  void (*affine_backward_weight)(const AffineBackwardWeight<T>&, const Context&);
  // Whether a fused update of a batch of M rows needs the gradient's buffer for partial sums.
  bool (*weight_update_needs_grad)(Index M);

  // Element-wise over n contiguous values; y may be x, dx may be dy.
  void (*activation_forward)(const Activation&, Index n, const T* x, T* y, const Context&);
  void (*activation_backward)(const Activation&, Index n, const T* dy, const T* saved, T* dx, const Context&);
  // y = a + b over n contiguous values; y may be a or b.
  void (*add)(Index n, const T* a, const T* b, T* y, const Context&);
  // Softmax and log-softmax of each row; y may be x, dx may be dy. Backward takes the output y.
  void (*row_forward)(RowActivationKind, Index rows, Index columns, const T* x, T* y, const Context&);
  void (*row_backward)(RowActivationKind, Index rows, Index columns, const T* dy, const T* y, T* dx, const Context&);

  // Inverted dropout, y = x / (1 - p) or 0 (Srivastava et al., 2014), with the coins of this layer; y may be x.
  void (*dropout)(const DropoutState&, Index layer, double p, Index n, const T* x, T* y, const Context&);

  void (*gather)(const GatherArgs<T>&, const Context&);

  void (*loss)(const LossArgs<T>&, const Context&);
  Index (*loss_partials)(Index rows);

  // An optimizer's step on n values of one parameter, from its gradient.
  void (*update)(const Update&, Index n, const UpdateTarget<T>&, const T* grad, const Context&);
  // Scales all gradients by max_norm / (norm + 1e-6) where that is below 1; *norm receives their joint norm.
  void (*clip)(int count, T* const* grads, const Index* sizes, double max_norm, double* norm, const Context&);
  // Many steps of a network in one launch, on a device: whether it can, and the steps. Null: never.
  bool (*trains_whole)(const WholeTraining<T>&);
  void (*train_whole)(const WholeTraining<T>&, const Context&);

  // Tiny networks. lanes_plan lays out the buffer for `rows` rows (training: with all that a backward pass and a step
  // need), and returns its size.
  bool (*prefers_lanes)(const LanesLayer<T>* layers, int depth, Index rows, bool training);
  Index (*lanes_plan)(const LanesLayer<T>* layers, int depth, Index rows, bool training, LanesPlanStorage& plan);
  void (*lanes_forward)(const LanesArgs<T>&, const Context&);
  double (*lanes_loss)(const LanesArgs<T>&, bool gradient, const Context&);
  void (*lanes_backward)(const LanesArgs<T>&, const Context&);
  double (*lanes_step)(const LanesArgs<T>&, const Context&);
  void (*lanes_train)(const LanesArgs<T>&, const LanesTraining<T>&, const Context&);
};

// The tables of one instruction set.
struct Isa {
  const char* name;
  bool (*supported)();
  const Backend<float>* f32;
  const Backend<double>* f64;
  double (*fma_flops)(double seconds);  // float32 operations a second of independent FMAs on one thread
};

// The instruction set in use: the best that this processor has, or the one that FASTMLP_ISA names.
// Throws std::invalid_argument where that is unknown or unsupported.
const Isa& active_isa();
// All that were compiled in, best first.
const Isa* const* compiled_isas(int& count);

template <class T>
const Backend<T>& active_backend();

}  // namespace fastmlp
