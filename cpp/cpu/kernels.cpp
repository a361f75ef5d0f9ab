// The kernels of one instruction set. Compiled once per ISA, with that ISA's flags and FASTMLP_ISA_NS set to its name;
// exports nothing but the table.
#include "core/backend.h"
#include "cpu/isa.h"

#include FASTMLP_ISA_HEADER

#include "cpu/affine.h"
#include "cpu/cosines.h"
#include "cpu/dropout.h"
#include "cpu/gather.h"
#include "cpu/lanes.h"
#include "cpu/normalization.h"
#include "cpu/prelu.h"
#include "cpu/processor.h"
#include "cpu/strategy.h"

namespace fastmlp::FASTMLP_ISA_NS {
namespace {

template <class T>
constexpr Backend<T> kBackend = {
    .scratch_bytes = Blocking<T>::kScratchBytes,
    .affine_forward = affine_forward<T>,
    .packed_weight_size = packed_weight_size<T>,
    .pack_weight = pack_weight<T>,
    .affine_backward_input = affine_backward_input<T>,
    .affine_backward_weight = affine_backward_weight<T>,
    .affine_backward_weights = nullptr,
    .chooses_rows = nullptr,
    .weight_update_needs_grad = weight_update_needs_grad<T>,
    .activation_forward = activation_forward<T>,
    .activation_backward = activation_backward<T>,
    .add = add<T>,
    .scale = scale<T>,
    .row_forward = row_forward<T>,
    .row_backward = row_backward<T>,
    .layer_norm_forward = layer_norm_forward<T>,
    .layer_norm_backward = layer_norm_backward<T>,
    .batch_norm_forward = batch_norm_forward<T>,
    .batch_norm_backward = batch_norm_backward<T>,
    .prelu_forward = prelu_forward<T>,
    .prelu_backward = prelu_backward<T>,
    .dropout = dropout<T>,
    .gather = gather<T>,
    .loss = loss<T>,
    .loss_partials = loss_partials,
    .update = update<T>,
    .clip = clip<T>,
    .takes_head = nullptr,
    .head_forward = nullptr,
    .head_backward = nullptr,
    .predict_chain = nullptr,
    .trains_in_block = nullptr,
    .train_in_block = nullptr,
    .workspace_across_blocks = nullptr,
    .train_across_blocks = nullptr,
    .prefers_lanes = prefers_lanes<T>,
    .lanes_plan = lanes_plan<T>,
    .lanes_forward = lanes_forward<T>,
    .lanes_evaluate = lanes_evaluate<T>,
    .lanes_loss = lanes_loss<T>,
    .lanes_backward = lanes_backward<T>,
    .lanes_step = lanes_step<T>,
    .lanes_train = lanes_train<T>,
};

// The peak rate of FMAs, measured with enough independent chains to hide their latency.
double fma_flops(double seconds) {
  using V = Vec<float>;
  constexpr int chains = 12, inner = 4096;
  V acc[chains];
  for (int i = 0; i < chains; ++i) acc[i] = V(static_cast<float>(i));
  V a(0.999f), b(0.001f);
  double operations = 0, elapsed = 0;
  const double begin = processor::now();
  do {
    // Opaque to the compiler, so that the chains cannot be folded.
    asm volatile("" : "+x"(a.reg), "+x"(b.reg));
    for (int n = 0; n < inner; ++n) {
#pragma GCC unroll 12
      for (int i = 0; i < chains; ++i) acc[i] = fma(acc[i], a, b);
    }
    operations += 2.0 * inner * chains * V::lanes;
    elapsed = processor::now() - begin;
  } while (elapsed < seconds);
  for (int i = 1; i < chains; ++i) acc[0] += acc[i];
  float keep_alive[V::lanes];
  acc[0].store(keep_alive);
  asm volatile("" : : "r"(keep_alive) : "memory");
  return operations / elapsed;
}

ProductBlocks product_blocks() {
  const BlockSizes<float> sizes = block_sizes<float>();
  const processor::Caches& caches = processor::caches();
  return {Blocking<float>::MR, Blocking<float>::NR, sizes.KC, sizes.MC(sizes.KC), caches.l1, caches.l2};
}

bool supported() { return processor::FASTMLP_ISA_NS(); }

}  // namespace

extern const Isa kIsa;
const Isa kIsa = {FASTMLP_ISA_NAME, supported,    &kBackend<float>, &kBackend<double>, fma_flops,
                  product_blocks,   random_words, cosine_heights,   cosine_rates};

extern const Bf16Products kBf16Products;
const Bf16Products kBf16Products = {{FASTMLP_ISA_NAME, supported, nullptr},
                                    forward_product<float>,
                                    backward_input_product<float>,
                                    backward_weight_product<float>};

}  // namespace fastmlp::FASTMLP_ISA_NS
