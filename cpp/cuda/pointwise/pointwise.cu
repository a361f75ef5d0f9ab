// Work on values one by one, limited by memory: activations, dropout, the gathering of a batch, and updates.
#include "core/dropout.h"
#include "cuda/block/batch_rows.h"
#include "cuda/block/by_kind.h"
#include "cuda/block/pack.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

template <class T>
struct ActivationForward {
  static constexpr int kThreads = 256;
  struct Params {
    Activation activation;
    Index n;
    const T* x;
    T* y;
    bool packs;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<ActivationForward>& block, const Params& p) {
    const auto constants = activation_params<T>(p.activation);
    block.each_alone([&](int thread, Registers&) {
      with_activation(p.activation.kind, [&](auto functor) {
        for_values<T>(block, thread, p.n, p.packs, [&](Index i, auto width) {
          auto values = load(p.x + i, width);
          for (T& v : values.value) v = decltype(functor)::forward(Real<T>(v), constants).value;
          store(p.y + i, values);
        });
      });
    });
  }
};

template <class T>
struct ActivationBackward {
  static constexpr int kThreads = 256, kBlocks = 1;  // rather few blocks than spilled registers
  struct Params {
    Activation activation;
    Index n;
    const T *dy, *saved;
    T* dx;
    bool packs;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<ActivationBackward>& block, const Params& p) {
    const auto constants = activation_params<T>(p.activation);
    block.each_alone([&](int thread, Registers&) {
      with_activation(p.activation.kind, [&](auto functor) {
        for_values<T>(block, thread, p.n, p.packs, [&](Index i, auto width) {
          auto values = load(p.dy + i, width);
          const auto saved = load(p.saved + i, width);
          for (int j = 0; j < decltype(width)::value; ++j)
            values.value[j] =
                decltype(functor)::backward(Real<T>(values.value[j]), Real<T>(saved.value[j]), constants).value;
          store(p.dx + i, values);
        });
      });
    });
  }
};

// x *= factor.
template <class T>
struct Scale {
  static constexpr int kThreads = 256;
  struct Params {
    Index n;
    T factor;
    T* x;
    bool packs;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<Scale>& block, const Params& p) {
    block.each_alone([&](int thread, Registers&) {
      for_values<T>(block, thread, p.n, p.packs, [&](Index i, auto width) {
        auto values = load(p.x + i, width);
        for (int j = 0; j < decltype(width)::value; ++j) values.value[j] *= p.factor;
        store(p.x + i, values);
      });
    });
  }
};

template <class T>
struct Add {
  static constexpr int kThreads = 256;
  struct Params {
    Index n;
    const T *a, *b;
    T* y;
    bool packs;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<Add>& block, const Params& p) {
    block.each_alone([&](int thread, Registers&) {
      for_values<T>(block, thread, p.n, p.packs, [&](Index i, auto width) {
        auto values = load(p.a + i, width);
        const auto others = load(p.b + i, width);
        for (int j = 0; j < decltype(width)::value; ++j) values.value[j] += others.value[j];
        store(p.y + i, values);
      });
    });
  }
};

// A thread takes the four values of a block of random words.
template <class T>
struct Dropout {
  static constexpr int kThreads = 256;
  struct Params {
    DropoutState state;
    Index layer;
    DropoutMap<T> map;
    Index first_four;  // the number of the first four values
    Index n;
    const T* x;
    T* y;
    bool packs;
    Step step;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<Dropout>& block, const Params& p) {
    constexpr int width = kPackBytes / sizeof(T);
    DropoutState state = p.state;
    if (p.step.replayed) state.step = *p.step.replay.counters + static_cast<std::uint64_t>(p.step.number());
    const Philox4x32 random = dropout_random(state, p.layer);
    block.each_alone([&](int thread, Registers&) {
      const Index threads = Index{block.grid().x} * kThreads;
      for (Index four = Index{block.index().x} * kThreads + thread; four * 4 < p.n; four += threads) {
        const Philox4x32::Block words = random.block(static_cast<std::uint64_t>(p.first_four + four));
        if (p.packs && four * 4 + 4 <= p.n) {
          for (int j = 0; j < 4; j += width) {
            auto values = load(p.x + four * 4 + j, Width<width>{});
            for (int k = 0; k < width; ++k) values.value[k] = p.map(words.word[j + k], values.value[k]);
            store(p.y + four * 4 + j, values);
          }
        } else {
          for (int j = 0; j < 4; ++j)
            if (four * 4 + j < p.n) p.y[four * 4 + j] = p.map(words.word[j], p.x[four * 4 + j]);
        }
      }
    });
  }
};

