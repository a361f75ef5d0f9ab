// Work on whole rows: softmax, log-softmax, and the losses.
//
// A group of neighbouring threads shares a row: a few where rows are short or many, up to a whole block where there are
// few and long ones.
#include <cmath>

#include "cuda/block/by_kind.h"
#include "cuda/block/pack.h"
#include "cuda/block/reduce.h"
#include "cuda/pointwise/row_groups.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

constexpr int kMostBlocks = kMostRowBlocks;  // and partial sums of a loss

// The largest value of each row into `largest` of its threads, and the sum of exp(x - largest) into `sum`.
template <class T, class K>
FASTMLP_DEVICE void sum_exponentials(Block<K>& block, const Rows& shape, Index first, const T* x) {
  using Registers = typename K::Registers;
  block.each_alone([&](int thread, Registers& own) {
    Real<T> largest = -INFINITY;
    for_columns(shape, first, thread, [&](Index at, Index) { largest = max(largest, Real<T>(x[at])); });
    own.largest = largest.value;
  });
  combine<Largest, &Registers::largest>(block, shape.width());
  block.each_alone([&](int thread, Registers& own) {
    LongSum<T> sum;
    for_columns(shape, first, thread,
                [&](Index at, Index) { sum.add(exp(Real<T>(x[at]) - Real<T>(own.largest)).value); });
    own.sum = sum.value();
  });
  combine<Sum, &Registers::sum>(block, shape.width());
}

template <class T>
struct RowForward {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    RowActivationKind kind;
    Rows shape;
    const T* x;
    T* y;
  };
  struct Registers {
    T largest, sum;
  };

  static FASTMLP_DEVICE void run(Block<RowForward>& block, const Params& p) {
    for_row_tiles(block, p.shape, [&](Index first) {
      sum_exponentials(block, p.shape, first, p.x);
      block.each_alone([&](int thread, Registers& own) {
        const Real<T> largest = own.largest, log_sum = log(Real<T>(own.sum));
        for_columns(p.shape, first, thread, [&](Index at, Index) {
          const Real<T> log_p = (Real<T>(p.x[at]) - largest) - log_sum;
          p.y[at] = (p.kind == RowActivationKind::LogSoftmax ? log_p : exp(log_p)).value;
        });
      });
    });
  }
};

// Softmax: dx = y (dy - sum(dy y)).  Log-softmax: dx = dy - exp(y) sum(dy).
template <class T>
struct RowBackward {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    RowActivationKind kind;
    Rows shape;
    const T *dy, *y;
    T* dx;
  };
  struct Registers {
    T sum;
  };

  static FASTMLP_DEVICE void run(Block<RowBackward>& block, const Params& p) {
    const bool softmax = p.kind == RowActivationKind::Softmax;
    for_row_tiles(block, p.shape, [&](Index first) {
      block.each_alone([&](int thread, Registers& own) {
        LongSum<T> sum;
        for_columns(p.shape, first, thread, [&](Index at, Index) { sum.add(softmax ? p.dy[at] * p.y[at] : p.dy[at]); });
        own.sum = sum.value();
      });
      combine<Sum, &Registers::sum>(block, p.shape.width());
      block.each_alone([&](int thread, Registers& own) {
        const Real<T> sum = own.sum;
        for_columns(p.shape, first, thread, [&](Index at, Index) {
          const Real<T> dy = p.dy[at], y = p.y[at];
          p.dx[at] = (softmax ? y * (dy - sum) : fnma(exp(y), sum, dy)).value;
        });
      });
    });
  }
};

// Where a loss goes: its value from a single block, from several their sums, which another launch adds up.
struct LossTarget {
  double* partial;
  double* value;
  double scale;
  Step step;
};

template <class K>
FASTMLP_DEVICE void keep_loss(Block<K>& block, const LossTarget& target) {
  using Registers = typename K::Registers;
  combine<Sum, &Registers::total>(block, K::kThreads);
  block.each_alone([&](int thread, Registers& own) {
    if (thread != 0) return;
    if (block.grid().x > 1)
      target.partial[block.index().x] = own.total;
    else
      *(target.step.replayed ? target.step.replay.losses + target.step.number() : target.value) =
          own.total * target.scale;
  });
}

