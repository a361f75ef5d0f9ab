// THE MAIN IDEA: a chain of layers, run forward and backward on a batch, in terms of the kernels of backend.h.
//
// A network runs by one of two strategies, chosen by the backend for each number of rows: `lanes` (a tiny network as
// a whole, batch rows in SIMD lanes) or `dense` (layer by layer, each a GEMM with its epilogue). All memory of a pass
// lies in a Workspace, so that a network may be used from several threads, and a step allocates nothing.
#pragma once

#include <memory>
#include <vector>

#include "core/locks.h"
#include "core/optimizer.h"

namespace fastmlp {

enum class LayerKind { Affine, Activation, RowActivation, Dropout };

template <class T>
struct Layer {
  LayerKind kind = LayerKind::Affine;
  std::shared_ptr<Parameter<T>> weight, bias;  // Affine; bias may be null
  Activation activation;                       // Activation; Affine: applied to its output
  RowActivationKind row_activation{};
  double p = 0;  // Dropout: the probability of a zero

  bool saves_input() const { return fastmlp::saves_input(activation.kind); }
};

// A batch: rows of x and of the targets, by number where ids is given. Its arrays outlive the backward pass.
template <class T>
struct Batch {
  const T* x = nullptr;
  Targets<T> targets;
  const Index* ids = nullptr;
  Index rows = 0;
  bool unchanged = false;  // the very rows of this workspace's last step
  Index row = 0;           // the first one; on the host, x and ids begin there

  // So many rows on; x has `in` columns, dense targets have `out`.
  void advance(Index by, Index in, Index out) {
    if (ids) {
      ids += by;
      return;
    }
    x += by * in;
    if (targets.dense) targets.dense += by * out;
    if (targets.classes) targets.classes += by;
  }
  // The same rows, the first one being number 0.
  Batch advanced(Index in, Index out) const {
    Batch result = *this;
    result.row = 0;
    result.advance(row, in, out);
    return result;
  }
};

template <class T>
class Network;

// What many steps on a device need beside the workspace: see device_steps.cpp.
template <class T>
struct DeviceSteps {
  explicit DeviceSteps(const Device& device);
  ~DeviceSteps();
  DeviceSteps(const DeviceSteps&) = delete;
  DeviceSteps& operator=(const DeviceSteps&) = delete;

  const Device& device;
  Buffer<Index> first;
  Buffer<std::uint64_t> coins;
  Buffer<Update> updates;
  Buffer<double> losses;
  const Replay* replay = nullptr;  // of the step that is being enqueued
  void* recording = nullptr;
  std::vector<std::uintptr_t> recorded;  // what it stands for
};

// The memory of one pass, and what a forward pass leaves for its backward pass. Made by Network::acquire.
template <class T>
class Workspace {
 public:
  Index rows() const { return rows_; }
  // Whether a forward pass leaves all that the backward pass needs of the batch's x.
  bool keeps_input() const { return lanes_; }
  // To be called where parameters may have been frozen since the last step.
  void forget_optimizer() { sinks_for_ = nullptr; }

 private:
  friend class Network<T>;
  explicit Workspace(const Device& device);

  // What the memory is laid out for.
  Index rows_ = 0, columns_ = 0;
  bool training_ = false, lanes_ = false;

  Buffer<T> memory_;
  Buffer<unsigned char> scratch_;
  Buffer<double> partial_;  // of a loss: its value, then the kernel's partial sums
  LanesPlanStorage lanes_plan_;
  std::vector<LanesLayer<T>> lanes_layers_;
  // The optimizer that the layers' sinks are set for, and the slots of the parameters in it; see set_lanes_sinks.
  const Optimizer<T>* sinks_for_ = nullptr;
  std::vector<int> sink_slots_;
  // The parameters and their optimizer's states, brought together while many steps run in one call: four sections.
  Buffer<T> packed_;
  std::vector<LanesLayer<T>> packed_layers_;
  struct Place {
    Index width = 0;         // of the layer's output
    Index y = 0, z = 0;      // offsets in memory_ of its output, and of its activation's input where that is saved
    const T* in = nullptr;   // what the pass gave the layer,
    const T* out = nullptr;  // and what it made of it
  };
  std::vector<Place> places_;
  Index gradients_[2] = {0, 0};  // the gradients between layers take turns
  Index result_ = 0;             // the output's gradient; in evaluation, the output
  Buffer<T> batch_x_, batch_targets_;
  Buffer<Index> batch_classes_;
  DeviceSteps<T> device_steps_;

  // The pass.
  DropoutState dropout_;
  bool drops_ = false;
  bool logits_ = false;  // the loss's gradient is with respect to the input of the last activation
};

template <class T>
class Network {
 public:
  // Fuses each activation into the affine layer before it. Throws std::invalid_argument where widths or the parameters'
  // devices do not fit together.
  explicit Network(const std::vector<Layer<T>>& layers, Precision precision = Precision::Float32);

