// Whole tiny networks with batch rows in SIMD lanes.
//
// The batch is cut into blocks of R = U vectors of rows, stored feature-major: value (feature f, row r) of a block is
// at f * R + r. Products broadcast weights, so any width works without edges; only the last block has padding, filled
// with copies of its last row and given zero gradients. A step runs forward, loss and backward for one block while it
// is in L1; gradients are accumulated as vectors across blocks and reduced once.
//
// Blocks form chunks of a fixed number of rows: the unit of threading, each with its own gradient, added in order.
#pragma once

#include <new>
#include <type_traits>

#include "cpu/rowwise.h"

namespace fastmlp::FASTMLP_ISA_NS {

constexpr Index kChunkRows = 1024, kMostChunks = 16;

// Where everything lies in the buffer, in elements.
template <class T>
struct LanesPlan {
  static constexpr Index lanes = Vec<T>::lanes;
  Index rows, U, R, blocks, blocks_per_chunk, chunks;
  Index in, out, width;   // first, last, and largest layer width
  Index parameters;       // of all layers, biases included
  Index saved_per_block;  // activations (and inputs of activations where needed)
  Index x, t, dy, saved, ping, accumulators, gradients, loss, size;

  LanesPlan(const LanesLayer<T>* layers, int depth, Index rows_, bool training) : rows(rows_) {
    U = rows <= lanes ? 1 : rows <= 2 * lanes ? 2 : 4;
    R = U * lanes;
    blocks = ceil_div(rows, R);
    const Index chunk_rows = larger(kChunkRows, ceil_div(rows, kMostChunks));
    blocks_per_chunk = ceil_div(chunk_rows, R);
    chunks = ceil_div(blocks, blocks_per_chunk);
    in = width = layers[0].in;
    out = layers[depth - 1].out;
    parameters = saved_per_block = 0;
    for (int l = 0; l < depth; ++l) {
      parameters += (layers[l].in + 1) * layers[l].out;
      saved_per_block += saved_size(layers[l]);
      width = larger(width, layers[l].out);
    }
    const Index kept = training ? blocks : chunks;  // blocks alive at once
    Index end = 0;
    const auto take = [&end](Index n) {
      const Index at = end;
      end += round_up(n, 16);
      return at;
    };
    x = take(kept * in * R);
    saved = take(kept * saved_per_block);
    t = take(training ? blocks * out * R : 0);
    dy = take(training ? blocks * out * R : 0);
    ping = take(training ? chunks * 2 * width * R : 0);
    accumulators = take(training && blocks_per_chunk > 1 && blocks > 1 ? chunks * parameters * lanes : 0);
    gradients = take(training ? chunks * parameters : 0);
    loss = take(training ? chunks : 0);
    size = end;
  }

