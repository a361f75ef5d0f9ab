// The kernels of the device's table: what core/contracts/ says of each holds here. A file a family; table.cpp lists them.
#pragma once

#include "core/backend.h"

namespace fastmlp::cuda {

// affine/affine.cu and weight_group.cu
template <class T>
void affine_forward(const AffineForward<T>&, const Context&);
template <class T>
void affine_backward_input(const AffineBackwardInput<T>&, const Context&);
template <class T>
void affine_backward_weight(const AffineBackwardWeight<T>&, const Context&);
template <class T>
void affine_backward_weights(const AffineBackwardWeight<T>*, int count, const Context&);
bool affine_chooses_rows(Index M);
// Of the context's scratch, at its begin; zeros at first, and the last kCounterBytes (split.h) between all kernels.
std::size_t affine_scratch_bytes();

// pointwise/pointwise.cu and clip.cu
template <class T>
void activation_forward(const Activation&, Index n, const T* x, T* y, const Context&);
template <class T>
void activation_backward(const Activation&, Index n, const T* dy, const T* saved, T* dx, const Context&);
template <class T>
void add(Index n, const T* a, const T* b, T* y, const Context&);
template <class T>
void scale(Index n, T factor, T* x, const Context&);
void advance(std::int64_t* number, std::int64_t by, Stream stream);  // Device's
template <class T>
void dropout(const DropoutState&, Index layer, double p, Index first, Index n, const T* x, T* y, const Context&);
template <class T>
void gather(const GatherArgs<T>&, const Context&);
template <class T>
void update(const Update&, Index n, const UpdateTarget<T>&, const T* grad, const Context&);
template <class T>
void clip(int count, T* const* grads, const Index* sizes, double max_norm, double* norm, const Context&);

// The scratch memory of clip: partial sums of squares, of a block each, at three scales.
inline constexpr int kClipPartials = 512;
inline constexpr std::size_t kClipScratchBytes = kClipPartials * 3 * sizeof(double);

// pointwise/rows.cu
template <class T>
void row_forward(RowActivationKind, Index rows, Index columns, const T* x, T* y, const Context&);
template <class T>
void row_backward(RowActivationKind, Index rows, Index columns, const T* dy, const T* y, T* dx, const Context&);
template <class T>
void loss(const LossArgs<T>&, const Context&);
Index loss_partials(Index rows);

// pointwise/normalization.cu and prelu.cu
template <class T>
void layer_norm_forward(const LayerNormForward<T>&, const Context&);
template <class T>
void layer_norm_backward(const LayerNormBackward<T>&, const Context&);
template <class T>
void batch_norm_forward(const BatchNormForward<T>&, const Context&);
template <class T>
void batch_norm_backward(const BatchNormBackward<T>&, const Context&);
template <class T>
void prelu_forward(const PReLUForward<T>&, const Context&);
template <class T>
void prelu_backward(const PReLUBackward<T>&, const Context&);

// head/
template <class T>
bool takes_head(Index M, Index N, Index K);
template <class T>
void head_forward(const HeadForward<T>&, const Context&);
template <class T>
void head_backward(const HeadBackward<T>&, const Context&);
// predict/predict.cu
template <class T>
bool predict_chain(const ChainPrediction<T>&, const Context&);

// single_block/training.cu
template <class T>
bool trains_in_block(const SingleBlockTraining<T>&);
template <class T>
void train_in_block(const SingleBlockTraining<T>&, const Context&);

// medium/medium.cu
template <class T>
std::size_t workspace_across_blocks(const SingleBlockTraining<T>&);
template <class T>
void train_across_blocks(const SingleBlockTraining<T>&, void* workspace, const Context&);
// tiny/tiny.cu: the same for tiny networks, one float32 row of the batch in each lane of a warp.
template <class T>
bool trains_in_lanes(const SingleBlockTraining<T>&);
template <class T>
void train_in_lanes(const SingleBlockTraining<T>&, const Context&);

}  // namespace fastmlp::cuda
