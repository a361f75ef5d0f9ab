// Training a whole network in one launch: a block takes all steps of one network, which lies in its shared memory with
// its optimizer's states. Many networks of one shape take a block each.
//
// A step has three phases with a barrier of the block after each, whatever the network's depth:
//   1. rows: teams of a warp's lanes take rows of the batch through the network and back, down to the gradient of each
//      layer's sums; they wait for each other within warps only: once for each layer forward, and once for each but the
//      first back. The loss's terms are added up on the way.
//   2. gradients: each thread sums a few values of the weights' gradients over the rows, or over a part of them;
//   3. update: each thread adds up the parts of its values, and applies the rule to them.
// That is 3 barriers of the block and, for L layers, 2 L of a warp. While they run, the rows, row numbers and constants of
// the next step are on their way. A phase of xor (2-2-1, a single warp) should take 100 to 200 cycles, a step less than a
// microsecond: an estimate, for no device was at hand to measure.
#include "cuda/block/by_kind.h"
#include "cuda/block/copy_async.h"
#include "cuda/block/step_constants.h"
#include "cuda/runtime/kernels.h"
#include "cuda/single_block/layout.h"
#include "cuda/single_block/output.h"
#include "cuda/single_block/product.h"

namespace fastmlp::cuda {

namespace {

template <class T, int threads>
struct Training {
  static constexpr int kThreads = threads, kLogThreads = log2_ceil(threads);
  using V = Real<T>;

  struct Params {
    BlockPlan plan;
    OutputArgs<T> output;
    const UpdateTarget<T>* parameters;
    StepScale scale;
    const SingleBlockRows<T>* data;
    Targets<T> targets;
    bool by_ids;
    Index row;
    Index steps;
    UpdateKind kind;
    const Update* updates;
    bool one_update;
    Index update_stride;
    double* losses;
  };
  using Registers = OutputRegisters<T>;

  Block<Training>& block;
  const Params& p;
  const BlockPlan& plan;
  T* const losses;  // of the warps
  const StepConstants<T> constants;
  SingleBlockRows<T>* const data;  // this network's
  Index *const ids, *const classes;
  T* const values;

  static FASTMLP_DEVICE void run(Block<Training>& block, const Params& p) {
    unsigned char* const shared = block.shared();
    Training training{block,
                      p,
                      p.plan,
                      reinterpret_cast<T*>(shared + p.plan.losses),
                      StepConstants<T>(shared + p.plan.constants),
                      reinterpret_cast<SingleBlockRows<T>*>(shared + p.plan.data),
                      reinterpret_cast<Index*>(shared + p.plan.ids),
                      reinterpret_cast<Index*>(shared + p.plan.classes),
                      reinterpret_cast<T*>(shared + p.plan.values)};
    training.begin();
    for (Index step = 0; step < p.steps; ++step) training.step(step);
    training.end();
  }

  // Parameters ---------------------------------------------------------------------------------------------------------

  // body(place in shared memory, number) for each value of a parameter.
  template <class Body>
  FASTMLP_DEVICE void for_parameter(int thread, const BlockLayer& layer, bool bias, const Body& body) {
    const int n = bias ? layer.out : layer.in * layer.out;
    FASTMLP_UNROLL_BY(1)
    for (int i = thread; i < n; i += kThreads) {
      const int row = i / layer.out;
      body(layer.weight.row(bias ? layer.in : row) + i - row * layer.out, i);
    }
  }

  // Where a parameter of this network, and its states, are in the device's memory.
  FASTMLP_DEVICE UpdateTarget<T> origin(int l, bool bias) const {
    return p.parameters[(block.index().x * plan.depth + l) * 2 + bias];
  }

  FASTMLP_DEVICE void load(int thread, int l, bool bias) {
    const BlockLayer& layer = plan.layers[l];
    if (bias && !layer.has_bias()) return;
    const UpdateTarget<T> from = origin(l, bias);
    const bool trained = bias ? layer.trains_bias : layer.trains_weight;
    for_parameter(thread, layer, bias, [&](int at, int i) {
      values[at] = from.value[i];
      for (int s = 0; s < 3; ++s)
        if (trained && plan.state[s]) values[plan.state[s] + at] = from.state[s][i];
    });
  }

  FASTMLP_DEVICE void keep(int thread, int l, bool bias) {
    const BlockLayer& layer = plan.layers[l];
    if (!(bias ? layer.trains_bias : layer.trains_weight)) return;
    const UpdateTarget<T> to = origin(l, bias);
    for_parameter(thread, layer, bias, [&](int at, int i) {
      to.value[i] = values[at];
      for (int s = 0; s < 3; ++s)
        if (plan.state[s]) to.state[s][i] = values[plan.state[s] + at];
    });
  }

