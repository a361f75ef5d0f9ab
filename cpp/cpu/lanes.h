// Whole tiny networks with batch rows in SIMD lanes: the phases of a pass, a step, and many steps in one call.
//
// A step runs forward, loss and backward for one block of rows while it is in L1 (lanes_layout.h says how it lies
// there). The gradient of each weight is summed as a vector over the rows, across the blocks of a chunk, and those
// vectors are reduced once a step. Parameters being trained lie one after the other, so that one loop updates them all.
#pragma once

#include "cpu/lanes_layer.h"
#include "cpu/lanes_layout.h"
#include "cpu/losses.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
double* totals_of(const LanesArgs<T>& a, const LanesPlan<T>& plan, Index chunk) {
  return reinterpret_cast<double*>(a.buffer + plan.totals) + chunk * plan.padded;
}

// Adds a chunk's gradient sums to its totals, the first ones to zeros.
template <class T>
__attribute__((noinline)) void fold_gradients(const LanesArgs<T>& a, const LanesPlan<T>& plan, Index chunk,
                                              bool first) {
  constexpr Index lanes = Vec<T>::lanes;
  double* const totals = totals_of(a, plan, chunk);
  const T* const sums = a.buffer + plan.accumulators + chunk * plan.padded * lanes;
  for (Index i = 0; i < plan.padded; i += lanes) {
    T reduced[lanes];
    Vec<T>::reduce_add_each(sums + i * lanes).store(reduced);
    for (Index j = 0; j < lanes; ++j) totals[i + j] = (first ? 0 : totals[i + j]) + static_cast<double>(reduced[j]);
  }
}

// At a chunk's end: stores its totals in the first lane of its sums, where the reduction expects them.
template <class T>
__attribute__((noinline)) void unfold_gradients(const LanesArgs<T>& a, const LanesPlan<T>& plan, Index chunk,
                                                bool first) {
  constexpr Index lanes = Vec<T>::lanes;
  fold_gradients(a, plan, chunk, first);
  T* const sums = a.buffer + plan.accumulators + chunk * plan.padded * lanes;
  for (Index i = 0; i < plan.padded; ++i) {
    Vec<T>(T(0)).store(sums + i * lanes);
    sums[i * lanes] = static_cast<T>(totals_of(a, plan, chunk)[i]);
  }
}

// The phases of one block.
template <class T, class V, int U>
struct LanesBlock {
  const LanesArgs<T>& a;
  const LanesPlan<T>& plan;
  Index block, slot, chunk;  // its place in the batch, in the saved activations, and its chunk
  static constexpr Index R = U * V::lanes;
  static constexpr bool quad = V::lanes < Vec<T>::lanes;

  // The plan's, with a constant R.
  static Index values(Index features) { return lanes_values<T>(features, R); }
  static Index saved_size(const LanesLayer<T>& layer) {
    return values(layer.out) * (saves_input(layer.activation.kind) ? 2 : 1);
  }

  Index first_row() const { return block * R; }
  // Of what was loaded.
  Index loaded_block() const { return plan.keeps_rows ? a.preload_index * plan.blocks + block : slot; }
  T* x() const { return a.buffer + plan.x + loaded_block() * values(plan.in); }
  T* t() const { return a.buffer + plan.t + loaded_block() * values(plan.out); }
  T* weights() const { return a.buffer + plan.weights + loaded_block() * values(plan.out); }
  T* params() const { return a.buffer + plan.params + loaded_block() * values(plan.out); }
  T* dy() const { return a.buffer + plan.dy + block * values(plan.out); }
  T* saved() const { return a.buffer + plan.saved + slot * plan.saved_per_block; }

  void load_x() const { load_block(a.x, a.ids, first_row(), plan.rows_in(block), plan.in, R, false, x()); }

  Index source_of(Index r) const { return a.ids ? a.ids[first_row() + r] : first_row() + r; }

  void load_targets() const {
    const Index n = plan.rows_in(block);
    if (a.targets.dense) {
      load_block(a.targets.dense, a.ids, first_row(), n, plan.out, R, false, t());
    } else {
      T* const classes = t();
      for (Index r = 0; r < n; ++r) classes[r] = static_cast<T>(a.targets.classes[source_of(r)]);
      for (Index r = n; r < R; ++r) classes[r] = classes[n - 1];
    }
    if (weighs()) load_weights();
    if (a.targets.column_params)
      for (Index c = 0; c < plan.out; ++c)
        for (Index r = 0; r < R; ++r) params()[c * R + r] = a.targets.column_params[c];
  }

