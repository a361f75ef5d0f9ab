// The gradients of several weights, with their biases', in one launch: each product has a share of the device, as it has of
// the work, and blocks of its own.
#include <algorithm>
#include <cstring>
#include <vector>

#include "cuda/affine/affine_kernels.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

constexpr std::size_t kMostProducts = 4;  // of a launch

// Kernel: a Gemm.
template <class Kernel>
struct ProductGroup {
  static constexpr int kThreads = Kernel::kThreads, kBlocks = Kernel::kBlocks;

  struct Params {
    int blocks[kMostProducts];  // of each product
    typename Kernel::Params products[kMostProducts];
  };
  static_assert(sizeof(Params) <= 4096);  // which every driver takes
  static constexpr int kWord = 8, kBytes = sizeof(typename Kernel::Params);
  static_assert(kBytes % kWord == 0 && Kernel::kSharedBytes % kWord == 0);
  static constexpr int kSharedBytes = Kernel::kSharedBytes + kBytes;
  using Registers = typename Kernel::Registers;

  static FASTMLP_DEVICE void run(Block<ProductGroup>& block, const Params& p) {
    const Dim index = block.index();
    if (index.x >= p.blocks[index.y]) return;
    // The product's own arguments go to shared memory: read at a place that is not known beforehand, they would take registers.
    unsigned char* const own = block.shared() + Kernel::kSharedBytes;
    const auto* const from = reinterpret_cast<const unsigned char*>(p.products + index.y);
    block.each([&](int thread, Registers&) {
      for (int at = thread * kWord; at < kBytes; at += kThreads * kWord) std::memcpy(own + at, from + at, kWord);
    });
    Kernel::run(block, *reinterpret_cast<const typename Kernel::Params*>(own), index.x);
  }
};

// What the products of a launch have of the scratch memory, one behind the other.
class GroupScratch {
 public:
  explicit GroupScratch(unsigned char* scratch) : scratch_(scratch) {}

  // Room for the plan's parts, of so many bytes for each tile; without it the sums are not split.
  SharedSums take(TilePlan& plan, Index depth, std::size_t tile_bytes) {
    const std::size_t bytes = static_cast<std::size_t>(plan.tiles * plan.parts) * tile_bytes;
    if (plan.parts == 1 || counters_ + plan.tiles > kMostShared || bytes_ + bytes > kPartBytes) {
      plan.parts = 1;
      plan.part = depth;
      return SharedSums(scratch_);
    }
    const SharedSums shared(scratch_, counters_, bytes_);
    counters_ += plan.tiles;
    bytes_ += bytes;
    return shared;
  }

 private:
  unsigned char* const scratch_;
  int counters_ = 0;
  std::size_t bytes_ = 0;
};

template <class T>
using WeightProduct = Product<T, Along::Result, Along::Result, BackwardWeightEpilogue<T>>;
// Small tiles want all registers for themselves.
template <class T, class Format>
using GroupedProduct = Gemm<T, Format, MediumTile, Along::Result, Along::Result, BackwardWeightEpilogue<T>>;

template <class T>
double work_of(const WeightProduct<T>& product) {
  return static_cast<double>(product.a.extent) * product.b.extent * static_cast<double>(product.depth);
}

template <class T>
TilePlan plan_of(const WeightProduct<T>& product, int share, const Context& context, TileKind from, TileKind to) {
  const bool tensor_cores = sizeof(T) == sizeof(float) && context.precision != Precision::Float32;
  return plan_tiles(product.a.extent, product.b.extent, product.depth, sizeof(T), tensor_cores, share,
                    most_shared_bytes(), from, to);
}

template <class Format, class T>
void multiply_group(const std::vector<WeightProduct<T>>& products, const Context& context) {
  using Kernel = GroupedProduct<T, Format>;
  static_assert(Kernel::kPartValues % 4 == 0 && kMostProducts == 4);
  double all = 0;
  for (const WeightProduct<T>& product : products) all += work_of(product);
  GroupScratch scratch(context.scratch);
  int blocks[kMostProducts] = {};
  const auto next = [&](std::size_t i) {
    const WeightProduct<T>& product = products[std::min(i, products.size() - 1)];
    const int share = std::max(static_cast<int>(work_of(product) / all * multiprocessors()), 1);
    TilePlan plan = plan_of(product, share, context, TileKind::Medium, TileKind::Medium);
    const SharedSums shared = scratch.take(plan, product.depth, Kernel::kPartValues * sizeof(T));
    if (i < products.size()) blocks[i] = plan.tiles * plan.parts;  // beyond, arguments of no blocks
    return params_of<Kernel>(product, plan, shared);
  };
  const typename Kernel::Params of[] = {next(0), next(1), next(2), next(3)};
  launch<ProductGroup<Kernel>>(
      {*std::max_element(blocks, blocks + kMostProducts), static_cast<int>(products.size()), 1},
      ProductGroup<Kernel>::kSharedBytes, {{blocks[0], blocks[1], blocks[2], blocks[3]}, {of[0], of[1], of[2], of[3]}},
      context.stream);
}

template <class T>
void multiply_group(const std::vector<WeightProduct<T>>& products, const Context& context) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (context.precision == Precision::TF32) return multiply_group<TF32>(products, context);
  }
  multiply_group<void>(products, context);
}

// Whether it leaves room for others beside it. Those of bfloat16 want their operands' copies while they are fresh (large/).
template <class T>
bool in_group(const AffineBackwardWeight<T>& a, const Context& context) {
  constexpr int kSharedBytes =
      std::max(ProductGroup<GroupedProduct<T, void>>::kSharedBytes,
               ProductGroup<GroupedProduct<T, std::conditional_t<sizeof(T) == 4, TF32, void>>>::kSharedBytes);
  const bool format = context.precision == Precision::Float32 || context.precision == Precision::TF32;
  return format && a.weight.wanted() && kSharedBytes <= most_shared_bytes() &&
         plan_of(product_of(a, context), multiprocessors(), context, TileKind::Large, TileKind::Small).tile !=
             TileKind::Large;
}

}  // namespace

template <class T>
void affine_backward_weights(const AffineBackwardWeight<T>* all, int count, const Context& context) {
  std::vector<WeightProduct<T>> group;
  const AffineBackwardWeight<T>* last = nullptr;
  const auto launch = [&] {
    if (group.size() == 1) affine_backward_weight(*last, context);
    if (group.size() > 1) multiply_group(group, context);
    group.clear();
  };
  for (const AffineBackwardWeight<T>* a = all; a != all + count; ++a) {
    if (!in_group(*a, context)) {
      affine_backward_weight(*a, context);
      continue;
    }
    group.push_back(product_of(*a, context));
    last = a;
    if (group.size() == kMostProducts) launch();
  }
  launch();
}

template void affine_backward_weights(const AffineBackwardWeight<float>*, int, const Context&);
template void affine_backward_weights(const AffineBackwardWeight<double>*, int, const Context&);

}  // namespace fastmlp::cuda
