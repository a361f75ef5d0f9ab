// The device's tables of kernels, and what the library exports: see core/cuda_library.h.
#include <algorithm>

#include "core/cuda_library.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

template <class T>
Backend<T> table() {
  Backend<T> t{};  // without the lanes, which are the host's
  t.scratch_bytes = std::max(affine_scratch_bytes(), kClipScratchBytes);
  t.affine_forward = affine_forward<T>;
  t.affine_backward_input = affine_backward_input<T>;
  t.affine_backward_weight = affine_backward_weight<T>;
  t.affine_backward_weights = affine_backward_weights<T>;
  t.chooses_rows = affine_chooses_rows<T>;
  t.weight_update_needs_grad = [](Index) { return false; };
  t.activation_forward = activation_forward<T>;
  t.activation_backward = activation_backward<T>;
  t.add = add<T>;
  t.scale = scale<T>;
  t.row_forward = row_forward<T>;
  t.row_backward = row_backward<T>;
  t.layer_norm_forward = layer_norm_forward<T>;
  t.layer_norm_backward = layer_norm_backward<T>;
  t.batch_norm_forward = batch_norm_forward<T>;
  t.batch_norm_backward = batch_norm_backward<T>;
  t.prelu_forward = prelu_forward<T>;
  t.prelu_backward = prelu_backward<T>;
  t.dropout = dropout<T>;
  t.gather = gather<T>;
  t.loss = loss<T>;
  t.loss_partials = loss_partials;
  t.update = update<T>;
  t.clip = clip<T>;
  t.takes_head = takes_head<T>;
  t.head_forward = head_forward<T>;
  t.head_backward = head_backward<T>;
  t.trains_in_block = trains_in_block<T>;
  t.train_in_block = train_in_block<T>;
  t.prefers_lanes = [](const LanesLayer<T>*, int, Index, bool) { return false; };
  return t;
}

const Device& device() {
  static const Backend<float> f32 = table<float>();
  static const Backend<double> f64 = table<double>();
  static const Device cuda = {
      .name = "cuda",
      .host = false,
      .allocate = allocate,
      .release = release,
      .upload = upload,
      .download = download,
      .copy = copy,
      .synchronize = synchronize,
      .make_stream = make_stream,
      .begin_recording = begin_recording,
      .end_recording = end_recording,
      .replay = replay,
      .release_recording = release_recording,
      .f32 = &f32,
      .f64 = &f64,
  };
  return cuda;
}

}  // namespace

}  // namespace fastmlp::cuda

extern "C" __attribute__((visibility("default"))) const fastmlp::CudaLibrary* fastmlp_cuda_library() {
  using namespace fastmlp;
  static const CudaLibrary library = {kCudaLayout, cuda::count, cuda::problem, cuda::name, &cuda::device()};
  return &library;
}