  // Whether there are weights of values, or, for class losses, of rows.
  bool weighs() const { return a.targets.weights || weighs_columns(); }
  bool weighs_columns() const {
    return a.targets.column_weights && !is_class_loss(a.loss.kind) && !is_pair_loss(a.loss.kind);
  }
  void load_weights() const {
    const Index n = plan.rows_in(block);
    const bool by_row = is_class_loss(a.loss.kind);
    T* const to = weights();
    for (Index r = 0; r < R; ++r) {
      const T own = r >= n ? T(0) : a.targets.weights ? a.targets.weights[source_of(r)] : T(1);
      for (Index c = 0; c < (by_row ? 1 : plan.out); ++c)
        to[c * R + r] = weighs_columns() ? own * a.targets.column_weights[c] : own;
    }
  }

  // Returns the network's output.
  const T* forward() const {
    const T* in = x();
    T* out = saved();
    for (int l = 0; l < a.depth; ++l) {
      const LanesLayer<T>& layer = a.layers[l];
      lanes_product<T, V, U>(in, layer.in, layer.weight, layer.out, 1, layer.bias, layer.out, out);
      const Index n = values(layer.out);
      T* y = saves_input(layer.activation.kind) ? out + n : out;
      if (layer.activation.kind != ActivationKind::Identity)
        kActivationForward<T>[static_cast<int>(layer.activation.kind)](layer.activation, n, out, y);
      in = y;
      out += saved_size(layer);
    }
    return in;
  }

  const T* output() const { return saved() + plan.saved_per_block - values(plan.out); }

  double loss(bool gradient, T gradient_scale) const {
    const Index n = plan.rows_in(block), whole = values(plan.out);
    if (quad && gradient && n < R)  // missing rows, which are less than a vector
      for (Index i = 0; i < whole; i += Vec<T>::lanes) Vec<T>(T(0)).store(dy() + i);
    Vec<T> sum(T(0));
    if (is_class_loss(a.loss.kind)) {
      const auto loss = find_class_loss<T, !quad>(a.loss.kind);
      const ClassLossOptions<T> options(a.loss, a.targets, plan.out, a.logits, gradient_scale);
      for (Index r = 0; r < n; r += Vec<T>::lanes) {
        const int count = static_cast<int>(smaller(Vec<T>::lanes, n - r));
        const ClassTargets<T, !quad> targets{
            {a.targets.dense ? t() + r : nullptr, 1, R, count}, Vec<T>::load(t() + r), options};
        const RowGroup<T, !quad> dz{gradient ? dy() + r : nullptr, 1, R, count};
        const Vec<T> weight = weighs() ? Vec<T>::load(weights() + r) : Vec<T>(T(1));
        sum += loss(plan.out, {output() + r, 1, R, count}, targets, weight, dz);
      }
      if (gradient)
        for (Index r = round_up(n, Vec<T>::lanes); r < R; r += Vec<T>::lanes)
          for (Index c = 0; c < plan.out; ++c) Vec<T>(T(0)).store(dy() + c * R + r);
      return static_cast<double>(reduce_add(sum));
    }
    const LossValues<T> all{output(), t(), gradient ? dy() : nullptr, weighs() ? weights() : nullptr,
                            a.targets.column_params ? params() : nullptr};
    if (is_pair_loss(a.loss.kind)) {
      const auto loss = find_pair_loss<T>(a.loss.kind);
      const Index pairs = plan.out / 2;
      for (Index c = 0; c < pairs; ++c) sum += loss(n, R, pairs * R, all.at(c * R), a.loss, gradient_scale);
    } else {
      const auto loss = find_element_loss<T>(a.loss.kind);
      if (n == R)
        sum = loss(plan.out * R, whole, all, a.loss, a.logits, gradient_scale);
      else
        for (Index c = 0; c < plan.out; ++c) sum += loss(n, R, all.at(c * R), a.loss, a.logits, gradient_scale);
    }
    return static_cast<double>(reduce_add(sum));
  }

  void backward() const {
    send_back();
    if (plan.folds()) {
      const Index first = chunk * plan.blocks_per_chunk, last = smaller(plan.blocks, first + plan.blocks_per_chunk) - 1;
      if (block == last) unfold_gradients(a, plan, chunk, last - first < kFoldBlocks);
    }
  }

