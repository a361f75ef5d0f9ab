// Products by all threads: which epilogue whole tiles have in registers, and who multiplies.
#pragma once

#include "cpu/affine_epilogues.h"
#include "cpu/gemm/threads.h"

namespace fastmlp::FASTMLP_ISA_NS {

// A part of a product with the epilogue that it asks for; code for size has the least of them.
template <class Form, class T>
void fused_part(const Gemm<T>& g, const Part& part, T* scratch) {
  const auto with = [&](const auto& epilogue) { gemm_part<Form>(g, epilogue, part, scratch); };
  if (g.fused == Fused::Store) return with(Store<T>{g.partial, g.ld_partial});
  const void* const of = g.epilogue.context;
  if (g.fused == Fused::SGD) return with(ApplySGD<T>(*static_cast<const AffineBackwardWeight<T>*>(of)));
  if constexpr (!kSmallCode) {
    const auto later = [&](auto rule) {
      using Body = ApplyRule<T, decltype(rule)>;
      with(DeferredEpilogue<T, Body>{Body(*static_cast<const AffineBackwardWeight<T>*>(of)), nullptr});
    };
    switch (g.fused) {
      case Fused::ReLU:
        return with(Forward<T, ops::ReLU>{*static_cast<const AffineForward<T>*>(of)});
      case Fused::ReLUDerivative:
        return with(BackwardInput<T, ops::ReLU>{*static_cast<const AffineBackwardInput<T>*>(of)});
      case Fused::SGDMomentum:
        return later(ops::SGDMomentum{});
      case Fused::Adam:
        return later(ops::Adam{});
      default:
        break;
    }
  }
  with(NoRegisterEpilogue<T>{});
}

template <class T>
void multiply_part(const Gemm<T>& g, const Part& part, T* scratch) {
  if constexpr (has_bf16<T>)
    if (g.bf16 && g.bf16->multiply) return g.bf16->multiply(g, part, scratch);
  fused_part<Values>(g, part, scratch);
}

// The product on all threads; `depth_blocks`: how many blocks the sums are formed in.
template <class T>
void gemm(const Gemm<T>& g, const Context& context, Index depth_blocks) {
  for_parts(g, context, [&](Index m_begin, Index m_end, Index n_begin, Index n_end, int worker) {
    T* scratch = reinterpret_cast<T*>(context.scratch + worker * Blocking<T>::kScratchBytes);
    multiply_part(g, {m_begin, m_end, n_begin, n_end, depth_blocks}, scratch);
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
