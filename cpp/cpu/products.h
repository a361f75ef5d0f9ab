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
  using Block = Blocking<T>;
  const Grid grid = choose_grid<T>(g.M, g.N, g.K, g.split_columns, context.executor.workers);
  const Index m_step = round_up(ceil_div(g.M, grid.m), grid.m > 1 ? Block::MR : 1);
  const Index n_step = round_up(ceil_div(g.N, grid.n), Block::NR);
  const Index m_parts = ceil_div(g.M, m_step), n_parts = ceil_div(g.N, n_step);
  parallel_tasks(context, m_parts * n_parts, [&](Index task, int worker) {
    const Index m0 = task / n_parts * m_step, n0 = task % n_parts * n_step;
    T* scratch = reinterpret_cast<T*>(context.scratch + worker * Block::kScratchBytes);
    multiply_part(g, {m0, smaller(g.M, m0 + m_step), n0, smaller(g.N, n0 + n_step), depth_blocks}, scratch);
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
