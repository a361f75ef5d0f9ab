// Starts the kernels of one shape.
#pragma once

#include "cuda/tiny/rows_in_lanes.h"
#include "cuda/tiny/tiny.h"

namespace fastmlp::cuda {

template <class T>
TinyParams<T> tiny_params(const SingleBlockTraining<T>& a) {
  const Index columns = a.layers[a.depth - 1].out;
  TinyParams<T> p{.sizes = {static_cast<int>(a.layers[0].in)},
                  .activations = {},
                  .has_bias = {},
                  .trains = {},
                  .output = output_args(a, 0),
                  .scale = StepScale(a, columns),
                  .parameters = a.parameters,
                  .data = a.data,
                  .targets = a.targets,
                  .by_ids = a.by_ids,
                  .same_rows = a.same_rows,
                  .row = a.row,
                  .steps = a.steps,
                  .rows = static_cast<int>(a.rows),
                  .models = static_cast<int>(a.models),
                  .kind = a.rule,
                  .keeps = {a.states[0], a.states[1], a.states[2]},
                  .updates = a.updates,
                  .one_update = a.one_update,
                  .update_stride = a.update_stride,
                  .losses = a.losses};
  for (int l = 0; l < a.depth; ++l) {
    const SingleBlockLayer& layer = a.layers[l];
    p.sizes[l + 1] = static_cast<int>(layer.out);
    p.activations[l] = layer.activation.kind;
    p.has_bias[l] = layer.has_bias;
    p.trains[l][0] = layer.trains_weight;
    p.trains[l][1] = layer.has_bias && layer.trains_bias;
  }
  return p;
}

template <class K>
void launch_tiny_kernel(const SingleBlockTraining<float>& a, Stream stream) {
  const int blocks = static_cast<int>((a.models + K::kNetworks - 1) / K::kNetworks);
  launch<K>({blocks}, K::kBytes, tiny_params(a), stream);
}

template <class S>
void launch_tiny(const SingleBlockTraining<float>& a, Stream stream) {
  constexpr int kFew = 4;
  if (a.rows > kWarp) return launch_tiny_kernel<RowsInLanes<float, S, 4>>(a, stream);
  // Several networks a warp, once there are more than warps that run at the same time. It is for the smallest networks,
  // where a lane has room for the values of eight, and for rows whose shares are the same.
  if constexpr (S::kPlaces <= kWarp)
    if (a.rows <= kFew && a.models > 4 * multiprocessors() && !StepScale(a, 1).by_shares)
      return launch_tiny_kernel<RowsInLanes<float, S, 1, kFew>>(a, stream);
  launch_tiny_kernel<RowsInLanes<float, S, 1>>(a, stream);
}

#define FASTMLP_INSTANTIATE(...) \
  template void launch_tiny<TinyShape<__VA_ARGS__>>(const SingleBlockTraining<float>&, Stream);

}  // namespace fastmlp::cuda