// 2^log_width threads a row.
template <class T>
struct Gather {
  static constexpr int kThreads = 256;
  struct Params {
    GatherArgs<T> args;
    int log_width;
    bool packs_x, packs_dense;
    BatchRows rows;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<Gather>& block, const Params& p) {
    const GatherArgs<T>& a = p.args;
    block.each_alone([&](int thread, Registers&) {
      const Index row = Index{block.index().x} * (kThreads >> p.log_width) + (thread >> p.log_width);
      if (row >= a.rows) return;
      const Index from = p.rows.of(row);
      const int width = 1 << p.log_width, lane = thread & (width - 1);
      const auto copy = [&](const T* source, T* to, Index n, bool packs) {
        for_values<T>(lane, width, n, packs, [&](Index i, auto pack) { store(to + i, load(source + i, pack)); });
      };
      if (a.x_rows) copy(a.x + from * a.in, a.x_rows + row * a.in, a.in, p.packs_x);
      if (a.targets.dense) copy(a.targets.dense + from * a.out, a.dense_rows + row * a.out, a.out, p.packs_dense);
      if (a.targets.classes && lane == 0) a.class_rows[row] = a.targets.classes[from];
      if (a.targets.weights && lane == 0) a.weight_rows[row] = a.targets.weights[from];
    });
  }
};

struct Advance {
  static constexpr int kThreads = kWarp;
  struct Params {
    std::int64_t *number, by;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<Advance>& block, const Params& p) {
    block.each_alone([&](int thread, Registers&) {
      if (thread == 0) *p.number += p.by;
    });
  }
};

template <class T>
struct ParameterUpdate {
  static constexpr int kThreads = 256, kBlocks = 1;  // rather few blocks than spilled registers
  struct Params {
    Update update;
    Step step;
    Index n;
    UpdateTarget<T> target;
    const T* grad;
    bool packs;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<ParameterUpdate>& block, const Params& p) {
    const ops::UpdateValues<Real<T>> constants(constants_of(p.update, p.step));
    block.each_alone([&](int thread, Registers&) {
      with_update(p.update.kind, [&](auto rule) {
        constexpr int states = decltype(rule)::kStates;
        for_values<T>(block, thread, p.n, p.packs, [&](Index i, auto width) {
          const auto grad = load(p.grad + i, width);
          auto value = load(p.target.value + i, width);
          decltype(value) state[3] = {};
          for (int s = 0; s < states; ++s)
            if (p.target.state[s]) state[s] = load(p.target.state[s] + i, width);
          for (int j = 0; j < decltype(width)::value; ++j) {
            Real<T> own[3] = {state[0].value[j], state[1].value[j], state[2].value[j]};
            value.value[j] =
                decltype(rule)::apply(Real<T>(value.value[j]), Real<T>(grad.value[j]), own, constants).value;
            for (int s = 0; s < states; ++s) state[s].value[j] = own[s].value;
          }
          store(p.target.value + i, value);
          for (int s = 0; s < states; ++s)
            if (p.target.state[s]) store(p.target.state[s] + i, state[s]);
        });
      });
    });
  }
};

}  // namespace