  // The input of biases.
  FASTMLP_DEVICE void set_ones(int thread, const SharedMatrix& place, int column) {
    for (int r = thread; r < plan.rows; r += kThreads) values[place.row(r) + column] = 1;
  }

  FASTMLP_DEVICE void begin() {
    block.each([&](int thread, Registers&) {
      if (thread == 0) *data = p.data[block.index().x];
      for (int l = 0; l < plan.depth; ++l) {
        const BlockLayer& layer = plan.layers[l];
        load(thread, l, false);
        load(thread, l, true);
        if (l + 1 < plan.depth) set_ones(thread, layer.y, layer.out);
      }
      if (plan.layers[0].has_bias())
        for (const SharedMatrix& x : plan.x) set_ones(thread, x, plan.layers[0].in);
    });
    block.each([&](int thread, Registers&) {
      fetch_ids(thread, 0);
      if (plan.loads) fetch_ids(thread, 1);
      fetch_update(thread, 0);
      await_copies();
    });
    block.each([&](int thread, Registers&) {
      fetch_rows(thread, 0);
      await_copies();
      convert_update(thread, 0);
    });
  }

  FASTMLP_DEVICE void end() {
    block.each([&](int thread, Registers&) {
      for (int l = 0; l < plan.depth; ++l) {
        keep(thread, l, false);
        keep(thread, l, true);
      }
    });
  }

  // Batches ------------------------------------------------------------------------------------------------------------

  // Steps take turns with two buffers.
  FASTMLP_DEVICE int buffer(Index step) const { return plan.loads ? static_cast<int>(step & 1) : 0; }

  FASTMLP_DEVICE void fetch_ids(int thread, Index step) {
    if (!p.by_ids || step >= p.steps) return;
    Index* const to = ids + buffer(step) * plan.rows;
    const Index* const from = data->ids + p.row + step * plan.rows;
    for (int r = thread; r < plan.rows; r += kThreads) copy_async<sizeof(Index)>(to + r, from + r);
  }

  FASTMLP_DEVICE Index own_updates() const { return block.index().x * p.update_stride; }

  FASTMLP_DEVICE void fetch_update(int thread, Index step) {
    if (step < p.steps) constants.fetch(p.updates + own_updates(), step, thread, kThreads);
  }

  FASTMLP_DEVICE void convert_update(int thread, Index step) {
    if (thread == kThreads - 1) constants.convert(step);
  }

  // The row numbers have come.
  FASTMLP_DEVICE void fetch_rows(int thread, Index step) {
    if (step >= p.steps) return;
    const int turn = buffer(step), lanes = 1 << plan.log_lanes, lane = thread & (lanes - 1);
    const int in = plan.layers[0].in, out = p.output.columns;
    const SingleBlockRows<T> own = *data;
    for (int r = thread >> plan.log_lanes; r < plan.rows; r += kThreads >> plan.log_lanes) {
      const Index from = p.by_ids ? ids[turn * plan.rows + r] : p.row + step * plan.rows + r;
      for (int c = lane; c < in; c += lanes)
        copy_async<sizeof(T)>(values + plan.x[turn].row(r) + c, own.x + from * in + c);
      if (p.targets.dense)
        for (int c = lane; c < out; c += lanes)
          copy_async<sizeof(T)>(values + plan.targets[turn].row(r) + c, own.dense + from * out + c);
      else if (lane == 0)
        copy_async<sizeof(Index)>(classes + turn * plan.rows + r, own.classes + from);
      if (p.targets.weights && lane == 0)
        copy_async<sizeof(T)>(values + plan.weights + turn * plan.rows + r, own.weights + from);
    }
  }

  // A step -------------------------------------------------------------------------------------------------------------

  FASTMLP_DEVICE void step(Index step) {
    const int turn = buffer(step);
    block.each_alone([&](int thread, Registers& own) {
      if (plan.loads) {
        fetch_rows(thread, step + 1);
        fetch_ids(thread, step + 2);
      }
      if (!p.one_update) {
        if (step > 0) convert_update(thread, step);
        fetch_update(thread, step + 1);
      }
      own.loss = 0;
    });
    p.scale.find(block, plan.rows, [&](const Registers&, int r) { return share(turn, r); });
    const int tile = (kThreads >> plan.log_lanes) * plan.row_tile;
    for (int first = 0; first < plan.rows; first += tile) {
      for (int l = 0; l < plan.depth; ++l) forward(l, l > 0 ? plan.layers[l - 1].y : plan.x[turn], first);
      output(turn, first);
      for (int l = plan.depth - 1; l > plan.lowest; --l) backward(l, first);
    }
    combine<Sum, &Registers::loss>(block, kWarp);
    block.each([&](int thread, Registers& own) {
      if (thread % kWarp == 0) losses[thread / kWarp] = own.loss;
    });
    block.each([&](int thread, Registers& own) {
      for (int l = plan.lowest; l < plan.depth; ++l) {
        const BlockLayer& layer = plan.layers[l];
        const SharedMatrix& x = l > 0 ? plan.layers[l - 1].y : plan.x[turn];
        if (!layer.is_trained()) continue;
        if (plan.term_tile == 1)
          gradients<1>(thread, layer, x);
        else
          gradients<kTileRows<T>>(thread, layer, x);
      }
      if (thread == 0) keep_loss(step, own.scale);
    });
    block.each([&](int thread, Registers&) {
      update(thread);
      await_copies();
    });
  }

