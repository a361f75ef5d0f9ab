// The three products of an affine layer.
#include "cuda/affine/affine_kernels.h"
#include "cuda/large/large.h"
#include "cuda/runtime/kernels.h"
#if !defined(__CUDACC__)
#include "cuda/emulation/value_states.h"
#endif

namespace fastmlp::cuda {

namespace {

template <class T, Along kA, Along kB, class Epilogue>
void multiply_as_planned(const Product<T, kA, kB, Epilogue>& product, const Context& context) {
  // Three products instead of one, and loads of 4 bytes, bring float32x3 near float32's rate.
  const bool tensor_cores = context.precision == Precision::TF32 || context.precision == Precision::BF16;
  multiply(product,
           plan_tiles(product.a.extent, product.b.extent, product.depth, sizeof(T),
                      sizeof(T) == sizeof(float) && tensor_cores, multiprocessors(), most_shared_bytes()),
           context);
}

}  // namespace

std::size_t affine_scratch_bytes() { return kPartBytes + kCounterBytes; }

template <class T>
void affine_forward(const AffineForward<T>& a, const Context& context) {
  if (!takes_extents({a.M, a.N, a.K, a.ldx, a.ldy})) return;
#if !defined(__CUDACC__)
  check_state(a.weight_state, a.weight, a.K * a.N);
#endif
  if constexpr (std::is_same_v<T, float>) {
    if (large_forward(a, context)) return;
  }
  // Few rows are bound by reading W, so that their products are of float32 in any precision.
  if (a.M > kFewRows) return multiply_as_planned(product_of(a, context), context);
  if (takes_vectors(a.weight, a.N)) return multiply_few_rows<Vector<T>::kLanes>(a, context);
  multiply_few_rows<1>(a, context);
}

template <class T>
void affine_backward_input(const AffineBackwardInput<T>& a, const Context& context) {
  if (!takes_extents({a.M, a.N, a.K, a.lddz, a.lddx})) return;
  if constexpr (std::is_same_v<T, float>) {
    if (large_backward_input(a, context)) return;
  }
  multiply_as_planned(product_of(a, context), context);
}

template <class T>
void affine_backward_weight(const AffineBackwardWeight<T>& a, const Context& context) {
  if (!takes_extents({a.M, a.N, a.K, a.ldx, a.lddz})) return;
  if constexpr (std::is_same_v<T, float>) {
    if (large_backward_weight(a, context)) {
      if (!a.bias.wanted()) return;
      const WritesNoOperand bias_alone;
      AffineBackwardWeight<T> bias = a;
      large_column_sums(bias, context);
      return sum_columns(bias, context);
    }
  }
  if (a.weight.wanted()) return multiply_as_planned(product_of(a, context), context);
  if (a.bias.wanted()) sum_columns(a, context);
}

bool affine_chooses_rows(Index M) { return M > kFewRows; }

#define FASTMLP_INSTANTIATE(T)                                                        \
  template void affine_forward(const AffineForward<T>&, const Context&);              \
  template void affine_backward_input(const AffineBackwardInput<T>&, const Context&); \
  template void affine_backward_weight(const AffineBackwardWeight<T>&, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
