// A whole network on few rows in one launch. A small one is run by one block (chain.h). Where the first layer is too large
// for that, it is spread over the device, as few_rows.h does it, and the block that arrives last runs the rest.
#include "cuda/affine/affine_kernels.h"
#include "cuda/predict/chain.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

template <class T, int kM>
struct OneBlock {
  static constexpr int kThreads = kChainThreads;
  struct Params {
    Chain<T> chain;
    int rows;
    const T* x;
    T* y;
  };
  using Registers = ChainRegisters<T, kM>;

  static FASTMLP_DEVICE void run(Block<OneBlock>& block, const Params& p) {
    run_chain<kM>(block, p.chain, p.rows, p.x, p.y);
  }
};

// The first layer's outputs go to scratch memory.
template <class T, int kM, int kV>
struct FirstSpread {
  using First = FewRows<T, kM, kV>;
  static constexpr int kThreads = First::kThreads;
  static constexpr int kBlocks = sizeof(T) * kM > 32 ? 1 : 2;  // no more, or the compiler spills for them
  static_assert(kThreads == kChainThreads);
  struct Params {
    typename First::Params first;
    int blocks_across;
    Chain<T> rest;
    T* y;
  };
  using Registers = ChainRegisters<T, kM>;

  static FASTMLP_DEVICE void run(Block<FirstSpread>& block, const Params& p) {
    if (!First::run_in(block, p.first)) return;
    int* const last = reinterpret_cast<int*>(block.shared() + First::kSumBytes);
    if (!arrives_last(block, last, p.first.shared.counters + p.blocks_across, p.blocks_across)) return;
    block.each([](int, Registers&) {});  // before the word that tells so is written over
    run_chain<kM>(block, p.rest, static_cast<int>(p.first.M), p.first.epilogue.y, p.y);
  }
};

template <class T, int kM>
void launch_one_block(const ChainPrediction<T>& a, const Chain<T>& chain, const Context& context) {
  launch<OneBlock<T, kM>>({1, 1, 1}, static_cast<std::size_t>(chain.size) * sizeof(T),
                          {chain, static_cast<int>(a.rows), a.x, a.y}, context.stream);
}

template <int kM, int kV, class T>
bool launch_spread(const ChainPrediction<T>& a, const Chain<T>& rest, const Context& context) {
  using Kernel = FirstSpread<T, kM, kV>;
  const LanesLayer<T>& layer = a.layers[0];
  const FewRowsPlan plan = plan_few_rows<T, kM, kV>(layer.out, layer.in);
  const Index outputs = Index{kM} * layer.out;
  const Index sums =
      plan.parts > 1 ? Index{plan.blocks_across} * plan.parts * plan.across * Kernel::First::kOutputs : 0;
  constexpr Index kRoom = static_cast<Index>(kPartBytes / sizeof(T));
  if (plan.blocks_across >= kMostShared || sums + outputs > kRoom) return false;
  T* const hidden = SharedSums(context.scratch).template parts<T>() + (kRoom - (outputs + 3) / 4 * 4);
  const AffineForward<T> first{a.rows,     layer.out,        layer.in, a.x,       layer.in, layer.weight,
                               layer.bias, layer.activation, hidden,   layer.out, nullptr};
  const std::size_t bytes =
      std::max<std::size_t>(Kernel::First::kSharedBytes, static_cast<std::size_t>(rest.size) * sizeof(T));
  launch<Kernel>({plan.blocks_across * plan.parts, 1, 1}, bytes,
                 {few_rows_params<kM, kV>(first, plan, context), plan.blocks_across, rest, a.y}, context.stream);
  return true;
}

template <int kM, class T>
bool predict(const ChainPrediction<T>& a, const Context& context) {
  if (const auto chain = plan_chain(a.layers, a.depth, a.layers[0].in, a)) {
    launch_one_block<T, kM>(a, *chain, context);
    return true;
  }
  const auto rest = plan_chain(a.layers + 1, a.depth - 1, a.layers[0].out, a);
  if (!rest) return false;
  if (takes_vectors(a.layers[0].weight, a.layers[0].out))
    return launch_spread<kM, Vector<T>::kLanes>(a, *rest, context);
  return launch_spread<kM, 1>(a, *rest, context);
}

}  // namespace

template <class T>
bool predict_chain(const ChainPrediction<T>& a, const Context& context) {
  static_assert(kFewRows <= kMostChainRows);
  const int kernels = a.depth + a.has_row_activation;  // layer by layer
  if (a.rows > kFewRows || a.depth == 0 || kernels < 2) return false;
  if (a.rows == 1) return predict<1>(a, context);
  if (a.rows <= 4) return predict<4>(a, context);
  return predict<static_cast<int>(kFewRows)>(a, context);
}

template bool predict_chain(const ChainPrediction<float>&, const Context&);
template bool predict_chain(const ChainPrediction<double>&, const Context&);

}  // namespace fastmlp::cuda
