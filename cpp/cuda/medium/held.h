// What a block of a training across blocks holds: its slices of the parameters, and its rows of the step.
#pragma once

#include "cuda/medium/exchange.h"
#include "cuda/medium/product.h"

namespace fastmlp::cuda {

struct GridKernel {
  static constexpr int kThreads = kGridThreads;
  using T = float;

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
    CopyGroups rows;  // of a step, a group for each part
  };
};

struct GridBlock {
  static constexpr int kThreads = kGridThreads;
  using T = float;
  using V = Real<T>;
  using Params = GridKernel::Params;
  using Registers = GridKernel::Registers;

  Block<GridKernel>& block;
  const Params& p;
  const GridPlan& plan;
  const int row, column;  // of this block
  Update* const updates;
  ops::UpdateValues<V>* const rule;
  SingleBlockRows<T>* const data;
  Index *const ids, *const classes;
  T* const values;
  T* const shared;  // with the other blocks: the workspace's values

  FASTMLP_DEVICE GridBlock(Block<GridKernel>& block_, const Params& params)
      : block(block_),
        p(params),
        plan(params.plan),
        row(block_.index().x % params.plan.rows),
        column(block_.index().x / params.plan.rows),
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
#if !defined(__CUDACC__)
  const GridBlock* const* cluster = nullptr;  // the blocks of this column
#endif

  // Where it has come to when the block may go on.
  FASTMLP_DEVICE unsigned target(const GridItem& item, Index step) const {
    return static_cast<unsigned>(step + 1) * static_cast<unsigned>(item.wait_arrivals);
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
  // The same of row r of this column, where it is a cluster.
  FASTMLP_DEVICE const T* cluster_sums(int l, int r) const {
#if defined(__CUDACC__)
    return in_cluster(values + plan.cluster_sums[l & 1], r);
#else
    return cluster[r]->values + plan.cluster_sums[l & 1];
#endif
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
    block.each([&](int thread, Registers& own) { fetch_rows(thread, own, 0); });
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
  FASTMLP_DEVICE void fetch_rows(int thread, Registers& registers, Index step) {
    if (!comes(step)) return;
    const GridLayer& first = plan.layers[0];
    const GridRange in = inputs(0), own = own_rows();
    const SingleBlockRows<T> from = *data;
    const int out = p.output.columns;
    if (p.dense)
      for_values(thread, own.count, out, [&](int r, int c) {
        copy_async<sizeof(T)>(values + plan.targets.row(r) + c, from.dense + source(step, own.begin + r) * out + c);
      });
    else
      for (int r = thread; r < own.count; r += kThreads)
        copy_async<sizeof(Index)>(classes + r, from.classes + source(step, own.begin + r));
    const int lane = thread % kWarp;
    const bool wide = takes_vectors(from.x, first.in);
    for (int part = 0; part < kRowParts; ++part) {
      const GridRange columns = GridRange::of(part, first.part_terms, in.count);
      const int fours = wide ? columns.count / 4 : 0;  // parts of slices begin at multiples of 4
      for (int r = thread / kWarp; r < plan.batch; r += kThreads / kWarp) {
        const T* const x = from.x + source(step, r) * first.in + in.begin + columns.begin;
        T* const to = values + first.x.row(r) + columns.begin;
        for (int i = lane; i < fours; i += kWarp) registers.rows.copy<16>(to + 4 * i, x + 4 * i, 16);
        for (int i = 4 * fours + lane; i < columns.count; i += kWarp) registers.rows.copy<sizeof(T)>(to + i, x + i, 4);
      }
      registers.rows.commit();
    }
  }

  // After a step's items: its rows are of no more use.
  FASTMLP_DEVICE void finish(Index step) {
    block.each([&](int thread, Registers& own) {
      fetch_ids(thread, step + 2);
      fetch_update(thread, step + 1);
      fetch_rows(thread, own, step + 1);  // ends groups of copies
    });
  }
};

}  // namespace fastmlp::cuda
