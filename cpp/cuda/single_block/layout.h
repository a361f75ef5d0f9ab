// How one block trains a whole network: what lies where in its shared memory, and who does what.
//
// All matrices are row-major with odd leading dimensions, so that neither rows nor columns of them share a bank. A bias is
// one more row of its weights, whose input is a column of ones.
#pragma once

#include <algorithm>
#include <utility>

#include "core/backend.h"
#include "cuda/block/block.h"
#include "cuda/block/step_constants.h"

namespace fastmlp::cuda {

inline constexpr int kMostBlockLayers = 16;
inline constexpr int kMostBlockThreads = 512;
// Columns of a product, and rows where it has enough of them, that a thread adds up side by side: a value in shared memory
// then serves several terms. Registers for more float64 rows are wanting.
inline constexpr int kTileColumns = 4;
template <class T>
inline constexpr int kTileRows = sizeof(T) == 4 ? 4 : 2;

// Element (r, c) is values[first + r * ld + c].
struct SharedMatrix {
  int first = 0, ld = 0;

  FASTMLP_FORMULA int row(int r) const { return first + r * ld; }
};

struct BlockLayer {
  int in, terms, out;  // terms: in, and 1 for the bias
  Activation activation;
  SharedMatrix weight, y, dz;  // until dz is known its place has the activation's derivative
  bool trains_weight, trains_bias;
  int log_lanes;  // of the weights' gradient: lanes side by side in a row of it

  FASTMLP_FORMULA bool has_bias() const { return terms > in; }
  FASTMLP_FORMULA bool is_trained() const { return trains_weight || trains_bias; }
};

// Values [begin, end) of the parameters are trained.
struct Range {
  int begin, end;
};

struct BlockPlan {
  int threads;
  int depth, rows;
  int lowest;  // trained layer

  // Teams of 2^log_lanes neighbouring threads have `row_tile` rows each at a time.
  int log_lanes, row_tile;
  // The weights' gradient: terms that a thread adds up side by side, and parts of the batch, each summed by a share of
  // the threads.
  int term_tile, log_parts;

