// What a block of a training across blocks does: the items of the plan (plan.h), as phases.
#pragma once

#include "cuda/medium/held.h"

namespace fastmlp::cuda {

struct GridTraining : GridBlock {
  using GridBlock::GridBlock;

#if defined(__CUDACC__)
  static FASTMLP_DEVICE void run(Block<GridKernel>& block, const Params& p) {
    GridTraining training(block, p);
    training.begin();
    for (Index step = 0; step < p.steps; ++step) {
      for (int i = 0; i < p.plan.item_count; ++i) {
        const GridItem item = p.plan.items[i];
        if (item.wait_by == By::Cluster)
          await_cluster();
        else if (item.wait_by != By::None)
          await_counter(training.counter(item.wait, item.wait_by), training.target(item, step));
        training.work(item, step);
        if (item.signal_by == By::Cluster)
          arrive_at_cluster();
        else if (item.signal_by != By::None)
          raise_counter(training.counter(item.signal, item.signal_by));
      }
      training.finish(step);
    }
    training.end();
  }
#endif

  FASTMLP_DEVICE void work(const GridItem& item, Index step) {
    switch (item.work) {
      case Work::Forward:
        return forward(item.layer, step);
      case Work::Activate:
        return activate(item.layer, step);
      case Work::Output:
        return output(step);
      case Work::Backward:
        return backward(item.layer);
      case Work::Gradient:
        return gradient(item.layer);
      case Work::Combine:
        return combine_dx(item.layer);
    }
  }

  // Items --------------------------------------------------------------------------------------------------------------

  FASTMLP_DEVICE void forward(int l, Index step) {
    const GridLayer& layer = plan.layers[l];
    if (l > 0)
      block.each([&](int thread, Registers&) {
        fetch_slice(thread, shared + plan.layers[l - 1].h.first + row * layer.in_width, plan.layers[l - 1].h.ld,
                    layer.x, layer.in_width);
        await_copies();
      });
    T* const to = plan.clusters ? values + plan.cluster_sums[l & 1] : sums(l, row, column);
    multiply<Operand::Along, Operand::Across>(
        block,
        {values + layer.x.first, layer.x.ld, values + layer.weight.first, layer.weight.ld, plan.tall / kTile,
         layer.out_width / kTile, layer.in_width, layer.forward_turn, layer.part_terms},
        values + plan.stage,
        [&](int part) {
          if (l == 0) await_rows(part, step);
        },
        [&](const auto& quads) {
          quads([&](int r, int c, const Quad<T>& sum) { store_exchanged_quad(to + r * layer.out_width + c, sum); });
        });
  }

  // Also the constants of the step's update, with the first part.
  FASTMLP_DEVICE void await_rows(int part, Index step) {
    static_assert(kRowParts == 4);
    block.each([&](int, Registers& own) {
      if (part == 0)
        own.rows.await_but<3>();
      else if (part == 1)
        own.rows.await_but<2>();
      else if (part == 2)
        own.rows.await_but<1>();
      else
        own.rows.await_but<0>();
    });
    if (part == 0 && (step == 0 || !p.one_update))
      block.each_alone([&](int thread, Registers&) {
        if (thread == kThreads - 1) *rule = ops::UpdateValues<V>(updates[step & 1].constants);
      });
  }

  // All rows of the batch, of so many columns.
  FASTMLP_DEVICE void fetch_slice(int thread, const T* from, int ld, const GridMatrix& to, int width) {
    for_quads(thread, plan.batch, width,
              [&](int r, int c) { copy_exchanged_quad(values + to.row(r) + c, from + r * ld + c); });
  }

  FASTMLP_DEVICE void activate(int l, Index step) {
    const GridLayer& layer = plan.layers[l];
    const bool last = l + 1 == plan.hidden;
    const GridRange own = own_rows(), out = outputs(l);
    const int width = layer.out_width;
    const auto params = activation_params<T>(layer.activation);
    block.each([&](int thread, Registers&) {
      with_activation(layer.activation.kind, [&](auto functor) {
        using F = decltype(functor);
        for_quads(thread, own.count, width, [&](int r, int c) {
          const Quad<T> bias = load_quad(values + layer.bias + c), z = add_sums(l, own.begin + r, c, bias);
          Quad<T> h, slope;
          FASTMLP_UNROLL
          for (int j = 0; j < 4; ++j) {
            const bool is = c + j < out.count;
            const V y = F::forward(V(z.v[j]), params);
            h.v[j] = is ? y.value : T(0);
            slope.v[j] = is ? F::backward(V(1), F::kSavesInput ? V(z.v[j]) : y, params).value : T(0);
          }
          const int at = (own.begin + r) * layer.h.ld + column * width + c;
          store_exchanged_quad(shared + layer.h.first + at, h);
          if (last) {
            store_quad(values + plan.part_h.row(r) + c, h);
            store_quad(values + plan.part_slope.row(r) + c, slope);
          } else {
            store_exchanged_quad(shared + layer.slope.first + at, slope);
          }
        });
      });
    });
    if (last) partial_logits(step);
  }