struct AddPartials {
  static constexpr int kThreads = 256;
  struct Params {
    int count;
    LossTarget target;
  };
  struct Registers {
    double total;
  };

  static FASTMLP_DEVICE void run(Block<AddPartials>& block, const Params& p) {
    block.each_alone([&](int thread, Registers& own) {
      own.total = 0;
      for (int i = thread; i < p.count; i += kThreads) own.total += p.target.partial[i];
    });
    keep_loss(block, p.target);
  }
};

template <class T>
struct ElementLoss {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    LossKind kind;
    double delta;
    bool logits, packs;
    Index n;
    const T *y, *t;
    T* dy;
    LossTarget target;
  };
  struct Registers {
    double total;
  };

  static FASTMLP_DEVICE void run(Block<ElementLoss>& block, const Params& p) {
    const Real<T> delta = p.delta, scale = p.target.scale;
    block.each_alone([&](int thread, Registers& own) {
      own.total = 0;
      with_element_loss(p.kind, [&](auto functor) {
        using Loss = decltype(functor);
        for_values<T>(block, thread, p.n, p.packs, [&](Index i, auto width) {
          const auto y = load(p.y + i, width), t = load(p.t + i, width);
          auto dy = y;
          Real<T> sum = 0;
          for (int j = 0; j < decltype(width)::value; ++j) {
            const Real<T> yj = y.value[j], tj = t.value[j];
            sum += Loss::value(yj, tj, delta);
            if (p.dy) dy.value[j] = (element_loss_gradient<Loss>(yj, tj, delta, p.logits) * scale).value;
          }
          own.total += static_cast<double>(sum.value);
          if (p.dy) store(p.dy + i, dy);
        });
      });
    });
    keep_loss(block, p.target);
  }
};

template <class T, class Loss>
struct ClassLoss {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    Rows shape;
    bool logits;
    const T* y;
    Targets<T> targets;
    T* dy;
    LossTarget target;
  };
  struct Registers {
    T sum_t, dot, largest, sum;
    double total;
  };

  // t of each output of the thread's share, by body(offset, y, t).
  template <class Body>
  static FASTMLP_DEVICE void for_targets(const Params& p, Index first, int thread, const Body& body) {
    const Index row = first + (thread >> p.shape.log_width);
    const Index target = p.targets.classes && row < p.shape.rows ? p.targets.classes[row] : -1;
    for_columns(p.shape, first, thread, [&](Index at, Index c) {
      body(at, Real<T>(p.y[at]), p.targets.classes ? Real<T>(c == target) : Real<T>(p.targets.dense[at]));
    });
  }

  static FASTMLP_DEVICE void run(Block<ClassLoss>& block, const Params& p) {
    block.each_alone([&](int, Registers& own) { own.total = 0; });
    for_row_tiles(block, p.shape, [&](Index first) {
      if constexpr (Loss::kNeedsLogSumExp) sum_exponentials(block, p.shape, first, p.y);
      block.each_alone([&](int thread, Registers& own) {
        LongSum<T> sum_t, dot;
        const Real<T> largest = Loss::kNeedsLogSumExp ? own.largest : T(0);
        for_targets(p, first, thread, [&](Index, Real<T> y, Real<T> t) {
          sum_t.add(t.value);
          // A class that is not the target adds nothing, whatever its output is.
          dot.add((p.targets.classes ? select(t == Real<T>(0), t, y - largest) : t * (y - largest)).value);
        });
        own.sum_t = sum_t.value();
        own.dot = dot.value();
      });
      combine<Sum, &Registers::sum_t>(block, p.shape.width());
      combine<Sum, &Registers::dot>(block, p.shape.width());
      block.each_alone([&](int thread, Registers& own) {
        const Real<T> sum_t = own.sum_t, dot = own.dot, scale = p.target.scale;
        const Real<T> largest = Loss::kNeedsLogSumExp ? own.largest : T(0);
        const Real<T> sum = Loss::kNeedsLogSumExp ? own.sum : T(1), inverse = Real<T>(1) / sum;
        if (first + (thread >> p.shape.log_width) < p.shape.rows && (thread & (p.shape.width() - 1)) == 0)
          own.total += static_cast<double>(Loss::value(sum_t, dot, log(sum)).value);
        if (!p.dy) return;
        for_targets(p, first, thread, [&](Index at, Real<T> y, Real<T> t) {
          Real<T> gradient;
          if constexpr (Loss::kNeedsLogSumExp)
            gradient = Loss::gradient(exp(y - largest) * inverse, t, sum_t, Real<T>(0));
          else
            gradient = p.logits ? Loss::logit_gradient(y, t, sum_t) : Loss::gradient(y, t, sum_t, Real<T>(0));
          p.dy[at] = (gradient * scale).value;
        });
      });
    });
    keep_loss(block, p.target);
  }
};

