// Whole tiny networks with batch rows in SIMD lanes: the phases of a pass, a step, and many steps in one call.
//
// A step goes block by block (lanes_block.h); the sums of the gradients, vectors over the rows, are reduced once a step.
// Parameters being trained lie one after the other, so that one loop updates them all. The smallest networks have steps
// of their own (lanes_registers.h).
#pragma once

#include "cpu/lanes_block.h"
#include "cpu/lanes_registers.h"

namespace fastmlp::FASTMLP_ISA_NS {

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
