// What a block of a training across blocks does: the items of the plan (plan.h), as phases.
#pragma once

#include "cuda/medium/exchange.h"
#include "cuda/medium/product.h"
#include "cuda/pointwise/rows.h"

namespace fastmlp::cuda {

struct GridTraining {
  static constexpr int kThreads = kGridThreads;
  using T = float;
  using V = Real<T>;

  struct Params {
    GridPlan plan;
    OutputArgs<T> output;
    const UpdateTarget<T>* parameters;
    double scale;  // of the loss
    const SingleBlockRows<T>* data;
    bool dense, by_ids, same_rows;
    Index row;
    Index steps;
    UpdateKind kind;
    const Update* updates;
    bool one_update;
    unsigned char* workspace;
  };
  struct Registers : OutputRegisters<T> {
    ProductRegisters product;
  };

  Block<GridTraining>& block;
  const Params& p;
  const GridPlan& plan;
  const int row, column;  // of this block
  Update* const updates;
  ops::UpdateValues<V>* const rule;
  SingleBlockRows<T>* const data;
  Index *const ids, *const classes;
  T* const values;
  T* const shared;  // with the other blocks: the workspace's values

  FASTMLP_DEVICE GridTraining(Block<GridTraining>& block_, const Params& params)
      : block(block_),
        p(params),
        plan(params.plan),
        row(block_.index().x / params.plan.columns),
        column(block_.index().x % params.plan.columns),
        updates(reinterpret_cast<Update*>(block_.shared() + params.plan.updates)),
        rule(reinterpret_cast<ops::UpdateValues<V>*>(block_.shared() + params.plan.rule)),
        data(reinterpret_cast<SingleBlockRows<T>*>(block_.shared() + params.plan.data)),
        ids(reinterpret_cast<Index*>(block_.shared() + params.plan.ids)),
        classes(reinterpret_cast<Index*>(block_.shared() + params.plan.classes)),
        values(reinterpret_cast<T*>(block_.shared() + params.plan.values)),
        shared(reinterpret_cast<T*>(params.workspace + params.plan.counter_bytes())) {}