// A batch of so few values is worth one block alone, which spares the second launch.
constexpr Index kAlone = 32 * 1024;

template <class T>
int launch_element_loss(const LossArgs<T>& a, const LossTarget& target, Stream stream) {
  using K = ElementLoss<T>;
  const Index n = a.rows * a.columns;
  int blocks = n <= kAlone ? 1 : blocks_for<K>(n / (kPackBytes / Index{sizeof(T)}));
  if (blocks > kMostBlocks) blocks = kMostBlocks;
  launch<K>(
      {blocks}, kCombineBytes<K>,
      {a.spec.kind, a.spec.delta, a.logits, aligned(a.y, a.targets.dense, a.dy), n, a.y, a.targets.dense, a.dy, target},
      stream);
  return blocks;
}

template <class T, class Loss>
int launch_class_loss(const LossArgs<T>& a, const LossTarget& target, Stream stream) {
  using K = ClassLoss<T, Loss>;
  const bool alone = a.rows * a.columns <= kAlone;
  const Rows shape = share_rows(a.rows, a.columns, alone ? kRowThreads : many_threads());
  const int blocks = alone ? 1 : blocks_of(shape);
  launch<K>({blocks}, kCombineBytes<K>, {shape, a.logits, a.y, a.targets, a.dy, target}, stream);
  return blocks;
}

}  // namespace

template <class T>
void row_forward(RowActivationKind kind, Index rows, Index columns, const T* x, T* y, const Context& context) {
  using K = RowForward<T>;
  const Rows shape = share_rows(rows, columns, many_threads());
  launch<K>({blocks_of(shape)}, kCombineBytes<K>, {kind, shape, x, y}, context.stream);
}

template <class T>
void row_backward(RowActivationKind kind, Index rows, Index columns, const T* dy, const T* y, T* dx,
                  const Context& context) {
  using K = RowBackward<T>;
  const Rows shape = share_rows(rows, columns, many_threads());
  launch<K>({blocks_of(shape)}, kCombineBytes<K>, {kind, shape, dy, y, dx}, context.stream);
}

Index loss_partials(Index) { return kMostBlocks; }

template <class T>
void loss(const LossArgs<T>& a, const Context& context) {
  // A mean is one over elements, or over rows for class losses.
  const Index count = is_class_loss(a.spec.kind) ? a.rows : a.rows * a.columns;
  const LossTarget target{a.partial, a.value, a.spec.mean ? 1.0 / static_cast<double>(count) : 1.0, Step(context)};
  int blocks = 0;
  switch (a.spec.kind) {
#define FASTMLP_CASE(functor, name)                                         \
  case LossKind::functor:                                                   \
    blocks = launch_class_loss<T, ops::functor>(a, target, context.stream); \
    break;
    FASTMLP_CLASS_LOSSES(FASTMLP_CASE)
#undef FASTMLP_CASE
    default:
      blocks = launch_element_loss(a, target, context.stream);
  }
  if (blocks > 1) launch<AddPartials>({1}, kCombineBytes<AddPartials>, {blocks, target}, context.stream);
}

#define FASTMLP_INSTANTIATE(T)                                                                            \
  template void row_forward<T>(RowActivationKind, Index, Index, const T*, T*, const Context&);            \
  template void row_backward<T>(RowActivationKind, Index, Index, const T*, const T*, T*, const Context&); \
  template void loss<T>(const LossArgs<T>&, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
