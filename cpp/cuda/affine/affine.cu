// The three products of an affine layer.
#include "cuda/affine/affine_kernels.h"
#include "cuda/large/large.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

template <class T, Along kA, Along kB, class Epilogue>
void multiply_as_planned(const Product<T, kA, kB, Epilogue>& product, const Context& context) {
  const bool tensor_cores = sizeof(T) == sizeof(float) && context.precision != Precision::Float32;
  multiply(product,
           plan_tiles(product.a.extent, product.b.extent, product.depth, sizeof(T), tensor_cores, multiprocessors(),
                      most_shared_bytes()),
           context);
}

}  // namespace

std::size_t affine_scratch_bytes() { return kPartBytes + kCounterBytes; }

template <class T>
void affine_forward(const AffineForward<T>& a, const Context& context) {
  if constexpr (std::is_same_v<T, float>) {
    if (!a.x_chosen && large_forward(a, context)) return;
  }
  // Few rows are bound by reading W, so that their products are of float32 in any precision.
  if (a.M > kFewRows) return multiply_as_planned(product_of(a, context), context);
  if (takes_vectors(a.weight, a.N)) return multiply_few_rows<Vector<T>::kLanes>(a, context);
  multiply_few_rows<1>(a, context);
}

template <class T>
void affine_backward_input(const AffineBackwardInput<T>& a, const Context& context) {
  if constexpr (std::is_same_v<T, float>) {
    if (large_backward_input(a, context)) return;
  }
  multiply_as_planned(product_of(a, context), context);
}

template <class T>
void affine_backward_weight(const AffineBackwardWeight<T>& a, const Context& context) {
  if constexpr (std::is_same_v<T, float>) {
    if (!a.x_chosen && large_backward_weight(a, context)) {
      const WritesNoOperand bias_alone;
      if (a.bias.wanted()) sum_columns(a, context);
      return;
    }
  }
  if (a.weight.wanted()) return multiply_as_planned(product_of(a, context), context);
  if (a.bias.wanted()) sum_columns(a, context);
}

template <class T>
bool affine_chooses_rows(Index M, Index N, Index K, const Context& context) {
  return M > kFewRows && !(std::is_same_v<T, float> && large_takes(M, N, K, context));
}

#define FASTMLP_INSTANTIATE(T)                                                        \
  template bool affine_chooses_rows<T>(Index, Index, Index, const Context&);          \
  template void affine_forward(const AffineForward<T>&, const Context&);              \
  template void affine_backward_input(const AffineBackwardInput<T>&, const Context&); \
  template void affine_backward_weight(const AffineBackwardWeight<T>&, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
