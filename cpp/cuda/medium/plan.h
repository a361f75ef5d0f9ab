// THE PLAN of a training that all multiprocessors share: one block on each, for hundreds of steps, with its part of the
// weights and of the optimizer's states in shared memory all the time. This header says who holds what, what is done in
// which order, and who waits for whom; steps.h has what is done. Both are compiled for the host, too, where an
// interleaving of the blocks runs them (interleaved.h).
//
// The blocks are a grid of `rows` rows p and `columns` columns q. Each hidden layer's weight (in x out) is cut `rows` ways
// along `in` and `columns` ways along `out`: block (p, q) has slice (p, q). Slices are padded to multiples of kTile; of
// hidden layers, row p's inputs are the outputs of columns_of_row neighbouring columns of the layer below. The last
// layer, the head, is narrow: its weight is cut along `in` as the hidden layer below is along `out`, and every block of
// column q has the same slice, with the same bits. Likewise biases. A batch's rows are cut `rows` or `columns` ways where
// values are added up or looked at one by one.
//
// A step, for a network whose hidden layers are 0 to H - 1. [n] is a counter that the block waits for, -> [n] one that it
// raises at the end; both are named by the values that they stand for.
//   for l = 0 .. H - 1
//     Forward   [h of l - 1, row p]    x = input slice; partial sums x W of all rows         -> [sums of l, column q]
//     Activate  [sums of l, column q]  h of rows' part p                                     -> [h of l, row of q]
//                                      of the last one partial logits, too                   -> [logits, row p]
//   Output      [logits, row p]        loss, dz of the head and of layer H - 1, rows' part p -> [dz of H - 1, column q]
//   for l = H - 1 .. 0
//     Backward  [dz of l, of q]        for l > 0 partial sums dz W^T of all rows             -> [sums of dx of l, row p]
//     Gradient                         dW = x^T dz, update; with layer H - 1 the head's, too
//     Combine   [sums of dx of l, row p]   for l > 0: dz of layer l - 1, rows' part q        -> [dz of l - 1, row p]
// Exchanges go through the device's memory (the L2 cache). Where the blocks of a column are a cluster of multiprocessors,
// the sums of Forward stay in shared memory, which Activate reads across the cluster: the counter is then its barrier, and
// layers take turns with two places (those of dz and h, which nobody needs meanwhile). Counters only grow: a block of step
// s waits for (s + 1) * arrivals.
//
// Why no value is overwritten while somebody may still read it: between a block's read in step s and the write in step
// s + 1 there is a chain of counters, but for the logits, which therefore have a place for even and one for odd steps.
// test_cuda_medium.cpp checks this for every value and every pair of blocks, by vector clocks.
#pragma once

#include <algorithm>
#include <utility>

#include "cuda/block/block.h"
#include "cuda/single_block/output.h"

namespace fastmlp::cuda {

inline constexpr int kGridThreads = 256;
inline constexpr int kMostGridLayers = 6;
inline constexpr int kMostGridRows = 256;  // of a batch
inline constexpr int kTile = 8;            // rows and columns of a product that a thread adds up
inline constexpr int kBiasParts = 16;      // of the rows, in which dz's columns are added up
inline constexpr int kBankPad = 4;         // values behind each row of a matrix: eight rows then lie in different banks
// Parts of the columns of a step's rows: those after the first arrive while the others are multiplied.
inline constexpr int kRowParts = 4;
inline constexpr int kCounterStride = 32;  // counters are as far apart as cache lines

enum class Work : int { Forward, Activate, Output, Backward, Gradient, Combine };

// By which number of a block a counter is chosen: there is none, one for each row, for each column, or for each row, by
// a block's column: that row whose inputs the column's outputs are. Cluster: for each column, or its cluster's barrier.
enum class By : int { None, Row, Column, RowOfColumn, Cluster };

struct GridItem {
  Work work;
  int layer;
  int wait, wait_arrivals;  // first counter, and arrivals at it in a step
  By wait_by;
  int signal;
  By signal_by;
};

// A matrix in shared memory (places among the block's values) or in the workspace.
struct GridMatrix {
  int first = 0, ld = 0;

