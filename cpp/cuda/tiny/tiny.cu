// The choice of the kernel for a tiny network.
#include "cuda/tiny/tiny.h"

#include "cuda/runtime/kernels.h"
#include "cuda/tiny/takes.h"

namespace fastmlp::cuda {

namespace {

// Of a step, at most: beyond, a graph of kernels that use the whole device is expected to be faster. An estimate.
constexpr Index kMostTinyRows = 4096;

template <class S>
bool fits(const SingleBlockTraining<float>& a) {
  if (a.depth != S::kDepth || a.layers[0].in > S::kIn || a.layers[a.depth - 1].out > S::kOut) return false;
  if (!is_tiny<S::kOut>(a.loss.kind)) return false;
  for (int l = 0; l + 1 < a.depth; ++l)
    if (a.layers[l].out < S::kLeast || a.layers[l].out > S::kHidden) return false;
  return true;
}

// What starts the kernels of the network's shape, or null.
void (*launcher(const SingleBlockTraining<float>& a))(const SingleBlockTraining<float>&, Stream) {
  if (a.depth < 2 || a.rows < 1 || a.rows > kMostTinyRows || a.models < 1 || a.has_row_activation) return nullptr;
  bool trained = false;
  for (int l = 0; l < a.depth; ++l) {
    const SingleBlockLayer& layer = a.layers[l];
    if (layer.in < 1 || layer.out < 1 || !is_tiny(layer.activation.kind)) return nullptr;
    trained = trained || layer.trains_weight || (layer.has_bias && layer.trains_bias);
  }
  if (!trained) return nullptr;
#define FASTMLP_CASE(...) \
  if (fits<TinyShape<__VA_ARGS__>>(a)) return launch_tiny<TinyShape<__VA_ARGS__>>;
  FASTMLP_TINY_SHAPES(FASTMLP_CASE)
#undef FASTMLP_CASE
  return nullptr;
}

}  // namespace

template <>
bool trains_in_lanes<float>(const SingleBlockTraining<float>& a) {
  return launcher(a) != nullptr;
}
template <>
void train_in_lanes<float>(const SingleBlockTraining<float>& a, const Context& context) {
  launcher(a)(a, context.stream);
}
template <>
bool trains_in_lanes<double>(const SingleBlockTraining<double>&) {
  return false;
}
template <>
void train_in_lanes<double>(const SingleBlockTraining<double>&, const Context&) {}

}  // namespace fastmlp::cuda