  FASTMLP_DEVICE unsigned* counter(int first, By by) const {
    const int number = first + chosen(by, row, column, plan.columns_of_row);
    return reinterpret_cast<unsigned*>(p.workspace) + number * kCounterStride;
  }
  // Where it has come to when the block may go on.
  FASTMLP_DEVICE unsigned target(const GridItem& item, Index step) const {
    return static_cast<unsigned>(step + 1) * static_cast<unsigned>(item.wait_arrivals);
  }

#if defined(__CUDACC__)
  static FASTMLP_DEVICE void run(Block<GridTraining>& block, const Params& p) {
    GridTraining training(block, p);
    training.begin();
    for (Index step = 0; step < p.steps; ++step) {
      for (int i = 0; i < p.plan.item_count; ++i) {
        const GridItem item = p.plan.items[i];
        if (item.wait_by != By::None)
          await_counter(training.counter(item.wait, item.wait_by), training.target(item, step));
        training.work(item, step);
        if (item.signal_by != By::None) raise_counter(training.counter(item.signal, item.signal_by));
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

  // Slices -------------------------------------------------------------------------------------------------------------

  FASTMLP_DEVICE bool is_head(int l) const { return l == plan.hidden; }
  FASTMLP_DEVICE GridRange inputs(int l) const {
    return GridRange::of(is_head(l) ? column : row, plan.layers[l].in_width, plan.layers[l].in);
  }
  FASTMLP_DEVICE GridRange outputs(int l) const {
    return is_head(l) ? GridRange{0, plan.layers[l].out}
                      : GridRange::of(column, plan.layers[l].out_width, plan.layers[l].out);
  }
  // Of the batch.
  FASTMLP_DEVICE GridRange own_rows() const { return GridRange::of(row, plan.row_part, plan.batch); }
  // The first of layer l's sums, and of the sums of its input's gradient, from block (r, c); the rows' leading
  // dimension is the slice's width.
  FASTMLP_DEVICE T* sums(int l, int r, int c) const {
    const GridLayer& layer = plan.layers[l];
    return shared + layer.sums + (c * plan.rows + r) * plan.tall * layer.out_width;
  }
  FASTMLP_DEVICE T* dx(int l, int r, int c) const {
    const GridLayer& layer = plan.layers[l];
    return shared + layer.dx + (r * plan.columns + c) * plan.tall * layer.in_width;
  }
  // Partial logits of row r's part of the batch, from column c.
  FASTMLP_DEVICE T* logits(Index step, int r, int c) const {
    const int width = plan.layers[plan.hidden].out_width;
    return shared + plan.logits[step & 1] + (r * plan.columns + c) * plan.row_part * width;
  }
  // dz of the head, of all rows, for column c.
  FASTMLP_DEVICE T* head_dz(int c) const {
    return shared + plan.head + c * plan.tall * plan.layers[plan.hidden].out_width;
  }

  // body(row, column) for each thread's quads of a matrix.
  template <class Body>
  static FASTMLP_DEVICE void for_quads(int thread, int rows, int width, const Body& body) {
    const Divisor quads(width / 4);
    for (int i = thread; i < rows * (width / 4); i += kThreads) {
      const int r = quads.quotient(i);
      body(r, 4 * (i - r * (width / 4)));
    }
  }
  template <class Body>
  static FASTMLP_DEVICE void for_values(int thread, int rows, int columns, const Body& body) {
    const Divisor by_columns(columns);
    for (int i = thread; i < rows * columns; i += kThreads) {
      const int r = by_columns.quotient(i);
      body(r, i - r * columns);
    }
  }

  // Parameters ---------------------------------------------------------------------------------------------------------

  // body(place among the values, number in the device's memory) for each value of this block's part of a parameter.
  template <class Body>
  FASTMLP_DEVICE void for_parameter(int thread, int l, bool bias, const Body& body) {
    const GridLayer& layer = plan.layers[l];
    const GridRange in = bias ? GridRange{0, 1} : inputs(l), out = outputs(l);
    const int place = bias ? layer.bias : layer.weight.first;
    if (in.count > 0 && out.count > 0)
      for_values(thread, in.count, out.count, [&](int r, int c) {
        body(place + r * layer.weight.ld + c, static_cast<Index>(in.begin + r) * layer.out + out.begin + c);
      });
  }

  FASTMLP_DEVICE void load_parameter(int thread, int l, bool bias) {
    if (bias && !plan.layers[l].has_bias) return;
    const UpdateTarget<T> from = p.parameters[2 * l + bias];
    for_parameter(thread, l, bias, [&](int at, Index i) {
      values[at] = load_exchanged(from.value + i);
      for (int s = 0; s < 3; ++s)
        if (plan.state[s]) values[plan.state[s] + at] = load_exchanged(from.state[s] + i);
    });
  }

  // What several blocks have, the first of them keeps.
  FASTMLP_DEVICE void keep_parameter(int thread, int l, bool bias) {
    if (bias && !plan.layers[l].has_bias) return;
    if ((bias || is_head(l)) && row > 0) return;
    if (bias && is_head(l) && column > 0) return;
    const UpdateTarget<T> to = p.parameters[2 * l + bias];
    for_parameter(thread, l, bias, [&](int at, Index i) {
      store_exchanged(to.value + i, values[at]);
      for (int s = 0; s < 3; ++s)
        if (plan.state[s]) store_exchanged(to.state[s] + i, values[plan.state[s] + at]);
    });
  }

  FASTMLP_DEVICE void begin() {
    block.each([&](int thread, Registers&) {
      for (int i = thread; i < plan.value_count; i += kThreads) values[i] = 0;
      if (thread == 0) *data = *p.data;
    });
    block.each([&](int thread, Registers&) {
      for (int l = 0; l < plan.depth; ++l) {
        load_parameter(thread, l, false);
        load_parameter(thread, l, true);
      }
      fetch_ids(thread, 0);
      fetch_ids(thread, 1);
      fetch_update(thread, 0);
      await_copies();
    });
    block.each([&](int thread, Registers&) { fetch_rows(thread, 0); });
  }

  FASTMLP_DEVICE void end() {
    block.each([&](int thread, Registers&) {
      for (int l = 0; l < plan.depth; ++l) {
        keep_parameter(thread, l, false);
        keep_parameter(thread, l, true);
      }
    });
  }

  // Batches ------------------------------------------------------------------------------------------------------------

  FASTMLP_DEVICE Index* ids_of(Index step) const { return ids + (p.same_rows ? 0 : step & 1) * plan.batch; }
  FASTMLP_DEVICE bool comes(Index step) const { return step < p.steps && (step == 0 || !p.same_rows); }
  FASTMLP_DEVICE Index source(Index step, int r) const {
    return p.by_ids ? ids_of(step)[r] : p.row + (p.same_rows ? 0 : step * plan.batch) + r;
  }

  FASTMLP_DEVICE void fetch_ids(int thread, Index step) {
    if (!p.by_ids || !comes(step)) return;
    const Index* const from = data->ids + p.row + step * plan.batch;
    for (int r = thread; r < plan.batch; r += kThreads) copy_async<sizeof(Index)>(ids_of(step) + r, from + r);
  }

  FASTMLP_DEVICE void fetch_update(int thread, Index step) {
    constexpr int kWords = sizeof(Update) / 8;
    static_assert(sizeof(Update) % 8 == 0 && kWords <= kWarp);
    if (thread < kWords && step < p.steps && (step == 0 || !p.one_update))
      copy_async<8>(reinterpret_cast<unsigned char*>(updates + (step & 1)) + 8 * thread,
                    reinterpret_cast<const unsigned char*>(p.updates + step) + 8 * thread);
  }

  // The row numbers have come. A warp takes a row at a time.
  FASTMLP_DEVICE void fetch_rows(int thread, Index step) {
    if (!comes(step)) return;
    const GridLayer& first = plan.layers[0];
    const GridRange in = inputs(0);
    const SingleBlockRows<T> from = *data;
    const int lane = thread % kWarp;
    const bool wide = takes_vectors(from.x, first.in);
    const int fours = wide ? in.count / 4 : 0;  // a slice begins at a multiple of kTile
    for (int r = thread / kWarp; r < plan.batch; r += kThreads / kWarp) {
      const T* const x = from.x + source(step, r) * first.in + in.begin;
      T* const to = values + first.x.row(r);
      for (int i = lane; i < fours; i += kWarp) copy_async<16>(to + 4 * i, x + 4 * i);
      for (int i = 4 * fours + lane; i < in.count; i += kWarp) copy_async<sizeof(T)>(to + i, x + i);
    }
    const GridRange own = own_rows();
    const int out = p.output.columns;
    if (p.dense)
      for_values(thread, own.count, out, [&](int r, int c) {
        copy_async<sizeof(T)>(values + plan.targets.row(r) + c, from.dense + source(step, own.begin + r) * out + c);
      });
    else
      for (int r = thread; r < own.count; r += kThreads)
        copy_async<sizeof(Index)>(classes + r, from.classes + source(step, own.begin + r));
  }

  // After a step's items: its rows are of no more use.
  FASTMLP_DEVICE void finish(Index step) {
    block.each([&](int thread, Registers&) {
      fetch_rows(thread, step + 1);
      fetch_ids(thread, step + 2);
      fetch_update(thread, step + 1);
    });
  }

  // Items --------------------------------------------------------------------------------------------------------------

  FASTMLP_DEVICE void forward(int l, Index step) {
    const GridLayer& layer = plan.layers[l];
    block.each([&](int thread, Registers&) {
      if (l > 0)
        fetch_slice(thread, shared + plan.layers[l - 1].h.first + row * layer.in_width, plan.layers[l - 1].h.ld,
                    layer.x, layer.in_width);
      await_copies();
    });
    if (l == 0)
      block.each_alone([&](int thread, Registers&) {
        if (thread == kThreads - 1 && (step == 0 || !p.one_update))
          *rule = ops::UpdateValues<V>(updates[step & 1].constants);
      });
    T* const to = sums(l, row, column);
    multiply<Operand::Along, Operand::Across>(
        block,
        {values + layer.x.first, layer.x.ld, values + layer.weight.first, layer.weight.ld, plan.tall / kTile,
         layer.out_width / kTile, layer.in_width},
        values + plan.stage, [&](const auto& quads) {
          quads([&](int r, int c, const Quad<T>& sum) { store_exchanged_quad(to + r * layer.out_width + c, sum); });
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
          const Quad<T> z = add_parts(sums(l, 0, column) + (own.begin + r) * width + c, plan.rows, plan.tall * width,
                                      load_quad(values + layer.bias + c));
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
    const auto find = [&](int thread) {
      const int r = thread >> p.output.log_lanes;
      if (r >= own.count) return OutputRow<T>{values, false, 0, 0, 0, 0, T(0)};
      return OutputRow<T>{
          values, true, plan.y.row(r), plan.dy.row(r), p.dense ? plan.targets.row(r) : -1, p.dense ? 0 : classes[r],
          T(1)};
    };
    Output<T, GridTraining, decltype(find)>(block, p.output, find).run();
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
         layer.in_width / kTile, layer.out_width},
        values + plan.stage, [&](const auto& quads) {
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
      multiply<Operand::Across, Operand::Across>(block,
                                                 {values + x.first, x.ld, values + dz.first, dz.ld,
                                                  layer.in_width / kTile, layer.out_width / kTile, plan.tall},
                                                 values + plan.stage, [&](const auto& quads) {
                                                   const ops::UpdateValues<V> constants = *rule;
                                                   with_update(p.kind, [&](auto formula) {
                                                     quads([&](int r, int c, const Quad<T>& sum) {
                                                       if (r >= in.count) return;
                                                       FASTMLP_UNROLL
                                                       for (int j = 0; j < 4; ++j)
                                                         if (c + j < out.count)
                                                           update(formula, layer.weight.row(r) + c + j, sum.v[j],
                                                                  constants);
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

inline GridTraining::Params grid_params(const SingleBlockTraining<float>& a, const GridPlan& plan, void* workspace) {
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