  void send_back() const {
    const T* dz = dy();
    T* const ping = a.buffer + plan.ping + chunk * 2 * values(plan.width);
    const Index number = block - chunk * plan.blocks_per_chunk;
    const bool first_block = number % kFoldBlocks == 0;
    if (__builtin_expect(first_block && number > 0, false)) fold_gradients(a, plan, chunk, number == kFoldBlocks);
    T* sums = a.buffer + plan.accumulators + (chunk * plan.padded + plan.parameters) * V::lanes;  // their end
    const T* after = saved() + plan.saved_per_block;  // end of what the current layer saved
    for (int l = a.depth - 1; l >= 0; --l) {
      const LanesLayer<T>& layer = a.layers[l];
      const T* const own = after - saved_size(layer);
      const bool last_layer = l == a.depth - 1;
      if (last_layer && !a.logits && layer.activation.kind != ActivationKind::Identity) {
        kActivationBackward<T>[static_cast<int>(layer.activation.kind)](layer.activation, values(layer.out), dz, own,
                                                                        ping);
        dz = ping;
      }
      const T* in = l > 0 ? own - values(a.layers[l - 1].out) : x();
      sums -= (layer.in + 1) * layer.out * V::lanes;
      lanes_gradient<T, V, U>(in, layer.in, dz, layer.out, first_block, sums);

      if (l == 0 && !a.dx) return;
      T* dx = dz == ping ? ping + values(plan.width) : ping;
      lanes_product<T, V, U>(dz, layer.out, layer.weight, 1, layer.out, nullptr, layer.in, dx);
      if (l == 0) {
        store_block(dx, R, plan.rows_in(block), plan.in, a.dx + first_row() * plan.in);
        return;
      }
      const LanesLayer<T>& below = a.layers[l - 1];
      const T* below_saved = own - saved_size(below);
      if (below.activation.kind != ActivationKind::Identity)
        kActivationBackward<T>[static_cast<int>(below.activation.kind)](below.activation, values(below.out), dx,
                                                                        below_saved, dx);
      dz = dx;
      after = own;
    }
  }
};

// body(block of the right U) for all blocks, chunk by chunk, chunks in parallel. `keep`: every block has its own slot.
template <class T, class V, int U, class Body>
void for_lanes_blocks(const LanesArgs<T>& a, const LanesPlan<T>& plan, bool keep_blocks, const Context& context,
                      const Body& body) {
  parallel_tasks(context, plan.chunks, [&](Index chunk, int) {
    const Index begin = chunk * plan.blocks_per_chunk;
    const Index end = smaller(plan.blocks, begin + plan.blocks_per_chunk);
    for (Index block = begin; block < end; ++block)
      body(LanesBlock<T, V, U>{a, plan, block, keep_blocks ? block : chunk, chunk});
  });
}
template <class T, class Body>
FASTMLP_INLINE void lanes_blocks(const LanesArgs<T>& a, const LanesPlan<T>& plan, bool keep_blocks,
                                 const Context& context, const Body& body) {
  if constexpr (kHasQuads<T>)
    if (plan.row_lanes == 4) return for_lanes_blocks<T, Quad<T>, 1>(a, plan, keep_blocks, context, body);
  if (plan.U == 1) return for_lanes_blocks<T, Vec<T>, 1>(a, plan, keep_blocks, context, body);
  if (plan.U == 2) return for_lanes_blocks<T, Vec<T>, 2>(a, plan, keep_blocks, context, body);
  return for_lanes_blocks<T, Vec<T>, 4>(a, plan, keep_blocks, context, body);
}

// Reduces the sums of all weights, adding up the chunks in order; the sums stored last, which are the first, come last.
template <class T>
const T* reduce_gradients(const LanesArgs<T>& a, const LanesPlan<T>& plan) {
  constexpr Index lanes = Vec<T>::lanes;
  T* const gradients = a.buffer + plan.gradients;
  if constexpr (kHasQuads<T>)
    if (plan.row_lanes == 4) {
      for (Index i = plan.padded - lanes; i >= 0; i -= lanes)
        reduce_add_quads(a.buffer + plan.accumulators + i * 4).store(gradients + i);
      return gradients;
    }
  for (Index i = plan.padded - lanes; i >= 0; i -= lanes) {
    const T* sums = a.buffer + plan.accumulators + i * lanes;
    Vec<T> total = Vec<T>::reduce_add_each(sums);
    for (Index chunk = 1; chunk < plan.chunks; ++chunk) total += Vec<T>::reduce_add_each(sums += plan.padded * lanes);
    total.store(gradients + i);
  }
  return gradients;
}

// Sends each parameter's gradient to where it belongs.
template <class T>
void sink_gradients(const LanesArgs<T>& a, const T* gradient) {
  for (int l = 0; l < a.depth; ++l) {
    const LanesLayer<T>& layer = a.layers[l];
    sink_gradient(layer.weight_sink, 0, layer.in * layer.out, gradient);
    gradient += layer.in * layer.out;
    sink_gradient(layer.bias_sink, 0, layer.out, gradient);
    gradient += layer.out;
  }
}

template <class T>
FASTMLP_INLINE double* losses_of(const LanesArgs<T>& a, const LanesPlan<T>& plan) {
  return reinterpret_cast<double*>(a.buffer + plan.loss);
}