  // sum + layer l's sums from all rows of this column.
  FASTMLP_DEVICE Quad<T> add_sums(int l, int r, int c, Quad<T> sum) const {
    const int width = plan.layers[l].out_width;
    if (!plan.clusters) return add_parts(sums(l, 0, column) + r * width + c, plan.rows, plan.tall * width, sum);
    FASTMLP_UNROLL_BY(8)
    for (int part = 0; part < plan.rows; ++part) {
      const Quad<T> own = load_of_cluster(cluster_sums(l, part) + r * width + c);
      FASTMLP_UNROLL
      for (int j = 0; j < 4; ++j) sum.v[j] += own.v[j];
    }
    return sum;
  }

  // sum + so many values, `next` apart, in order.
  static FASTMLP_DEVICE Quad<T> add_parts(const T* from, int parts, int next, Quad<T> sum) {
    FASTMLP_UNROLL_BY(8)
    for (int part = 0; part < parts; ++part) {
      const Quad<T> own = load_exchanged_quad(from + part * next);
      FASTMLP_UNROLL
      for (int j = 0; j < 4; ++j) sum.v[j] += own.v[j];
    }
    return sum;
  }

  FASTMLP_DEVICE void partial_logits(Index step) {
    const GridLayer& head = plan.layers[plan.hidden];
    T* const to = logits(step, row, column);
    block.each([&](int thread, Registers&) {
      for_values(thread, own_rows().count, head.out, [&](int r, int c) {
        const T *const h = values + plan.part_h.row(r), *const w = values + head.weight.first + c;
        T sum[4] = {};
        for (int k = 0; k < head.in_width; k += 4) {
          const Quad<T> four = load_quad(h + k);
          FASTMLP_UNROLL
          for (int j = 0; j < 4; ++j) sum[j] = math::fma(four.v[j], w[(k + j) * head.weight.ld], sum[j]);
        }
        store_exchanged(to + r * head.out_width + c, (sum[0] + sum[1]) + (sum[2] + sum[3]));
      });
    });
  }

  FASTMLP_DEVICE void output(Index step) {
    const GridLayer &head = plan.layers[plan.hidden], &below = plan.layers[plan.hidden - 1];
    const GridRange own = own_rows();
    const auto params = activation_params<T>(head.activation);
    block.each([&](int thread, Registers& registers) {
      registers.loss = 0;
      registers.scale = p.scale;
      with_activation(head.activation.kind, [&](auto functor) {
        using F = decltype(functor);
        for_values(thread, own.count, head.out, [&](int r, int c) {
          const T* const from = logits(step, row, 0) + r * head.out_width + c;
          V z = values[head.bias + c];
          FASTMLP_UNROLL_BY(8)
          for (int part = 0; part < plan.columns; ++part)
            z += V(load_exchanged(from + part * plan.row_part * head.out_width));
          const V y = F::forward(z, params);
          values[plan.y.row(r) + c] = y.value;
          values[plan.dy.row(r) + c] = F::backward(V(1), F::kSavesInput ? z : y, params).value;
        });
      });
    });
    const auto find = [&](int thread, Registers&) {
      const int r = thread >> p.output.log_lanes;
      if (r >= own.count) return OutputRow<T>{values, false, 0, 0, 0, 0, T(0)};
      return OutputRow<T>{
          values, true, plan.y.row(r), plan.dy.row(r), p.dense ? plan.targets.row(r) : -1, p.dense ? 0 : classes[r],
          T(1)};
    };
    Output<T, GridKernel, decltype(find)>(block, p.output, find).run();
    combine<Sum, &Registers::loss>(block, kThreads);
    block.each([&](int thread, Registers& registers) {
      if (thread == 0 && column == 0)
        reinterpret_cast<double*>(p.workspace + plan.losses_at())[step * plan.rows + row] = registers.loss;
      T* const to = head_dz(column);
      for_values(thread, own.count, head.out, [&](int r, int c) {
        store_exchanged(to + (own.begin + r) * head.out_width + c, values[plan.dy.row(r) + c]);
      });
      T* const dz = shared + below.dz.first + column * below.out_width;
      for_values(thread, own.count, below.out_width, [&](int r, int c) {
        const T *const dy = values + plan.dy.row(r), *const w = values + head.weight.row(c);
        T sum = 0;
        for (int j = 0; j < head.out; ++j) sum = math::fma(dy[j], w[j], sum);
        store_exchanged(dz + (own.begin + r) * below.dz.ld + c, sum * values[plan.part_slope.row(r) + c]);
      });
    });
  }