  // The row's share of a mean: Targets::share.
  FASTMLP_DEVICE double share(int turn, int r) const {
    const int at = turn * plan.rows + r;
    const double weight = p.targets.weights ? static_cast<double>(values[plan.weights + at]) : 1;
    const bool by_class = p.targets.classes && p.targets.column_weights;
    return by_class ? weight * static_cast<double>(p.targets.column_weights[classes[at]]) : weight;
  }

  // The j-th row of a thread's team among those from `first` on.
  FASTMLP_DEVICE int row(int thread, int first, int j) const {
    return first + (thread >> plan.log_lanes) + j * (kThreads >> plan.log_lanes);
  }
  FASTMLP_DEVICE int lane(int thread) const { return thread & ((1 << plan.log_lanes) - 1); }

  // body(row, column) for a thread's share of a matrix of so many columns: the values that `product` gives it.
  template <class Body>
  FASTMLP_DEVICE void for_own(int thread, int first, int columns, const Body& body) {
    for (int j = 0; j < plan.row_tile; ++j) {
      const int r = row(thread, first, j);
      if (r >= plan.rows) return;
      for (int c = lane(thread); c < columns; c += 1 << plan.log_lanes) body(r, c);
    }
  }

  // The rows from `first` on of left times the product's right side.
  template <int rows>
  FASTMLP_DEVICE void product(int thread, int first, const SharedMatrix& left, const BlockProduct& right,
                              const SharedMatrix& to) {
    const int own = row(thread, first, 0);
    if (own >= plan.rows) return;
    BlockRows<rows> place;
    for (int j = 0; j < rows; ++j) {
      const int r = row(thread, first, j);
      place.left[j] = left.row(r < plan.rows ? r : own);
      place.to[j] = r < plan.rows ? to.row(r) : -1;
    }
    multiply(values, right, place, lane(thread), plan.log_lanes);
  }
  FASTMLP_DEVICE void product(int thread, int first, const SharedMatrix& left, const BlockProduct& right,
                              const SharedMatrix& to) {
    if (plan.row_tile == 1)
      product<1>(thread, first, left, right, to);
    else
      product<kTileRows<T>>(thread, first, left, right, to);
  }

  // The activation and its derivative.
  FASTMLP_DEVICE void forward(int l, const SharedMatrix& x, int first) {
    const BlockLayer& layer = plan.layers[l];
    const BlockProduct weights{layer.terms, layer.out, 1, layer.weight.first, layer.weight.ld, 1, false};
    block.each_in_warp([&](int thread, Registers&) {
      product(thread, first, x, weights, layer.y);
      if (layer.activation.kind == ActivationKind::Identity) return;
      const auto params = activation_params<T>(layer.activation);
      with_activation(layer.activation.kind, [&](auto functor) {
        using F = decltype(functor);
        for_own(thread, first, layer.out, [&](int r, int c) {
          const V z = values[layer.y.row(r) + c], y = F::forward(z, params);
          values[layer.y.row(r) + c] = y.value;
          values[layer.dz.row(r) + c] = F::backward(V(1), F::kSavesInput ? z : y, params).value;
        });
      });
    });
  }

  FASTMLP_DEVICE void output(int turn, int first) {
    const BlockLayer& last = plan.layers[plan.depth - 1];
    for (int j = 0; j < plan.row_tile; ++j) {
      const auto find = [&](int thread, Registers&) {
        const int r = row(thread, first, j);
        if (r >= plan.rows) return OutputRow<T>{values, false, 0, 0, 0, 0, T(0)};
        return OutputRow<T>{values,
                            true,
                            last.y.row(r),
                            last.dz.row(r),
                            p.targets.dense ? plan.targets[turn].row(r) : -1,
                            p.targets.dense ? 0 : classes[turn * plan.rows + r],
                            p.targets.weights ? values[plan.weights + turn * plan.rows + r] : T(1)};
      };
      Output<T, Training, decltype(find)>(block, p.output, find).run();
    }
    block.each_in_warp([](int, Registers&) {});
  }