  Index saved_size(const LanesLayer<T>& layer) const {
    return layer.out * R * (saves_input(layer.activation.kind) ? 2 : 1);
  }
  Index rows_in(Index block) const { return smaller(R, rows - block * R); }
};

template <class T>
Index lanes_plan(const LanesLayer<T>* layers, int depth, Index rows, bool training, LanesPlanStorage& storage) {
  static_assert(sizeof(LanesPlan<T>) <= sizeof(storage.bytes));
  return (new (storage.bytes) LanesPlan<T>(layers, depth, rows, training))->size;
}
template <class T>
FASTMLP_INLINE const LanesPlan<T>& plan_of(const LanesArgs<T>& a) {
  return *reinterpret_cast<const LanesPlan<T>*>(a.plan->bytes);
}

// Rows of a row-major matrix into a block; missing rows repeat the last one, or are zero.
template <class T>
void load_block(const T* x, const Index* ids, Index first_row, Index n, Index columns, Index R, bool zero_padding,
                T* block) {
  for (Index r = 0; r < R; ++r) {
    const Index row = first_row + (r < n ? r : n - 1);
    const T* source = x + (ids ? ids[row] : row) * columns;
    if (r >= n && zero_padding) {
      for (Index c = 0; c < columns; ++c) block[c * R + r] = T(0);
    } else {
      for (Index c = 0; c < columns; ++c) block[c * R + r] = source[c];
    }
  }
}

template <class T>
void store_block(const T* block, Index R, Index n, Index columns, T* y) {
  for (Index r = 0; r < n; ++r)
    for (Index c = 0; c < columns; ++c) y[r * columns + c] = block[c * R + r];
}

// out[j] = start[j] + sum over k of w[k * k_stride + j * j_stride] in[k], for J outputs from j0 on.
template <class T, int U, int J>
FASTMLP_INLINE void lanes_product_tile(const T* in, Index K, const T* w, Index k_stride, Index j_stride, const T* start,
                                       T* out) {
  using V = Vec<T>;
  constexpr int lanes = V::lanes;
  V acc[J][U];
  for (int j = 0; j < J; ++j)
    for (int u = 0; u < U; ++u) acc[j][u] = V(start ? start[j] : T(0));
  for (Index k = 0; k < K; ++k) {
    V value[U];
    for (int u = 0; u < U; ++u) value[u] = V::load(in + (k * U + u) * lanes);
    for (int j = 0; j < J; ++j) {
      const V weight(w[k * k_stride + j * j_stride]);
      for (int u = 0; u < U; ++u) acc[j][u] = fma(weight, value[u], acc[j][u]);
    }
  }
  for (int j = 0; j < J; ++j)
    for (int u = 0; u < U; ++u) acc[j][u].store(out + (j * U + u) * lanes);
}

template <class T, int U>
void lanes_product(const T* in, Index K, const T* w, Index k_stride, Index j_stride, const T* start, Index N, T* out) {
  constexpr int J = U == 4 && !Blocking<T>::kManyRegisters ? 2 : 4;
  constexpr Index R = U * Vec<T>::lanes;
  Index j = 0;
  const auto tile = [&]<int Outputs>(std::integral_constant<int, Outputs>) {
    lanes_product_tile<T, U, Outputs>(in, K, w + j * j_stride, k_stride, j_stride, start ? start + j : nullptr,
                                      out + j * R);
    j += Outputs;
  };
  while (j + J <= N) tile(std::integral_constant<int, J>{});
  while (j + 2 <= N) tile(std::integral_constant<int, 2>{});
  if (j < N) tile(std::integral_constant<int, 1>{});
}

// Where a weight gradient's vectors go: begun at a chunk's first block, reduced to scalars at its last.
template <class T>
struct LanesGradient {
  T* accumulators;  // a vector per weight; unused where a block is first and last
  T* gradient;      // a scalar per weight
  bool first, last;
};

// The gradients of N weights (k, n) .. (k, n + N - 1): in[k] . dz[n + i] over the block's rows; without `in`, those of
// the biases: the sums of dz.
template <class T, int U, int N>
FASTMLP_INLINE void lanes_gradient_tile(const T* in, const T* dz, const LanesGradient<T>& g, Index at) {
  using V = Vec<T>;
  constexpr int lanes = V::lanes;
  V acc[4];
  for (int n = 0; n < 4; ++n) acc[n] = n >= N || g.first ? V(T(0)) : V::load(g.accumulators + (at + n) * lanes);
  for (int u = 0; u < U; ++u) {
    const V x = in ? V::load(in + u * lanes) : V(T(1));
    for (int n = 0; n < N; ++n) acc[n] = fma(x, V::load(dz + (n * U + u) * lanes), acc[n]);
  }
  if (!g.last) {
    for (int n = 0; n < N; ++n) acc[n].store(g.accumulators + (at + n) * lanes);
  } else if constexpr (N == 1) {
    g.gradient[at] = reduce_add(acc[0]);
  } else if constexpr (N == 4) {
    reduce_add4(acc[0], acc[1], acc[2], acc[3], g.gradient + at);
  } else {
    T sums[4];
    reduce_add4(acc[0], acc[1], acc[2], acc[3], sums);
    for (int n = 0; n < N; ++n) g.gradient[at + n] = sums[n];
  }
}

// The gradients of N columns of a layer's K x columns weights, and of their biases.
template <class T, int U, int N>
void lanes_gradient_columns(const T* in, Index K, const T* dz, Index columns, const LanesGradient<T>& g, Index at) {
  constexpr Index R = U * Vec<T>::lanes;
  for (Index k = 0; k < K; ++k) lanes_gradient_tile<T, U, N>(in + k * R, dz, g, at + k * columns);
  lanes_gradient_tile<T, U, N>(nullptr, dz, g, at + K * columns);
}

template <class T, int U>
void lanes_layer_gradient(const T* in, Index K, const T* dz, Index columns, const LanesGradient<T>& g, Index at) {
  constexpr Index R = U * Vec<T>::lanes;
  Index n = 0;
  for (; n + 4 <= columns; n += 4) lanes_gradient_columns<T, U, 4>(in, K, dz + n * R, columns, g, at + n);
  for (; n + 2 <= columns; n += 2) lanes_gradient_columns<T, U, 2>(in, K, dz + n * R, columns, g, at + n);
  if (n < columns) lanes_gradient_columns<T, U, 1>(in, K, dz + n * R, columns, g, at + n);
}

// The phases of one block.
template <class T, int U>
struct LanesBlock {
  const LanesArgs<T>& a;
  const LanesPlan<T>& plan;
  Index block, slot, chunk;  // its place in the batch, in the saved activations, and its chunk
  static constexpr Index R = U * Vec<T>::lanes;

