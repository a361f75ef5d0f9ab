// THE TABLE of kernels that the core computes with. Each instruction set and each device fills one. contracts/ says what
// each kernel does with its arguments, contracts/context.h what holds for all of them.
#pragma once

#include "core/contracts/affine.h"
#include "core/contracts/device_steps.h"
#include "core/contracts/head.h"
#include "core/contracts/lanes.h"
#include "core/contracts/loss.h"
#include "core/contracts/normalization.h"
#include "core/contracts/optimizer.h"
#include "core/contracts/pointwise.h"
#include "core/contracts/prediction.h"
#include "core/contracts/schedules.h"
#include "core/philox.h"

namespace fastmlp {

template <class T>
struct Backend {
  std::size_t scratch_bytes;

  void (*affine_forward)(const AffineForward<T>&, const Context&);
  // A weight in the order in which products of few rows read it: how many values that takes, 0 where it gains nothing, and
  // the copy. Null: never.
  Index (*packed_weight_size)(Index K, Index N);
  void (*pack_weight)(Index K, Index N, const T* weight, T* packed, const Context&);
  void (*affine_backward_input)(const AffineBackwardInput<T>&, const Context&);
  void (*affine_backward_weight)(const AffineBackwardWeight<T>&, const Context&);
  // Several of these of a batch, whose sinks differ, in one launch, on a device; null: one after the other.
  void (*affine_backward_weights)(const AffineBackwardWeight<T>*, int count, const Context&);
  // Whether the passes forward and to the weight take x_chosen for M rows. Null: never.
  bool (*chooses_rows)(Index M);
  // Whether a fused update of a batch of M rows needs the gradient's buffer for partial sums.
  bool (*weight_update_needs_grad)(Index M);

  // Element-wise over n contiguous values; y may be x, dx may be dy.
  void (*activation_forward)(const Activation&, Index n, const T* x, T* y, const Context&);
  void (*activation_backward)(const Activation&, Index n, const T* dy, const T* saved, T* dx, const Context&);
  // y = a + b over n contiguous values; y may be a or b.
  void (*add)(Index n, const T* a, const T* b, T* y, const Context&);
  // x *= factor over n contiguous values.
  void (*scale)(Index n, T factor, T* x, const Context&);
  // Softmax and log-softmax of each row; y may be x, dx may be dy. Backward takes the output y.
  void (*row_forward)(RowActivationKind, Index rows, Index columns, const T* x, T* y, const Context&);
  void (*row_backward)(RowActivationKind, Index rows, Index columns, const T* dy, const T* y, T* dx, const Context&);

  void (*layer_norm_forward)(const LayerNormForward<T>&, const Context&);
  void (*layer_norm_backward)(const LayerNormBackward<T>&, const Context&);
  void (*batch_norm_forward)(const BatchNormForward<T>&, const Context&);
  void (*batch_norm_backward)(const BatchNormBackward<T>&, const Context&);
  void (*prelu_forward)(const PReLUForward<T>&, const Context&);
  void (*prelu_backward)(const PReLUBackward<T>&, const Context&);

  // Inverted dropout, y = x / (1 - p) or 0 (Srivastava et al., 2014), with the mask of this layer, of n elements from number
  // `first`, a multiple of 4, on; y may be x.
  void (*dropout)(const DropoutState&, Index layer, double p, Index first, Index n, const T* x, T* y, const Context&);

  void (*gather)(const GatherArgs<T>&, const Context&);

  void (*loss)(const LossArgs<T>&, const Context&);
  Index (*loss_partials)(Index rows);

  // An optimizer's step on n values of one parameter, from its gradient.
  void (*update)(const Update&, Index n, const UpdateTarget<T>&, const T* grad, const Context&);
  // Scales all gradients by max_norm / (norm + 1e-6) where that is below 1; *norm receives their joint norm.
  void (*clip)(int count, T* const* grads, const Index* sizes, double max_norm, double* norm, const Context&);
  // The head of a network, on a device: whether it can take one of these sizes, and its two halves. Null: never.
  bool (*takes_head)(Index M, Index N, Index K);
  void (*head_forward)(const HeadForward<T>&, const Context&);
  void (*head_backward)(const HeadBackward<T>&, const Context&);
  // A network's prediction in one launch, on a device. False, with nothing done, where it has no way to, or gains nothing.
  // Null: never.
  bool (*predict_chain)(const ChainPrediction<T>&, const Context&);

  // Many steps of a network in one launch, on a device: whether it can, and the steps. Null: never.
  bool (*trains_in_block)(const SingleBlockTraining<T>&);
  void (*train_in_block)(const SingleBlockTraining<T>&, const Context&);
  // The same of one network on all multiprocessors, which exchange values through `workspace`: as many bytes as the
  // first says, 0 where it cannot.
  std::size_t (*workspace_across_blocks)(const SingleBlockTraining<T>&);
  void (*train_across_blocks)(const SingleBlockTraining<T>&, void* workspace, const Context&);

  // Tiny networks. lanes_plan lays out the buffer for `rows` rows (training: with all that a backward pass and a step
  // need), and returns its size.
  bool (*prefers_lanes)(const LanesLayer<T>* layers, int depth, Index rows, bool training);
  Index (*lanes_plan)(const LanesLayer<T>* layers, int depth, Index rows, bool training, LanesPlanStorage& plan);
  void (*lanes_forward)(const LanesArgs<T>&, const Context&);
  double (*lanes_evaluate)(const LanesArgs<T>&, const Context&);
  double (*lanes_loss)(const LanesArgs<T>&, bool gradient, const Context&);
  void (*lanes_backward)(const LanesArgs<T>&, const Context&);
  double (*lanes_step)(const LanesArgs<T>&, const Context&);
  void (*lanes_train)(const LanesArgs<T>&, const LanesTraining<T>&, const Context&);
};

// How an instruction set cuts products of float32 matrices: into tiles of MR x NR, blocks of KC terms and of MC rows (see
// cpu/gemm/blocking.h), for caches of so many bytes.
struct ProductBlocks {
  Index MR, NR, KC, MC;
  Index l1, l2;
};

// The tables of one instruction set.
struct Isa {
  const char* name;
  bool (*supported)();
  const Backend<float>* f32;
  const Backend<double>* f64;
  double (*fma_flops)(double seconds);  // float32 operations a second of independent FMAs on one thread
  ProductBlocks (*product_blocks)();
  // The words of Philox blocks from number n on, one block after the other: `count` of them, or some more, up to a multiple of 32.
  void (*random_words)(const Philox4x32& random, std::uint64_t n, Index count, std::uint32_t* out);
  // 1 + cos(x) of `count` values.
  void (*cosine_heights)(Index count, const double* x, double* out);
  void (*cosine_rates)(CosineSteps steps, Index count, double* out);  // of so many steps
};

// The instruction set in use: the best that this processor has, or the one that FASTMLP_ISA names.
// Throws std::invalid_argument where that is unknown or unsupported.
const Isa& active_isa();
// All that were compiled in, best first.
const Isa* const* compiled_isas(int& count);
// The name of the instructions that multiply in bfloat16 (Precision::BF16) there.
const char* bf16_instructions();

template <class T>
const Backend<T>& active_backend();

}  // namespace fastmlp