  // Places in shared memory: in bytes ...
  int losses, constants, data, ids, classes, values;
  int bytes;
  // ... and among `values`. The parameters come first, then each state that the rule keeps, as many values.
  int parameters;
  int state[3];  // 0: not kept
  int partial;   // gradients, of each part
  SharedMatrix x[2], targets[2];
  int weights;  // of the rows, of both buffers one after the other
  bool loads;   // each step has rows of its own: they are fetched while the last step runs
  BlockLayer layers[kMostBlockLayers];
  Range ranges[2 * kMostBlockLayers];
  int range_count;
};

constexpr int log2_ceil(Index n) {
  int log = 0;
  while (Index{1} << log < n) ++log;
  return log;
}
inline int odd(int n) { return n | 1; }
template <class N>
N divide_up(N a, N b) {
  return (a + b - 1) / b;
}

// Threads. A network wants its step done soon: a thread for each value of its widest layer, or every fourth. Many networks,
// which share multiprocessors, would be served better by small blocks with full tiles; but how work is shared out decides on
// the order of sums, and a network among others shall come to the same bits as alone.
// The sizes are estimates; no device was at hand to measure.
template <class T>
void share_out(const SingleBlockTraining<T>& a, Index widest, BlockPlan& plan) {
  const Index values = a.rows * widest;
  plan.threads = values <= 32 ? 32 : values <= 1024 ? 128 : kMostBlockThreads;
  plan.row_tile = values >= 4 * plan.threads && a.rows >= kTileRows<T> ? kTileRows<T> : 1;
  const Index teams = divide_up<Index>(a.rows, plan.row_tile);
  plan.log_lanes = 0;
  while ((1 << plan.log_lanes) < std::min<Index>(kWarp, widest) && (teams << (plan.log_lanes + 1)) <= plan.threads)
    ++plan.log_lanes;

  // Threads that the largest gradient keeps busy, by tiles or by single values.
  int tiles = 0, singles = 0;
  for (int l = 0; l < plan.depth; ++l) {
    const BlockLayer& layer = plan.layers[l];
    tiles = std::max(tiles, divide_up(layer.terms, kTileRows<T>) << log2_ceil(divide_up(layer.out, kTileColumns)));
    singles = std::max(singles, layer.terms << log2_ceil(layer.out));
  }
  constexpr Index kShort = 64;  // rows that one thread may sum
  const bool single = singles <= plan.threads && a.rows <= kShort;
  plan.term_tile = single ? 1 : kTileRows<T>;
  plan.log_parts = 0;
  const int most_parts = plan.threads == kWarp ? 4 : kWarp;  // each takes memory for a gradient
  while (!single && (tiles << (plan.log_parts + 1)) <= plan.threads && (1 << plan.log_parts) < most_parts &&
         a.rows >= (4 << (plan.log_parts + 1)))
    ++plan.log_parts;
  for (int l = 0; l < plan.depth; ++l) {
    BlockLayer& layer = plan.layers[l];
    layer.log_lanes = std::min(5, log2_ceil(single ? layer.out : divide_up(layer.out, kTileColumns)));
    while ((1 << layer.log_lanes) > plan.threads >> plan.log_parts) --layer.log_lanes;
  }
}

inline void add_trained(BlockPlan& plan, int begin, int end) {
  Range& last = plan.ranges[std::max(0, plan.range_count - 1)];
  if (plan.range_count > 0 && last.end == begin)
    last.end = end;
  else
    plan.ranges[plan.range_count++] = {begin, end};
}

// Everything, or false where the network is none for a block.
template <class T>
bool plan_block(const SingleBlockTraining<T>& a, BlockPlan& plan) {
  constexpr Index kMost = 1 << 16;  // of any size; more would not fit anyway
  if (a.depth < 1 || a.depth > kMostBlockLayers || a.rows < 1 || a.rows > kMost || a.models < 1) return false;
  plan = {};
  plan.depth = a.depth;
  plan.rows = static_cast<int>(a.rows);
  plan.loads = !a.same_rows;  // even for a single step: the layout decides on the order of sums
  plan.lowest = a.depth;

  Index widest = 1;
  int end = 0;
  const auto take = [&end](int count) { return std::exchange(end, end + count); };
  for (int l = 0; l < a.depth; ++l) {
    const SingleBlockLayer& from = a.layers[l];
    if (from.in < 1 || from.out < 1 || from.in * from.out > kMost) return false;
    BlockLayer& layer = plan.layers[l];
    layer.in = static_cast<int>(from.in);
    layer.out = static_cast<int>(from.out);
    layer.terms = layer.in + (from.has_bias ? 1 : 0);
    layer.activation = from.activation;
    layer.trains_weight = from.trains_weight;
    layer.trains_bias = from.has_bias && from.trains_bias;
    layer.weight.ld = odd(layer.out);
    const int weights = layer.in * layer.weight.ld;
    layer.weight.first = take(layer.terms * layer.weight.ld);
    const int begin = layer.weight.first, bias = begin + weights;
    if (layer.trains_weight) add_trained(plan, begin, bias);
    if (layer.trains_bias) add_trained(plan, bias, bias + layer.weight.ld);
    if (layer.is_trained()) plan.lowest = std::min(plan.lowest, l);
    widest = std::max(widest, from.out);
  }
  if (plan.range_count == 0) return false;
  share_out(a, widest, plan);
  const BlockLayer& last = plan.layers[a.depth - 1];

  plan.parameters = end;
  for (int s = 0; s < 3; ++s)
    if (a.states[s]) plan.state[s] = take(plan.parameters);
  for (int buffer = 0; buffer < 2; ++buffer) {
    if (buffer == 1 && !plan.loads) {
      plan.x[1] = plan.x[0];
      plan.targets[1] = plan.targets[0];
      break;
    }
    const int ld = odd(plan.layers[0].terms);
    plan.x[buffer] = {take(plan.rows * ld), ld};
    if (a.targets.dense) plan.targets[buffer] = {take(plan.rows * odd(last.out)), odd(last.out)};
  }
  if (a.targets.weights) plan.weights = take(plan.rows * (plan.loads ? 2 : 1));
  for (int l = 0; l < a.depth; ++l) {
    BlockLayer& layer = plan.layers[l];
    const int ld = odd(layer.out + 1);
    layer.y = {take(plan.rows * ld), ld};
    layer.dz = {take(plan.rows * odd(layer.out)), odd(layer.out)};
    if (end > kMost) return false;
  }

  const auto take_bytes = [&plan](std::size_t bytes) {
    return std::exchange(plan.bytes, plan.bytes + static_cast<int>(divide_up<std::size_t>(bytes, 8) * 8));
  };
  const std::size_t numbers = static_cast<std::size_t>(plan.loads ? 2 : 1) * static_cast<std::size_t>(plan.rows);
  plan.losses = take_bytes(kMostBlockThreads / kWarp * sizeof(double));
  plan.constants = take_bytes(StepConstants<T>::kBytes);
  plan.data = take_bytes(sizeof(SingleBlockRows<T>));
  plan.ids = take_bytes(a.by_ids ? numbers * sizeof(Index) : 0);
  plan.classes = take_bytes(a.targets.classes ? numbers * sizeof(Index) : 0);

  // As many parts as there is room for.
  const auto size = [&] { return static_cast<std::size_t>(end + (plan.parameters << plan.log_parts)) * sizeof(T); };
  while (plan.log_parts > 0 && static_cast<std::size_t>(plan.bytes) + size() > most_shared_bytes()) --plan.log_parts;
  plan.partial = end;
  plan.values = take_bytes(size());
  return static_cast<std::size_t>(plan.bytes) <= most_shared_bytes();
}

// Up to where one block is expected to beat a graph of kernels for each layer, in multiply-adds of a step: a graph takes
// some 6 us a layer, and a block should make some 40 of them in a nanosecond (20 in float64). Estimates: no device was
// at hand to measure. They hold for many networks, too, which come to the same bits as alone.
template <class T>
bool worth_a_block(const SingleBlockTraining<T>& a) {
  constexpr Index kOfLayer = sizeof(T) == 4 ? 240'000 : 120'000;
  Index sum = 0;
  for (int l = 0; l < a.depth; ++l) sum += (l > 0 ? 3 : 2) * a.rows * a.layers[l].in * a.layers[l].out;
  return sum <= kOfLayer * a.depth;
}

}  // namespace fastmlp::cuda