  Index first_row() const { return block * R; }
  T* x() const { return a.buffer + plan.x + (a.training ? block : slot) * plan.in * R; }
  T* t() const { return a.buffer + plan.t + block * plan.out * R; }
  T* dy() const { return a.buffer + plan.dy + block * plan.out * R; }
  T* saved() const { return a.buffer + plan.saved + slot * plan.saved_per_block; }

  void load_x() const { load_block(a.x, a.ids, first_row(), plan.rows_in(block), plan.in, R, false, x()); }

  void load_targets() const {
    if (a.targets.dense) {
      load_block(a.targets.dense, a.ids, first_row(), plan.rows_in(block), plan.out, R, false, t());
      return;
    }
    for (Index r = 0; r < R; ++r) {
      const Index row = first_row() + smaller(r, plan.rows_in(block) - 1);
      t()[r] = static_cast<T>(a.targets.classes[a.ids ? a.ids[row] : row]);
    }
  }

  // Returns the network's output.
  const T* forward() const {
    const T* in = x();
    T* out = saved();
    for (int l = 0; l < a.depth; ++l) {
      const LanesLayer<T>& layer = a.layers[l];
      lanes_product<T, U>(in, layer.in, layer.weight, layer.out, 1, layer.bias, layer.out, out);
      const Index n = layer.out * R;
      T* y = saves_input(layer.activation.kind) ? out + n : out;
      if (layer.activation.kind != ActivationKind::Identity)
        kActivationForward<T>[static_cast<int>(layer.activation.kind)](layer.activation, n, out, y);
      in = y;
      out += plan.saved_size(layer);
    }
    return in;
  }

  const T* output() const { return saved() + plan.saved_per_block - plan.out * R; }

  double loss(bool gradient, T gradient_scale) const {
    const Index n = plan.rows_in(block);
    Vec<T> sum(T(0));
    if (is_class_loss(a.loss.kind)) {
      const auto loss = find_class_loss<T>(a.loss.kind);
      for (Index r = 0; r < n; r += Vec<T>::lanes) {
        const int count = static_cast<int>(smaller(Vec<T>::lanes, n - r));
        const ClassTargets<T> targets{{a.targets.dense ? t() + r : nullptr, 1, R, count, true}, Vec<T>::load(t() + r)};
        const RowGroup<T> dz{gradient ? dy() + r : nullptr, 1, R, count, true};
        sum += loss(plan.out, {output() + r, 1, R, count, true}, targets, a.logits, gradient_scale, dz);
      }
      if (gradient)
        for (Index r = round_up(n, Vec<T>::lanes); r < R; r += Vec<T>::lanes)
          for (Index c = 0; c < plan.out; ++c) Vec<T>(T(0)).store(dy() + c * R + r);
    } else {
      const auto loss = find_element_loss<T>(a.loss.kind);
      for (Index c = 0; c < plan.out; ++c)
        sum += loss(n, R, output() + c * R, t() + c * R, static_cast<T>(a.loss.delta), a.logits, gradient_scale,
                    gradient ? dy() + c * R : nullptr);
    }
    return static_cast<double>(reduce_add(sum));
  }