  // From layer l's dz to that of the layer before.
  FASTMLP_DEVICE void backward(int l, int first) {
    const BlockLayer &layer = plan.layers[l], &below = plan.layers[l - 1];
    const bool scaled = below.activation.kind != ActivationKind::Identity;
    const BlockProduct weights{layer.out, layer.in, 1, layer.weight.first, 1, layer.weight.ld, scaled};
    block.each_in_warp([&](int thread, Registers&) { product(thread, first, layer.dz, weights, below.dz); });
  }

  // A thread's share of dW = x^T dz (and of the bias's gradient) over its part of the batch.
  template <int tile>
  FASTMLP_DEVICE void gradients(int thread, const BlockLayer& layer, const SharedMatrix& x) {
    const int log_of_part = kLogThreads - plan.log_parts, part = thread >> log_of_part;
    const int teams = 1 << (log_of_part - layer.log_lanes);
    const int team = (thread >> layer.log_lanes) & (teams - 1), lane = thread & ((1 << layer.log_lanes) - 1);
    const int rows = (plan.rows + (1 << plan.log_parts) - 1) >> plan.log_parts, begin = part * rows;
    const int left = plan.rows - begin;
    const BlockProduct dz{left < rows ? left : rows, layer.out, x.ld, layer.dz.row(begin), layer.dz.ld, 1, false};
    const int to = plan.partial + part * plan.parameters;
    for (int first = team; first < layer.terms; first += tile * teams) {
      BlockRows<tile> place;
      for (int j = 0; j < tile; ++j) {
        const int term = first + j * teams;
        place.left[j] = x.row(begin) + (term < layer.terms ? term : first);
        place.to[j] = term < layer.terms ? to + layer.weight.row(term) : -1;
      }
      multiply(values, dz, place, lane, layer.log_lanes);
    }
  }

  FASTMLP_DEVICE void keep_loss(Index step, double scale) {
    double sum = 0;
    for (int warp = 0; warp < kThreads / kWarp; ++warp) sum += static_cast<double>(losses[warp]);
    p.losses[block.index().x * p.steps + step] = sum * scale;
  }

  FASTMLP_DEVICE void update(int thread) {
    UpdateTarget<T> target{values, {nullptr, nullptr, nullptr}};
    for (int s = 0; s < 3; ++s)
      if (plan.state[s]) target.state[s] = values + plan.state[s];
    with_update(p.kind, [&](auto formula) {
      const ops::UpdateValues<V> of_step = *constants.rule;
      FASTMLP_UNROLL_BY(1)
      for (int range = 0; range < plan.range_count; ++range) {
        FASTMLP_UNROLL_BY(1)
        for (int i = plan.ranges[range].begin + thread; i < plan.ranges[range].end; i += kThreads) {
          V sum = 0;
          for (int part = 0; part < 1 << plan.log_parts; ++part)
            sum += values[plan.partial + part * plan.parameters + i];
          update_value(formula, target, i, sum, of_step);
        }
      }
    });
  }
};

template <class T, int threads>
void launch_training(const SingleBlockTraining<T>& a, const BlockPlan& plan, Stream stream) {
  using K = Training<T, threads>;
  launch<K>({static_cast<int>(a.models)}, static_cast<std::size_t>(plan.bytes),
            {plan, output_args(a, plan.log_lanes), a.parameters, StepScale(a, a.layers[a.depth - 1].out), a.data,
             a.targets, a.by_ids, a.row, a.steps, a.rule, a.updates, a.one_update, a.update_stride, a.losses},
            stream);
}

}  // namespace

template <class T>
bool trains_in_block(const SingleBlockTraining<T>& a) {
  BlockPlan plan;
  if (!plan_block(a, plan) || !worth_a_block(a)) return false;
  // The derivative of another activation below a softmax has no place.
  return !a.has_row_activation || plan.layers[a.depth - 1].activation.kind == ActivationKind::Identity;
}

template <class T>
void train_in_block(const SingleBlockTraining<T>& a, const Context& context) {
  BlockPlan plan;
  plan_block(a, plan);
  switch (plan.threads) {
    case 32:
      return launch_training<T, 32>(a, plan, context.stream);
    case 128:
      return launch_training<T, 128>(a, plan, context.stream);
    default:
      return launch_training<T, kMostBlockThreads>(a, plan, context.stream);
  }
}

#define FASTMLP_INSTANTIATE(T)                                     \
  template bool trains_in_block<T>(const SingleBlockTraining<T>&); \
  template void train_in_block<T>(const SingleBlockTraining<T>&, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
