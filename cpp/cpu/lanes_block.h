// One block of rows of a tiny network: forward, loss and backward while it is in L1 (lanes_layout.h says how it lies there).
//
// The gradient of each weight is summed as a vector over the rows, across the blocks of a chunk.
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
  Index padded_rows;         // of all groups that its rows need
  static constexpr Index kGroup = U * V::lanes;
  static constexpr bool quad = V::lanes < Vec<T>::lanes, one_group = U < 4;

  LanesBlock(const LanesArgs<T>& a_, const LanesPlan<T>& plan_, Index block_, Index slot_, Index chunk_)
      : a(a_),
        plan(plan_),
        block(block_),
        slot(slot_),
        chunk(chunk_),
        padded_rows(one_group ? kGroup : round_up(plan_.rows_in(block_), kGroup)) {}

  FASTMLP_INLINE Index R() const { return one_group ? kGroup : padded_rows; }
  Index values(Index features) const { return quad ? lanes_values<T>(features, kGroup) : features * R(); }
  Index saved_size(const LanesLayer<T>& layer) const {
    return values(layer.out) * (saves_input(layer.activation.kind) ? 2 : 1);
  }

  Index first_row() const { return block * plan.R; }
  // Of what was loaded.
  Index loaded_block() const { return plan.keeps_rows ? a.preload_index * plan.blocks + block : slot; }
  T* x() const { return a.buffer + plan.x + loaded_block() * plan.values(plan.in); }
  T* t() const { return a.buffer + plan.t + loaded_block() * plan.values(plan.out); }
  T* weights() const { return a.buffer + plan.weights + loaded_block() * plan.values(plan.out); }
  T* params() const { return a.buffer + plan.params + loaded_block() * plan.values(plan.out); }
  T* dy() const { return a.buffer + plan.dy + block * plan.values(plan.out); }
  T* saved() const { return a.buffer + plan.saved + slot * plan.saved_per_block; }
  T* saved_end() const { return saved() + (one_group ? plan.saved_per_block : plan.saved_per_row * R()); }

  void load_x() const { load_block(a.x, a.ids, first_row(), plan.rows_in(block), plan.in, R(), false, x()); }

  Index source_of(Index r) const { return a.ids ? a.ids[first_row() + r] : first_row() + r; }

  void load_targets() const {
    const Index n = plan.rows_in(block);
    if (a.targets.dense) {
      load_block(a.targets.dense, a.ids, first_row(), n, plan.out, R(), false, t());
    } else {
      T* const classes = t();
      for (Index r = 0; r < n; ++r) classes[r] = static_cast<T>(a.targets.classes[source_of(r)]);
      for (Index r = n; r < R(); ++r) classes[r] = classes[n - 1];
    }
    if (weighs()) load_weights();
    if (a.targets.column_params)
      for (Index c = 0; c < plan.out; ++c)
        for (Index r = 0; r < R(); ++r) params()[c * R() + r] = a.targets.column_params[c];
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
    for (Index r = 0; r < R(); ++r) {
      const T own = r >= n ? T(0) : a.targets.weights ? a.targets.weights[source_of(r)] : T(1);
      for (Index c = 0; c < (by_row ? 1 : plan.out); ++c)
        to[c * R() + r] = weighs_columns() ? own * a.targets.column_weights[c] : own;
    }
  }

  // Of an activation: whether it has not been taken beside the product.
  bool needs_pass(ActivationKind kind) const { return kind != ActivationKind::Identity && !is_rectified<T, U>(kind); }

  // Returns the network's output.
  const T* forward() const {
    const T* in = x();
    T* out = saved();
    for (int l = 0; l < a.depth; ++l) {
      const LanesLayer<T>& layer = a.layers[l];
      lanes_product<T, V, U>(in, layer.in, layer.weight, layer.out, 1, layer.bias,
                             RectifiedOutputs<T>{layer.activation}, layer.out, R(), out);
      const Index n = values(layer.out);
      T* y = saves_input(layer.activation.kind) ? out + n : out;
      if (needs_pass(layer.activation.kind))
        kActivationForward<T>[static_cast<int>(layer.activation.kind)](layer.activation, n, out, y);
      in = y;
      out += saved_size(layer);
    }
    return in;
  }

  T* output() const { return saved_end() - values(plan.out); }

  double loss(bool gradient, T gradient_scale) const {
    const Index n = plan.rows_in(block), whole = values(plan.out);
    if (quad && gradient && n < R())  // missing rows, which are less than a vector
      for (Index i = 0; i < whole; i += Vec<T>::lanes) Vec<T>(T(0)).store(dy() + i);
    Vec<T> sum(T(0));
    if (is_class_loss(a.loss.kind)) {
      const ClassLossOptions<T> options(a.loss, a.targets, plan.out, a.logits, gradient_scale);
      const int rows = static_cast<int>(n);
      const T* const targets = t();
      sum = find_class_loss<T, !quad>(a.loss.kind)(
          plan.out, {output(), 1, R(), rows}, {a.targets.dense ? targets : nullptr, 1, R(), rows}, targets,
          weighs() ? weights() : nullptr, options, {gradient ? dy() : nullptr, 1, R(), rows});
      if (gradient)
        for (Index r = round_up(n, Vec<T>::lanes); r < R(); r += Vec<T>::lanes)
          for (Index c = 0; c < plan.out; ++c) Vec<T>(T(0)).store(dy() + c * R() + r);
      return static_cast<double>(reduce_add(sum));
    }
    const LossValues<T> all{output(), t(), gradient ? dy() : nullptr, weighs() ? weights() : nullptr,
                            a.targets.column_params ? params() : nullptr};
    if (is_pair_loss(a.loss.kind)) {
      const auto loss = find_pair_loss<T>(a.loss.kind);
      const Index pairs = plan.out / 2;
      for (Index c = 0; c < pairs; ++c) sum += loss(n, R(), pairs * R(), all.at(c * R()), a.loss, gradient_scale);
    } else {
      const auto loss = find_element_loss<T>(a.loss.kind);
      if (n == R())
        sum = loss(plan.out * R(), whole, all, a.loss, a.logits, gradient_scale);
      else
        for (Index c = 0; c < plan.out; ++c) sum += loss(n, R(), all.at(c * R()), a.loss, a.logits, gradient_scale);
    }
    return static_cast<double>(reduce_add(sum));
  }

  void backward() const {
    send_back();
    if (plan.folds()) {
      const Index first = chunk * plan.blocks_per_chunk, last = smaller(plan.blocks, first + plan.blocks_per_chunk) - 1;
      if (block == last) unfold_gradients(a, plan, chunk, (last - first) * plan.groups < kFoldGroups);
    }
  }

  void send_back() const {
    const T* dz = dy();
    T* const ping = a.buffer + plan.ping + chunk * 2 * plan.values(plan.width);
    const Index number = (block - chunk * plan.blocks_per_chunk) * plan.groups;  // of the block's first group
    const bool first = number % kFoldGroups == 0;
    if (__builtin_expect(first && number > 0, false)) fold_gradients(a, plan, chunk, number == kFoldGroups);
    T* sums = a.buffer + plan.accumulators + (chunk * plan.padded + plan.parameters) * V::lanes;  // their end
    const T* after = saved_end();  // end of what the current layer saved
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
      lanes_gradient<T, V, U>(in, layer.in, dz, layer.out, first, R(), sums);

      if (l == 0 && !a.dx) return;
      T* dx = dz == ping ? ping + values(plan.width) : ping;
      const Activation below = l > 0 ? a.layers[l - 1].activation : Activation{};
      const T* const below_saved = l > 0 ? own - saved_size(a.layers[l - 1]) : nullptr;
      lanes_product<T, V, U>(dz, layer.out, layer.weight, 1, layer.out, nullptr,
                             RectifiedGradients<T>{below, below_saved}, layer.in, R(), dx);
      if (l == 0) {
        store_block(dx, R(), plan.rows_in(block), plan.in, a.dx + first_row() * plan.in);
        return;
      }
      if (needs_pass(below.kind))
        kActivationBackward<T>[static_cast<int>(below.kind)](below, values(layer.in), dx, below_saved, dx);
      dz = dx;
      after = own;
    }
  }
};

}  // namespace fastmlp::FASTMLP_ISA_NS