template <class T>
void activation_forward(const Activation& activation, Index n, const T* x, T* y, const Context& context) {
  using K = ActivationForward<T>;
  launch<K>({blocks_of_packs<K, T>(n)}, 0, {activation, n, x, y, aligned(x, y)}, context.stream);
}

template <class T>
void activation_backward(const Activation& activation, Index n, const T* dy, const T* saved, T* dx,
                         const Context& context) {
  using K = ActivationBackward<T>;
  launch<K>({blocks_of_packs<K, T>(n)}, 0, {activation, n, dy, saved, dx, aligned(dy, saved, dx)}, context.stream);
}

template <class T>
void add(Index n, const T* a, const T* b, T* y, const Context& context) {
  using K = Add<T>;
  launch<K>({blocks_of_packs<K, T>(n)}, 0, {n, a, b, y, aligned(a, b, y)}, context.stream);
}

template <class T>
void scale(Index n, T factor, T* x, const Context& context) {
  using K = Scale<T>;
  launch<K>({blocks_of_packs<K, T>(n)}, 0, {n, factor, x, aligned(x)}, context.stream);
}

void advance(std::int64_t* number, std::int64_t by, Stream stream) { launch<Advance>({1}, 0, {number, by}, stream); }

template <class T>
void dropout(const DropoutState& state, Index layer, double p, Index first, Index n, const T* x, T* y,
             const Context& context) {
  using K = Dropout<T>;
  launch<K>({blocks_for<K>((n + 3) / 4)}, 0,
            {state, layer, DropoutMap<T>(p), first / 4, n, x, y, aligned(x, y), Step(context)}, context.stream);
}

template <class T>
void gather(const GatherArgs<T>& a, const Context& context) {
  using K = Gather<T>;
  // Whether packs may begin at the first value of every row.
  const auto packs = [](const T* from, const T* to, Index columns) {
    return aligned(from, to) && columns * sizeof(T) % kPackBytes == 0;
  };
  const bool packs_x = packs(a.x, a.x_rows, a.in), packs_dense = packs(a.targets.dense, a.dense_rows, a.out);
  const Index values = a.x_rows ? a.in : a.targets.dense ? a.out : 1;
  const Index pieces = (a.x_rows ? packs_x : packs_dense) ? values * Index{sizeof(T)} / kPackBytes : values;
  int log_width = 0;
  while ((1 << log_width) < K::kThreads && (Index{2} << log_width) <= pieces) ++log_width;
  const int rows_of_block = K::kThreads >> log_width;
  const int blocks = static_cast<int>((a.rows + rows_of_block - 1) / rows_of_block);
  if (blocks == 0) return;
  launch<K>({blocks}, 0, {a, log_width, packs_x, packs_dense, BatchRows(true, a.ids, a.rows, context)}, context.stream);
}

template <class T>
void update(const Update& update, Index n, const UpdateTarget<T>& target, const T* grad, const Context& context) {
  using K = ParameterUpdate<T>;
  const bool packs = aligned(target.value, target.state[0], target.state[1], target.state[2], grad);
  launch<K>({blocks_of_packs<K, T>(n)}, 0, {update, Step(context), n, target, grad, packs}, context.stream);
}

#define FASTMLP_INSTANTIATE(T)                                                                              \
  template void activation_forward<T>(const Activation&, Index, const T*, T*, const Context&);              \
  template void activation_backward<T>(const Activation&, Index, const T*, const T*, T*, const Context&);   \
  template void add<T>(Index, const T*, const T*, T*, const Context&);                                      \
  template void scale<T>(Index, T, T*, const Context&);                                                     \
  template void dropout<T>(const DropoutState&, Index, double, Index, Index, const T*, T*, const Context&); \
  template void gather<T>(const GatherArgs<T>&, const Context&);                                            \
  template void update<T>(const Update&, Index, const UpdateTarget<T>&, const T*, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