  void backward() const {
    const T* dz = dy();
    T* const ping = a.buffer + plan.ping + chunk * 2 * plan.width * R;
    const Index in_chunk = block - chunk * plan.blocks_per_chunk;
    LanesGradient<T> g{a.buffer + plan.accumulators + chunk * plan.parameters * Vec<T>::lanes,
                       a.buffer + plan.gradients + chunk * plan.parameters, in_chunk == 0,
                       in_chunk == plan.blocks_per_chunk - 1 || block == plan.blocks - 1};
    Index parameter = plan.parameters;
    const T* after = saved() + plan.saved_per_block;  // end of what the current layer saved
    for (int l = a.depth - 1; l >= 0; --l) {
      const LanesLayer<T>& layer = a.layers[l];
      const T* const own = after - plan.saved_size(layer);
      const bool last_layer = l == a.depth - 1;
      if (last_layer && !a.logits && layer.activation.kind != ActivationKind::Identity) {
        kActivationBackward<T>[static_cast<int>(layer.activation.kind)](layer.activation, layer.out* R, dz, own, ping);
        dz = ping;
      }
      const T* in = l > 0 ? own - a.layers[l - 1].out * R : x();
      parameter -= (layer.in + 1) * layer.out;
      lanes_layer_gradient<T, U>(in, layer.in, dz, layer.out, g, parameter);

      if (l == 0 && !a.dx) return;
      T* dx = dz == ping ? ping + plan.width * R : ping;
      lanes_product<T, U>(dz, layer.out, layer.weight, 1, layer.out, nullptr, layer.in, dx);
      if (l == 0) {
        store_block(dx, R, plan.rows_in(block), plan.in, a.dx + first_row() * plan.in);
        return;
      }
      const LanesLayer<T>& below = a.layers[l - 1];
      const T* below_saved = own - plan.saved_size(below);
      if (below.activation.kind != ActivationKind::Identity)
        kActivationBackward<T>[static_cast<int>(below.activation.kind)](below.activation, below.out* R, dx, below_saved,
                                                                        dx);
      dz = dx;
      after = own;
    }
  }
};

// body(block of the right U) for all blocks, chunk by chunk, chunks in parallel. `keep`: every block has its own slot.
template <class T, int U, class Body>
void for_lanes_blocks(const LanesArgs<T>& a, const LanesPlan<T>& plan, bool keep_blocks, const Context& context,
                      const Body& body) {
  parallel_tasks(context, plan.chunks, [&](Index chunk, int) {
    const Index begin = chunk * plan.blocks_per_chunk;
    const Index end = smaller(plan.blocks, begin + plan.blocks_per_chunk);
    for (Index block = begin; block < end; ++block)
      body(LanesBlock<T, U>{a, plan, block, keep_blocks ? block : chunk, chunk});
  });
}
template <class T, class Body>
FASTMLP_INLINE void lanes_blocks(const LanesArgs<T>& a, const LanesPlan<T>& plan, bool keep_blocks,
                                 const Context& context, const Body& body) {
  if (plan.U == 1) return for_lanes_blocks<T, 1>(a, plan, keep_blocks, context, body);
  if (plan.U == 2) return for_lanes_blocks<T, 2>(a, plan, keep_blocks, context, body);
  return for_lanes_blocks<T, 4>(a, plan, keep_blocks, context, body);
}

// Adds up the chunks' gradients, in order, and sends each parameter's to where it belongs.
template <class T>
void finish_gradients(const LanesArgs<T>& a, const LanesPlan<T>& plan) {
  T* const total = a.buffer + plan.gradients;
  for (Index chunk = 1; chunk < plan.chunks; ++chunk) add(plan.parameters, total + chunk * plan.parameters, total);
  const T* gradient = total;
  for (int l = 0; l < a.depth; ++l) {
    const LanesLayer<T>& layer = a.layers[l];
    sink_gradient(layer.weight_sink, 0, layer.in * layer.out, gradient);
    gradient += layer.in * layer.out;
    sink_gradient(layer.bias_sink, 0, layer.out, gradient);
    gradient += layer.out;
  }
}

// Adds `value` to its chunk's loss; the first block of a chunk begins it.
template <class T, class Block>
FASTMLP_INLINE void add_loss(const Block& block, double value) {
  T& sum = block.a.buffer[block.plan.loss + block.chunk];
  const bool first = block.block == block.chunk * block.plan.blocks_per_chunk;
  sum = first ? static_cast<T>(value) : static_cast<T>(sum + value);
}
template <class T>
double total_loss(const LanesArgs<T>& a, const LanesPlan<T>& plan, double scale) {
  double total = 0;
  for (Index chunk = 0; chunk < plan.chunks; ++chunk) total += static_cast<double>(a.buffer[plan.loss + chunk]);
  return total * scale;
}

template <class T>
void lanes_forward(const LanesArgs<T>& a, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  lanes_blocks(a, plan, a.training, context, [&](const auto& block) {
    block.load_x();
    const T* y = block.forward();
    if (a.y) store_block(y, block.R, plan.rows_in(block.block), plan.out, a.y + block.first_row() * plan.out);
  });
}

template <class T>
double lanes_loss(const LanesArgs<T>& a, bool gradient, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  const double scale = loss_scale(a.loss, a.rows, plan.out);
  lanes_blocks(a, plan, true, context, [&](const auto& block) {
    block.load_targets();
    add_loss<T>(block, block.loss(gradient, static_cast<T>(scale)));
  });
  return total_loss(a, plan, scale);
}

template <class T>
void lanes_backward(const LanesArgs<T>& a, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  lanes_blocks(a, plan, true, context, [&](const auto& block) {
    if (a.dy)
      load_block(a.dy, nullptr, block.first_row(), plan.rows_in(block.block), plan.out, block.R, true, block.dy());
    block.backward();
  });
  finish_gradients(a, plan);
}

template <class T>
double lanes_step(const LanesArgs<T>& a, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  const double scale = loss_scale(a.loss, a.rows, plan.out);
  lanes_blocks(a, plan, false, context, [&](const auto& block) {
    if (!a.loaded) {
      block.load_x();
      block.load_targets();
    }
    block.forward();
    add_loss<T>(block, block.loss(true, static_cast<T>(scale)));
    block.backward();
  });
  finish_gradients(a, plan);
  return total_loss(a, plan, scale);
}

// THE CHOICE between the two strategies. Lanes win while weights and a block of activations fit L1 and the overheads
// of a GEMM (packing, a call per layer) are of the order of its work; a single row leaves all lanes but one idle, so
// that only the smallest networks gain then.
template <class T>
bool prefers_lanes(const LanesLayer<T>* layers, int depth, Index rows) {
  constexpr Index kMostWeights = 2560, kMostWidth = 128, kMostWeightsForFewRows = 512;
  Index weights = 0, width = layers[0].in;
  for (int l = 0; l < depth; ++l) {
    weights += layers[l].in * layers[l].out;
    width = larger(width, layers[l].out);
  }
  const bool few_rows = 2 * rows < Vec<T>::lanes;
  return width <= kMostWidth && weights <= (few_rows ? kMostWeightsForFewRows : kMostWeights);
}

}  // namespace fastmlp::FASTMLP_ISA_NS
