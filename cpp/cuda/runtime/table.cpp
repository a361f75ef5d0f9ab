// The device's tables of kernels, and what the library exports: see core/cuda_library.h.
#include <algorithm>

#include "core/cuda_library.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/kernels.h"
#include "cuda/runtime/runtime.h"

namespace fastmlp::cuda {

namespace {

// A kernel within the device's scope.
template <auto kernel>
struct Scoped;
template <class Result, class... Args, Result (*kernel)(Args...)>
struct Scoped<kernel> {
  static Result run(Args... args) {
    const DeviceScope scope;
    return scope ? kernel(args...) : Result();
  }
};
template <auto kernel>
inline constexpr auto scoped = Scoped<kernel>::run;

template <class T>
void train_in_lanes_or_block(const SingleBlockTraining<T>& a, const Context& context) {
  trains_in_lanes(a) ? train_in_lanes(a, context) : train_in_block(a, context);
}

template <class T>
Backend<T> table() {
  Backend<T> t{};  // without the lanes, which are the host's
  t.scratch_bytes = std::max(affine_scratch_bytes(), kClipScratchBytes);
  t.affine_forward = scoped<affine_forward<T>>;
  t.affine_backward_input = scoped<affine_backward_input<T>>;
  t.affine_backward_weight = scoped<affine_backward_weight<T>>;
  t.affine_backward_weights = scoped<affine_backward_weights<T>>;
  t.chooses_rows = affine_chooses_rows;
  t.weight_update_needs_grad = [](Index) { return false; };
  t.activation_forward = scoped<activation_forward<T>>;
  t.activation_backward = scoped<activation_backward<T>>;
  t.add = scoped<add<T>>;
  t.scale = scoped<scale<T>>;
  t.row_forward = scoped<row_forward<T>>;
  t.row_backward = scoped<row_backward<T>>;
  t.layer_norm_forward = scoped<layer_norm_forward<T>>;
  t.layer_norm_backward = scoped<layer_norm_backward<T>>;
  t.batch_norm_forward = scoped<batch_norm_forward<T>>;
  t.batch_norm_backward = scoped<batch_norm_backward<T>>;
  t.prelu_forward = scoped<prelu_forward<T>>;
  t.prelu_backward = scoped<prelu_backward<T>>;
  t.dropout = scoped<dropout<T>>;
  t.gather = scoped<gather<T>>;
  t.loss = scoped<loss<T>>;
  t.loss_partials = loss_partials;
  t.update = scoped<update<T>>;
  t.clip = scoped<clip<T>>;
  t.takes_head = takes_head<T>;
  t.head_forward = scoped<head_forward<T>>;
  t.head_backward = scoped<head_backward<T>>;
  t.predict_chain = scoped<predict_chain<T>>;
  t.workspace_across_blocks = workspace_across_blocks<T>;
  t.train_across_blocks = scoped<train_across_blocks<T>>;
  t.trains_in_block = [](const SingleBlockTraining<T>& a) { return trains_in_lanes(a) || trains_in_block(a); };
  t.train_in_block = scoped<train_in_lanes_or_block<T>>;
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
      .wait = wait,
      .begin_download = begin_download,
      .end_download = end_download,
      .launch_problem = launch_problem,
      .make_stream = make_stream,
      .begin_recording = begin_recording,
      .end_recording = end_recording,
      .replay = replay,
      .release_recording = release_recording,
      .advance = scoped<advance>,
      .capture = capture,
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