  FASTMLP_DEVICE void backward(int l) {
    const GridLayer& layer = plan.layers[l];
    block.each([&](int thread, Registers&) {
      fetch_slice(thread, shared + layer.dz.first + column * layer.out_width, layer.dz.ld, plan.dz, layer.out_width);
      if (l + 1 == plan.hidden) {
        const int width = plan.layers[plan.hidden].out_width;
        fetch_slice(thread, shared + layer.h.first + column * layer.out_width, layer.h.ld, plan.h, layer.out_width);
        fetch_slice(thread, head_dz(column), width, plan.head_dz, width);
      }
      await_copies();
    });
    if (l == 0) return;
    T* const to = dx(l, row, column);
    multiply<Operand::Along, Operand::Along>(
        block,
        {values + plan.dz.first, plan.dz.ld, values + layer.weight.first, layer.weight.ld, plan.tall / kTile,
         layer.in_width / kTile, layer.out_width, layer.backward_turn, layer.out_width},
        values + plan.stage, [](int) {},
        [&](const auto& quads) {
          quads([&](int r, int c, const Quad<T>& sum) { store_exchanged_quad(to + r * layer.in_width + c, sum); });
        });
  }

  FASTMLP_DEVICE void combine_dx(int l) {
    const GridLayer &layer = plan.layers[l], &above = plan.layers[l + 1];
    const GridRange own = GridRange::of(column, plan.column_part, plan.batch);
    block.each([&](int thread, Registers&) {
      for_quads(thread, own.count, above.in_width, [&](int r, int c) {
        Quad<T> sum = add_parts(dx(l + 1, row, 0) + (own.begin + r) * above.in_width + c, plan.columns,
                                plan.tall * above.in_width, Quad<T>{});
        const int at = (own.begin + r) * layer.dz.ld + row * above.in_width + c;
        const Quad<T> slope = load_exchanged_quad(shared + layer.slope.first + at);
        FASTMLP_UNROLL
        for (int j = 0; j < 4; ++j) sum.v[j] *= slope.v[j];
        store_exchanged_quad(shared + layer.dz.first + at, sum);
      });
    });
  }

  FASTMLP_DEVICE void gradient(int l) {
    // The head's comes with its neighbour's, whose outputs are its inputs.
    const bool last = l + 1 == plan.hidden;
    FASTMLP_UNROLL_BY(1)
    for (int i = l; i <= (last ? plan.hidden : l); ++i) {
      const GridLayer& layer = plan.layers[i];
      const GridMatrix &x = is_head(i) ? plan.h : layer.x, &dz = is_head(i) ? plan.head_dz : plan.dz;
      const GridRange in = inputs(i), out = outputs(i);
      multiply<Operand::Across, Operand::Across>(
          block,
          {values + x.first, x.ld, values + dz.first, dz.ld, layer.in_width / kTile, layer.out_width / kTile, plan.tall,
           layer.gradient_turn, plan.tall},
          values + plan.stage, [](int) {},
          [&](const auto& quads) {
            const ops::UpdateValues<V> constants = *rule;
            with_update(p.kind, [&](auto formula) {
              quads([&](int r, int c, const Quad<T>& sum) {
                if (r >= in.count) return;
                FASTMLP_UNROLL
                for (int j = 0; j < 4; ++j)
                  if (c + j < out.count) update(formula, layer.weight.row(r) + c + j, sum.v[j], constants);
              });
            });
          });
      if (layer.has_bias) bias_gradient(layer, dz, out.count);
    }
  }

  template <class Rule>
  FASTMLP_DEVICE void update(Rule rule_of, int at, T gradient, const ops::UpdateValues<V>& constants) {
    UpdateTarget<T> target{values, {nullptr, nullptr, nullptr}};
    FASTMLP_UNROLL
    for (int s = 0; s < Rule::kStates; ++s)
      if (plan.state[s]) target.state[s] = values + plan.state[s];
    update_value(rule_of, target, at, V(gradient), constants);
  }

  // Column sums of dz: each thread has some rows of a column, then one thread for each column adds them up.
  FASTMLP_DEVICE void bias_gradient(const GridLayer& layer, const GridMatrix& dz, int columns) {
    if (columns == 0) return;
    T* const parts = values + plan.stage;
    block.each([&](int thread, Registers&) {
      for_values(thread, kBiasParts, columns, [&](int part, int c) {
        T sum = 0;
        for (int r = part; r < plan.batch; r += kBiasParts) sum += values[dz.row(r) + c];
        parts[part * columns + c] = sum;
      });
    });
    block.each([&](int thread, Registers&) {
      if (thread >= columns) return;
      T sum = 0;
      FASTMLP_UNROLL
      for (int part = 0; part < kBiasParts; ++part) sum += parts[part * columns + thread];
      with_update(p.kind, [&](auto formula) { update(formula, layer.bias + thread, sum, *rule); });
    });
  }
};

inline GridKernel::Params grid_params(const SingleBlockTraining<float>& a, const GridPlan& plan, void* workspace) {
  const Index out = a.layers[a.depth - 1].out;
  int log_lanes = 0;
  while (log_lanes < 5 && (1 << log_lanes) < out && plan.row_part << (log_lanes + 1) <= kGridThreads) ++log_lanes;
  return {plan,         output_args(a, log_lanes),
          a.parameters, a.loss.scale(static_cast<double>(a.rows), out),
          a.data,       a.targets.dense != nullptr,
          a.by_ids,     a.same_rows,
          a.row,        a.steps,
          a.rule,       a.updates,
          a.one_update, static_cast<unsigned char*>(workspace)};
}

}  // namespace fastmlp::cuda