  // Where its parameters lay when it was made: all pointers of a pass are to this device's memory.
  const Device& device() const { return *device_; }
  Precision precision() const { return precision_; }
  Index in_features() const { return in_; }    // -1: any (there is no affine layer)
  Index out_features() const { return out_; }  // -1: as many as come in
  const std::vector<Layer<T>>& layers() const { return layers_; }
  const std::vector<std::shared_ptr<Parameter<T>>>& parameters() const { return parameters_; }
  // Whether batches of so many rows run by `lanes`: as the backend chooses, unless FASTMLP_STRATEGY forces one.
  bool prefers_lanes(Index rows, bool training) const;

  // A workspace for this many rows of `columns` features; it returns to the network when the lease ends.
  struct Return {
    Network* network;
    void operator()(Workspace<T>* workspace) const { network->release(workspace); }
  };
  using Lease = std::unique_ptr<Workspace<T>, Return>;
  Lease acquire(Index rows, Index columns, bool training);

  // Runs the network on batch.x. y, unless null, receives the output (rows x out). Null dropout: evaluation mode.
  void forward(Workspace<T>& workspace, const Batch<T>& batch, const DropoutState* dropout, T* y) const;
  // The loss of the last forward pass; `gradient`: keep its gradient for backward.
  double loss(Workspace<T>& workspace, const LossSpec& spec, const Batch<T>& batch, bool gradient) const;
  // Sends gradients to the parameters: into their grad or, with `fused`, straight into the optimizer.
  // dy: the gradient of the output, or null for the one that the loss kept. dx, unless null, receives the input's.
  void backward(Workspace<T>& workspace, const T* dy, T* dx, Optimizer<T>* fused) const;
  // Forward, loss and backward; returns the loss.
  double step(Workspace<T>& workspace, const LossSpec& spec, const Batch<T>& batch, const DropoutState* dropout,
              Optimizer<T>* fused) const;

  // `count` steps with fused updates, each on batch.rows rows: all on the same, or each on those after the last one's.
  void steps(Workspace<T>& workspace, const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows,
             DropoutState dropout, Optimizer<T>& optimizer, double* losses) const;

  // Held by whoever runs `backward` while others may.
  Lock& backward_lock() { return backward_lock_; }

  // Inference for any number of rows, in pieces of bounded memory.
  void predict(const T* x, Index rows, Index columns, const DropoutState* dropout, T* y);
  // The loss over a data set, in evaluation mode.
  double evaluate(const LossSpec& spec, const T* x, const Targets<T>& targets, Index rows, Index columns);

  // Whether this loss's gradient is formed with respect to the input of the last activation.
  bool logits_for(LossKind kind) const;

  // Whether an optimizer may consume gradients during the backward pass: not if a parameter serves twice.
  bool can_fuse() const { return !shares_parameters_; }

 private:
  void release(Workspace<T>* workspace);
  static std::size_t bytes_of(const Workspace<T>& workspace);
  void forget_free();
  void prepare(Workspace<T>& workspace, Index rows, Index columns, bool training) const;
  Context context(Workspace<T>& workspace) const;
  Index inference_rows(Index rows, Index columns) const;
  LanesArgs<T> lanes_args(Workspace<T>& workspace) const;
  void set_lanes_sinks(Workspace<T>& workspace, Optimizer<T>* fused) const;
  LanesArgs<T> lanes_args(Workspace<T>& workspace, const LossSpec& spec, const Batch<T>& batch) const;
  void begin_updates(Optimizer<T>& optimizer) const;
  LossArgs<T> loss_args(Workspace<T>& workspace, const LossSpec& spec) const;
  void enqueue_loss(Workspace<T>& workspace, const LossSpec& spec, const Targets<T>& targets, bool gradient) const;
  double loss_value(Workspace<T>& workspace) const;
  void copy(const T* from, Index n, T* to) const;
  bool describe_whole(const Workspace<T>& workspace, const LossSpec& spec, std::vector<LanesLayer<T>>& layers,
                      WholeTraining<T>& args) const;
  void replay_steps(Workspace<T>& workspace, const LossSpec& spec, const Batch<T>& batch, Index count, Replay replay,
                    const DropoutState& dropout, Optimizer<T>& optimizer) const;
  bool device_steps(Workspace<T>& workspace, const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows,
                    DropoutState dropout, Optimizer<T>& optimizer, double* losses) const;
  bool pack_parameters(Workspace<T>& workspace, const Optimizer<T>& optimizer) const;
  void reserve_rows(Workspace<T>& workspace, const Batch<T>& batch) const;
  Batch<T> gather(Workspace<T>& workspace, const Batch<T>& batch) const;
  GradientSink<T> sink(const std::shared_ptr<Parameter<T>>& parameter, Index rows, Optimizer<T>* fused) const;
  void dense_forward(Workspace<T>& workspace, const T* x, T* y) const;
  void dense_backward(Workspace<T>& workspace, const T* dy, T* dx, Optimizer<T>* fused) const;

  const Device* device_ = &host_device();
  const Backend<T>* kernels_;
  Precision precision_;
  std::vector<Layer<T>> layers_;
  std::vector<std::shared_ptr<Parameter<T>>> parameters_;
  Index in_ = -1, out_ = -1;
  bool only_affine_ = false, shares_parameters_ = false;

  Lock lock_;  // of what follows
  Lock backward_lock_;
  Stream last_stream_ = nullptr;
  std::vector<std::unique_ptr<Workspace<T>>> free_;
};

}  // namespace fastmlp