  FASTMLP_FORMULA int row(int r) const { return first + r * ld; }
};

struct GridLayer {
  int in, out;
  bool has_bias;
  Activation activation;
  int in_width, out_width;  // of a slice, padded
  GridMatrix weight, x;     // a slice, and its inputs of all rows
  int bias;
  int part_terms;                                  // of the forward product, at a time
  int forward_turn, backward_turn, gradient_turn;  // rows of tiles that the products do at a time
  // In the workspace: partial sums of each block, h (and its slope) of all rows and columns, dz, partial sums of dx.
  int sums;
  GridMatrix h, slope, dz;
  int dx;
};

struct GridPlan {
  int rows, columns;          // of blocks
  int columns_of_row;         // columns / rows
  bool clusters;              // the blocks of a column are one
  int depth, hidden;          // layers, and those before the head
  int batch, tall;            // its rows, and padded
  int row_part, column_part;  // rows of the batch that a block's p or q stands for
  GridLayer layers[kMostGridLayers];

  // Shared memory, in bytes ...
  int updates, rule, data, ids, classes, values, bytes;
  // ... and among `values`: parameters come first, then each state that the rule keeps, as many values.
  int parameters, state[3], value_count;
  GridMatrix dz, h, head_dz;      // of all rows, of the block's column; of the head of all columns
  GridMatrix part_h, part_slope;  // of the rows' part p
  GridMatrix y, dy, targets;      // of the head, of the rows' part p
  int stage;
  int cluster_sums[2];  // where there are clusters: in the places of dz and h

  // Workspace, in values: counters lie before them.
  int counters, logits[2], head, workspace_values;

  GridItem items[6 * kMostGridLayers];
  int item_count;

  FASTMLP_FORMULA int blocks() const { return rows * columns; }
  FASTMLP_FORMULA std::size_t counter_bytes() const {
    return static_cast<std::size_t>(counters) * kCounterStride * sizeof(unsigned);
  }
  // The workspace: counters, values, and the loss of each row of blocks in each step.
  FASTMLP_FORMULA std::size_t losses_at() const {
    return counter_bytes() + static_cast<std::size_t>(workspace_values) * sizeof(float);
  }
  std::size_t workspace_bytes(Index steps) const {
    return losses_at() + static_cast<std::size_t>(steps * rows) * sizeof(double);
  }
};

// The number of what a block's p and q choose.
FASTMLP_FORMULA int chosen(By by, int p, int q, int columns_of_row) {
  switch (by) {
    case By::Row:
      return p;
    case By::Column:
    case By::Cluster:
      return q;
    case By::RowOfColumn:
      return q / columns_of_row;
    default:
      return 0;
  }
}

// Which part of `count` things number `part` of parts as wide as `width` has.
struct GridRange {
  int begin, count;

  static FASTMLP_FORMULA GridRange of(int part, int width, int count) {
    const int begin = part * width, left = count - begin;
    return {begin, left <= 0 ? 0 : left < width ? left : width};
  }
};

// How a product of kTile * tile_rows rows and kTile * tile_columns columns is shared out: a thread has a tile, and its
// slice's part of the terms. Where there are more tiles than threads, some rows of tiles are done at a time.
struct ProductShare {
  int tile_rows, tile_columns;  // of a turn
  int slices;

  static FASTMLP_FORMULA ProductShare of(int tile_rows, int tile_columns, int terms, int turn_rows) {
    const int rows = tile_rows < turn_rows ? tile_rows : turn_rows;
    const int slices = kGridThreads / (rows * tile_columns), fours = terms / 4;
    return {rows, tile_columns, slices < fours ? slices : fours};
  }
  FASTMLP_FORMULA int tiles() const { return tile_rows * tile_columns; }
  // The sums of half of each tile's rows, of all slices, where they are added up.
  FASTMLP_FORMULA int stage_rows() const { return tile_rows * kTile / 2; }
  FASTMLP_FORMULA int stage_ld() const { return tile_columns * kTile + kBankPad; }
  FASTMLP_FORMULA int stage_values() const { return slices * stage_rows() * stage_ld(); }
};

// A product's turns: the rows of tiles in each that take the least time, and the most values that one has in the stage.
struct ProductTurns {
  int tile_rows = 0, stage_values = 0;

