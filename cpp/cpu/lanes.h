// Whole tiny networks with batch rows in SIMD lanes: the phases of a pass, a step, and many steps in one call.
//
// A step goes block by block (lanes_block.h); the sums of the gradients, vectors over the rows, are reduced once a step.
// Parameters being trained lie one after the other, so that one loop updates them all. The smallest networks have steps
// of their own (lanes_registers.h).
#pragma once

#include "cpu/lanes_block.h"
#include "cpu/lanes_registers.h"

namespace fastmlp::FASTMLP_ISA_NS {

// What a pass does with each block, in this order.
struct BlockWork {
  bool load_x = false, load_targets = false, forward = false, store_y = false;
  bool loss = false, gradient = false;  // the gradient with the loss
  bool load_dy = false, backward = false;
  bool keep_blocks = false;  // every block has its own slot
  double scale = 0;          // of the loss
};

template <class T>
FASTMLP_INLINE double* losses_of(const LanesArgs<T>& a, const LanesPlan<T>& plan) {
  return reinterpret_cast<double*>(a.buffer + plan.loss);
}

template <class T, class V, int U>
FASTMLP_INLINE void work_on(const LanesBlock<T, V, U>& block, const BlockWork& work, bool first_of_chunk) {
  const LanesArgs<T>& a = block.a;
  const LanesPlan<T>& plan = block.plan;
  if (work.load_x) block.load_x();
  if (work.load_targets) block.load_targets();
  if (work.forward) block.forward();
  if (work.store_y)
    store_block(block.output(), block.R(), plan.rows_in(block.block), plan.out, a.y + block.first_row() * plan.out);
  if (work.loss) {
    const double value = block.loss(work.gradient, static_cast<T>(work.scale));
    double& sum = losses_of(a, plan)[block.chunk];
    sum = first_of_chunk ? value : sum + value;
  }
  if (work.load_dy)
    load_block(a.dy, nullptr, block.first_row(), plan.rows_in(block.block), plan.out, block.R(), true, block.dy());
  if (work.backward) block.backward();
}

// All blocks of the right U, chunk by chunk, chunks in parallel.
template <class T, class V, int U>
void for_lanes_blocks(const LanesArgs<T>& a, const LanesPlan<T>& plan, const BlockWork& work, const Context& context) {
  parallel_tasks(context, plan.chunks, [&](Index chunk, int) {
    const Index begin = chunk * plan.blocks_per_chunk;
    const Index end = smaller(plan.blocks, begin + plan.blocks_per_chunk);
    for (Index block = begin; block < end; ++block)
      work_on(LanesBlock<T, V, U>{a, plan, block, work.keep_blocks ? block : chunk, chunk}, work, block == begin);
  });
}
template <class T>
void lanes_blocks(const LanesArgs<T>& a, const LanesPlan<T>& plan, const BlockWork& work, const Context& context) {
  if constexpr (kHasQuads<T>)
    if (plan.row_lanes == 4) return for_lanes_blocks<T, Quad<T>, 1>(a, plan, work, context);
  if (plan.U == 1) return for_lanes_blocks<T, Vec<T>, 1>(a, plan, work, context);
  if (plan.U == 2) return for_lanes_blocks<T, Vec<T>, 2>(a, plan, work, context);
  return for_lanes_blocks<T, Vec<T>, 4>(a, plan, work, context);
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
  lanes_blocks(a, plan_of(a), {.load_x = true, .forward = true, .store_y = a.y != nullptr, .keep_blocks = a.training},
               context);
}

// Forward and loss, which keep nothing but the rows.
template <class T>
double lanes_evaluate(const LanesArgs<T>& a, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  const double scale = batch_scale(a, plan);
  const bool load = !(a.loaded && plan.keeps_rows);
  lanes_blocks(a, plan, {.load_x = load, .load_targets = load, .forward = true, .loss = true, .scale = scale}, context);
  return total_loss(a, plan, scale);
}

template <class T>
double lanes_loss(const LanesArgs<T>& a, bool gradient, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  const double scale = batch_scale(a, plan);
  lanes_blocks(a, plan, {.load_targets = true, .loss = true, .gradient = gradient, .keep_blocks = true, .scale = scale},
               context);
  return total_loss(a, plan, scale);
}

template <class T>
void lanes_backward(const LanesArgs<T>& a, const Context& context) {
  const LanesPlan<T>& plan = plan_of(a);
  lanes_blocks(a, plan, {.load_dy = a.dy != nullptr, .backward = true, .keep_blocks = true}, context);
  sink_gradients(a, reduce_gradients(a, plan));
}

// Leaves the sums of the gradients and returns the loss.
template <class T>
double forward_loss_backward(const LanesArgs<T>& a, const LanesPlan<T>& plan, double scale, const Context& context) {
  const bool load = !a.loaded;
  lanes_blocks(a, plan,
               {.load_x = load,
                .load_targets = load,
                .forward = true,
                .loss = true,
                .gradient = true,
                .backward = true,
                .scale = scale},
               context);
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
    lanes_blocks(a, plan, {.load_x = true, .load_targets = true}, Context{{}, nullptr});
}

template <class T>
void lanes_train(const LanesArgs<T>& first, const LanesTraining<T>& training, const Context& context) {
  LanesArgs<T> a = first;
  const LanesPlan<T>& plan = plan_of(a);
  const StepInRegisters<T> in_registers = find_step_in_registers(a, plan);
  double scale = batch_scale(a, plan);
  Update scheduled = training.updates[0];
  for (Index step = 0; step < training.steps; ++step) {
    if (!training.same_rows && plan.preloaded > 1) {
      a.loaded = true;
      if (step % plan.preloaded == 0) load_batches(first, plan, step, smaller(plan.preloaded, training.steps - step));
      a.preload_index = step % plan.preloaded;
    }
    if (step > 0 && !training.same_rows && a.targets.has_shares()) scale = batch_scale(a, plan);
    if (training.rates) scheduled.constants.lr = training.rates[step];
    if (training.momenta) scheduled.constants.momentum = training.momenta[step];
    const Update& update = training.rates ? scheduled : training.updates[training.one_update ? 0 : step];
    if (in_registers) {
      training.losses[step] = in_registers(a, plan, scale, update, training.target);
    } else {
      training.losses[step] = forward_loss_backward(a, plan, scale, context);
      kUpdate<T>[static_cast<int>(update.kind)](update.constants, {0, 1, plan.padded, 0}, training.target,
                                                reduce_gradients(a, plan), 0);
    }
    if (training.same_rows)
      a.loaded = true;
    else
      advance(a, plan, 1);
  }
}

}  // namespace fastmlp::FASTMLP_ISA_NS