// Adds `value` to its chunk's loss; the first block of a chunk begins it.
template <class T, class Block>
FASTMLP_INLINE void add_loss(const Block& block, double value) {
  double& sum = losses_of(block.a, block.plan)[block.chunk];
  const bool first = block.block == block.chunk * block.plan.blocks_per_chunk;
  sum = first ? value : sum + value;
}
template <class T>
double total_loss(const LanesArgs<T>& a, const LanesPlan<T>& plan, double scale) {
  double total = 0;
  for (Index chunk = 0; chunk < plan.chunks; ++chunk) total += losses_of(a, plan)[chunk];
  return total * scale;
}

template <class T>
FASTMLP_INLINE double batch_scale(const LanesArgs<T>& a, const LanesPlan<T>& plan) {
  return loss_scale(a.loss, a.targets, a.ids, a.rows, plan.out);
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

// Forward and loss, which keep nothing but the rows.
template <class T>
double lanes_evaluate(const LanesArgs<T>& a, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  const double scale = batch_scale(a, plan);
  const bool loaded = a.loaded && plan.keeps_rows;
  lanes_blocks(a, plan, false, context, [&](const auto& block) {
    if (!loaded) {
      block.load_x();
      block.load_targets();
    }
    block.forward();
    add_loss<T>(block, block.loss(false, static_cast<T>(scale)));
  });
  return total_loss(a, plan, scale);
}

template <class T>
double lanes_loss(const LanesArgs<T>& a, bool gradient, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  const double scale = batch_scale(a, plan);
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
  sink_gradients(a, reduce_gradients(a, plan));
}

// Leaves the sums of the gradients and returns the loss.
template <class T>
double forward_loss_backward(const LanesArgs<T>& a, const LanesPlan<T>& plan, double scale, const Context& context) {
  lanes_blocks(a, plan, false, context, [&](const auto& block) {
    if (!a.loaded) {
      block.load_x();
      block.load_targets();
    }
    block.forward();
    add_loss<T>(block, block.loss(true, static_cast<T>(scale)));
    block.backward();
  });
  return total_loss(a, plan, scale);
}

template <class T>
double lanes_step(const LanesArgs<T>& a, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  const double loss = forward_loss_backward(a, plan, batch_scale(a, plan), context);
  sink_gradients(a, reduce_gradients(a, plan));
  return loss;
}

// On to the rows of a later batch.
template <class T>
FASTMLP_INLINE void advance(LanesArgs<T>& a, const LanesPlan<T>& plan, Index batches) {
  const Index rows = batches * a.rows;
  if (a.ids) {
    a.ids += rows;
    return;
  }
  a.x += rows * plan.in;
  a.targets = a.targets.from(rows, plan.out);
}

// Loads `count` small batches, from number `step` on, ahead of their use.
template <class T>
void load_batches(const LanesArgs<T>& first, const LanesPlan<T>& plan, Index step, Index count) {
  LanesArgs<T> a = first;
  advance(a, plan, step);
  for (a.preload_index = 0; a.preload_index < count; ++a.preload_index, advance(a, plan, 1))
    lanes_blocks(a, plan, false, Context{{}, nullptr}, [](const auto& block) {
      block.load_x();
      block.load_targets();
    });
}

template <class T>
void lanes_train(const LanesArgs<T>& first, const LanesTraining<T>& training, const Context& context) {
  LanesArgs<T> a = first;
  const LanesPlan<T>& plan = plan_of(a);
  double scale = batch_scale(a, plan);
  Update scheduled = training.updates[0];
  for (Index step = 0; step < training.steps; ++step) {
    if (!training.same_rows && plan.preloaded > 1) {
      a.loaded = true;
      if (step % plan.preloaded == 0) load_batches(first, plan, step, smaller(plan.preloaded, training.steps - step));
      a.preload_index = step % plan.preloaded;
    }
    if (step > 0 && !training.same_rows && a.targets.has_shares()) scale = batch_scale(a, plan);
    training.losses[step] = forward_loss_backward(a, plan, scale, context);
    if (training.rates) scheduled.constants.lr = training.rates[step];
    if (training.momenta) scheduled.constants.momentum = training.momenta[step];
    const Update& update = training.rates ? scheduled : training.updates[training.one_update ? 0 : step];
    kUpdate<T>[static_cast<int>(update.kind)](update.constants, {0, 1, plan.padded, 0}, training.target,
                                              reduce_gradients(a, plan), 0);
    if (training.same_rows)
      a.loaded = true;
    else
      advance(a, plan, 1);
  }
}

}  // namespace fastmlp::FASTMLP_ISA_NS