  ProductTurns(int rows, int columns, int terms) {
    // In cycles, estimated: of a term in all threads, and of a turn, whose sums go through the stage.
    constexpr int kTerm = 128, kTurn = 1300;
    int least = 0;
    for (int turn = std::min(rows / kTile, kGridThreads * kTile / columns); turn > 0; --turn) {
      int time = 0, values = 0;
      for (int left = rows / kTile; left > 0; left -= turn) {
        const ProductShare share = ProductShare::of(left, columns / kTile, terms, turn);
        time += kTurn + kTerm * 4 * ((terms / 4 + share.slices - 1) / share.slices);
        values = std::max(values, share.stage_values());
      }
      if (tile_rows > 0 && time >= least) continue;
      least = time;
      tile_rows = turn;
      stage_values = values;
    }
  }
};

inline int in_tiles(int n) { return (n + kTile - 1) / kTile * kTile; }

// The schedule.
inline void plan_items(GridPlan& plan) {
  int counters = 0;
  const auto take = [&](int n) { return std::exchange(counters, counters + n); };
  const int last = plan.hidden - 1;
  int sums[kMostGridLayers], h[kMostGridLayers], dx[kMostGridLayers], dz[kMostGridLayers];
  for (int l = 0; l < plan.hidden; ++l) {
    sums[l] = take(plan.columns);
    h[l] = take(plan.rows);
    dx[l] = take(plan.rows);
    dz[l] = take(l == last ? plan.columns : plan.rows);
  }
  const int logits = take(plan.rows);
  plan.counters = counters;
  const auto add = [&](const GridItem& item) { plan.items[plan.item_count++] = item; };
  const int of_slice = plan.rows * plan.columns_of_row;  // blocks that make a row's inputs
  for (int l = 0; l < plan.hidden; ++l) {
    add({Work::Forward, l, l > 0 ? h[l - 1] : 0, of_slice, l > 0 ? By::Row : By::None, sums[l],
         plan.clusters ? By::Cluster : By::Column});
    add({Work::Activate, l, sums[l], plan.rows, plan.clusters ? By::Cluster : By::Column, l == last ? logits : h[l],
         l == last ? By::Row : By::RowOfColumn});
  }
  add({Work::Output, last, logits, plan.columns, By::Row, dz[last], By::Column});
  for (int l = last; l >= 0; --l) {
    add({Work::Backward, l, dz[l], l == last ? plan.rows : plan.columns, l == last ? By::Column : By::RowOfColumn,
         dx[l], l > 0 ? By::Row : By::None});
    add({Work::Gradient, l, 0, 0, By::None, 0, By::None});
    if (l > 0) add({Work::Combine, l - 1, dx[l], plan.columns, By::Row, dz[l - 1], By::Row});
  }
}

// Everything, for `rows` x `columns` blocks that have `room` bytes of shared memory each; false where the network is
// none for them.
inline bool plan_grid(const SingleBlockTraining<float>& a, int rows, int columns, bool clusters, std::size_t room,
                      GridPlan& plan) {
  constexpr Index kWidest = 1 << 14;
  if (a.depth < 2 || a.depth > kMostGridLayers || a.rows < 1 || a.rows > kMostGridRows || a.models != 1) return false;
  if (columns % rows != 0 || a.targets.weights || a.targets.has_shares()) return false;
  for (int l = 0; l < a.depth; ++l) {
    const SingleBlockLayer& from = a.layers[l];
    if (from.in < 1 || from.out < 1 || from.in > kWidest || from.out > kWidest || !from.trains_weight ||
        from.trains_bias != from.has_bias)
      return false;
  }
  if (a.layers[a.depth - 1].out > 64) return false;
  // The derivative of another activation below a softmax has no place.
  if (a.has_row_activation && a.layers[a.depth - 1].activation.kind != ActivationKind::Identity) return false;

  plan = {};
  plan.rows = rows;
  plan.columns = columns;
  plan.columns_of_row = columns / rows;
  plan.clusters = clusters;
  plan.depth = a.depth;
  plan.hidden = a.depth - 1;
  plan.batch = static_cast<int>(a.rows);
  plan.tall = in_tiles(plan.batch);
  plan.row_part = divide_up(plan.batch, rows);
  plan.column_part = divide_up(plan.batch, columns);

  std::size_t end = 0;
  const auto take = [&end](int n) { return static_cast<int>(std::exchange(end, end + static_cast<std::size_t>(n))); };
  const auto matrix = [&](int r, int width) { return GridMatrix{take(r * (width + kBankPad)), width + kBankPad}; };
  int widest = 0;  // slice of outputs
  for (int l = 0; l < plan.depth; ++l) {
    GridLayer& layer = plan.layers[l];
    const SingleBlockLayer& from = a.layers[l];
    layer.in = static_cast<int>(from.in);
    layer.out = static_cast<int>(from.out);
    layer.has_bias = from.has_bias;
    layer.activation = from.activation;
    const bool head = l == plan.hidden;
    layer.out_width = head ? in_tiles(layer.out) : in_tiles(divide_up(layer.out, columns));
    layer.in_width =
        l == 0 ? in_tiles(divide_up(layer.in, rows)) : plan.layers[l - 1].out_width * (head ? 1 : plan.columns_of_row);
    // Tiles of one row of a product have a thread each.
    if (layer.out_width > kGridThreads || (l > 0 && layer.in_width > kGridThreads)) return false;
    layer.weight = matrix(layer.in_width, layer.out_width);
    layer.bias = take(layer.out_width);
    if (!head) widest = std::max(widest, layer.out_width);
  }
  plan.parameters = static_cast<int>(end);
  for (int s = 0; s < 3; ++s)
    if (a.states[s]) plan.state[s] = take(plan.parameters);
  const GridLayer &last = plan.layers[plan.hidden - 1], &head = plan.layers[plan.hidden];
  for (int l = 0; l < plan.hidden; ++l) plan.layers[l].x = matrix(plan.tall, plan.layers[l].in_width);
  plan.dz = matrix(plan.tall, widest);
  plan.h = matrix(plan.tall, clusters && plan.hidden > 1 ? widest : last.out_width);
  plan.h.ld = last.out_width + kBankPad;
  plan.cluster_sums[0] = plan.dz.first;
  plan.cluster_sums[1] = plan.h.first;
  plan.head_dz = matrix(plan.tall, head.out_width);
  if (a.targets.dense) plan.targets = matrix(plan.row_part, head.out_width);
  int staged = kBiasParts * std::max(widest, head.out_width);
  const auto turns = [&](int r, int c, int terms) {
    const ProductTurns best(r, c, terms);
    staged = std::max(staged, best.stage_values);
    return best.tile_rows;
  };
  for (int l = 0; l < plan.depth; ++l) {
    GridLayer& layer = plan.layers[l];
    layer.gradient_turn = turns(layer.in_width, layer.out_width, plan.tall);
    if (l == plan.hidden) continue;
    layer.forward_turn = turns(plan.tall, layer.out_width, layer.in_width);
    // Whole fours of terms for each slice.
    const int fours =
        4 * ProductShare::of(plan.tall / kTile, layer.out_width / kTile, layer.in_width, layer.forward_turn).slices;
    layer.part_terms = l > 0 ? layer.in_width : divide_up(divide_up(layer.in_width, kRowParts), fours) * fours;
    if (l > 0) layer.backward_turn = turns(plan.tall, layer.in_width, layer.out_width);
  }
  plan.stage = static_cast<int>(end);
  // What is between the last layer's forward product and the backward ones has the stage's place.
  plan.part_h = matrix(plan.row_part, last.out_width);
  plan.part_slope = matrix(plan.row_part, last.out_width);
  plan.y = matrix(plan.row_part, head.out_width);
  plan.dy = matrix(plan.row_part, head.out_width);
  end = std::max(end, static_cast<std::size_t>(plan.stage + staged));
  plan.value_count = static_cast<int>(end);
  if (end * sizeof(float) > room) return false;

  std::size_t bytes = 0;
  const auto take_bytes = [&](std::size_t n) {
    return static_cast<int>(std::exchange(bytes, bytes + divide_up<std::size_t>(n, 16) * 16));
  };
  take_bytes(kGridThreads / kWarp * sizeof(double));  // where values of warps are combined
  plan.updates = take_bytes(2 * sizeof(Update));
  plan.rule = take_bytes(sizeof(ops::UpdateValues<Real<float>>));
  plan.data = take_bytes(sizeof(SingleBlockRows<float>));
  plan.ids = take_bytes(a.by_ids ? 2 * static_cast<std::size_t>(plan.batch) * sizeof(Index) : 0);
  plan.classes = take_bytes(a.targets.classes ? static_cast<std::size_t>(plan.row_part) * sizeof(Index) : 0);
  plan.values = take_bytes(end * sizeof(float));
  plan.bytes = static_cast<int>(bytes);
  if (bytes > room) return false;

  end = 0;
  const int blocks = rows * columns;
  for (int l = 0; l < plan.hidden; ++l) {
    GridLayer& layer = plan.layers[l];
    const int width = layer.out_width * columns;
    if (!clusters) layer.sums = take(blocks * plan.tall * layer.out_width);
    layer.h = {take(plan.tall * width), width};
    layer.slope = {take(plan.tall * width), width};
    layer.dz = {take(plan.tall * width), width};
    if (l > 0) layer.dx = take(blocks * plan.tall * layer.in_width);
  }
  for (int& turn : plan.logits) turn = take(blocks * plan.row_part * head.out_width);
  plan.head = take(columns * plan.tall * head.out_width);
  plan.workspace_values = static_cast<int>(end);
  if (end > (std::size_t{1} << 28)) return false;
  plan_items(plan);
  return true;
}

}  // namespace fastmlp::cuda
