// The losses: values summed in double, block by block, and gradients.
#include "cuda/block/pack.h"
#include "cuda/pointwise/rows.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

// Where a loss goes: its value from a single block, from several their sums, which another launch adds up.
struct LossTarget {
  double* partial;
  double* value;
  double fixed_scale;
  const double* own_scale;  // of a batch whose rows have weights, which another launch has formed; else null
  Step step;

  FASTMLP_DEVICE double scale() const { return own_scale ? *own_scale : fixed_scale; }
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
          own.total * target.scale();
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

// What the mean of a batch divides by, from its rows' shares: LossSpec::scale.
template <class T>
struct ShareScale {
  static constexpr int kThreads = 256;
  struct Params {
    Targets<T> targets;
    Index rows;
    double terms;
    double* scale;
  };
  struct Registers {
    double total;
  };

  static FASTMLP_DEVICE void run(Block<ShareScale>& block, const Params& p) {
    block.each_alone([&](int thread, Registers& own) {
      own.total = 0;
      for (Index r = thread; r < p.rows; r += kThreads) own.total += p.targets.share(r);
    });
    combine<Sum, &Registers::total>(block, kThreads);
    block.each_alone([&](int thread, Registers& own) {
      if (thread == 0) *p.scale = own.total > 0 ? 1 / (own.total * p.terms) : 0;
    });
  }
};

template <class T>
struct ElementLoss {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    LossKind kind;
    LossTerms<T> terms;
    bool packs;
    Index n, columns;
    const T* y;
    Targets<T> targets;
    T* dy;
    LossTarget target;
  };
  struct Registers {
    double total;
  };

  static FASTMLP_DEVICE void run(Block<ElementLoss>& block, const Params& p) {
    const Targets<T>& targets = p.targets;
    const bool plain = !targets.weights && !targets.column_weights && !targets.column_params;
    const Real<T> scale = p.target.scale();
    block.each_alone([&](int thread, Registers& own) {
      own.total = 0;
      with_element_loss(p.kind, [&](auto functor) {
        using Loss = decltype(functor);
        for_values<T>(block, thread, p.n, p.packs, [&](Index i, auto width) {
          const auto y = load(p.y + i, width), t = load(targets.dense + i, width);
          auto dy = y;
          Real<T> sum = 0;
          for (int j = 0; j < decltype(width)::value; ++j) {
            const Real<T> yj = y.value[j], tj = t.value[j];
            const Index row = plain ? 0 : (i + j) / p.columns, column = plain ? 0 : i + j - row * p.columns;
            const Real<T> weight =
                (targets.weights ? Real<T>(targets.weights[row]) : Real<T>(1)) * p.terms.weight(column);
            const ops::LossParams<Real<T>> params = p.terms.params(column);
            sum += weighted<T>(Loss::value(yj, tj, params), weight);
            if (p.dy)
              dy.value[j] =
                  weighted<T>(element_loss_gradient<Loss>(yj, tj, params, p.terms.logits) * scale, weight).value;
          }
          own.total += static_cast<double>(sum.value);
          if (p.dy) store(p.dy + i, dy);
        });
      });
    });
    keep_loss(block, p.target);
  }
};

template <class T>
struct PairLoss {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    LossKind kind;
    LossTerms<T> terms;
    Index rows, pairs;
    const T* y;
    Targets<T> targets;
    T* dy;
    LossTarget target;
  };
  struct Registers {
    double total;
  };

  static FASTMLP_DEVICE void run(Block<PairLoss>& block, const Params& p) {
    const Real<T> scale = p.target.scale();
    const ops::LossParams<Real<T>> params = p.terms.params(0);
    block.each_alone([&](int thread, Registers& own) {
      own.total = 0;
      with_pair_loss(p.kind, [&](auto functor) {
        using Loss = decltype(functor);
        const Index step = Index{block.grid().x} * kThreads;
        for (Index i = Index{block.index().x} * kThreads + thread; i < p.rows * p.pairs; i += step) {
          const Index row = i / p.pairs, at = row * 2 * p.pairs + (i - row * p.pairs);
          const Real<T> mean = p.y[at], variance = p.y[at + p.pairs], t = p.targets.dense[at];
          const Real<T> weight = p.targets.weights ? Real<T>(p.targets.weights[row]) : Real<T>(1);
          own.total += static_cast<double>(weighted<T>(Loss::value(mean, variance, t, params), weight).value);
          if (!p.dy) continue;
          p.dy[at] = weighted<T>(Loss::mean_gradient(mean, variance, t, params) * scale, weight).value;
          p.dy[at + p.pairs] = weighted<T>(Loss::variance_gradient(mean, variance, t, params) * scale, weight).value;
        }
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
    LossTerms<T> terms;
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
      const Real<T> given = p.targets.classes ? Real<T>(c == target) : Real<T>(p.targets.dense[at]);
      body(at, Real<T>(p.y[at]), p.terms.class_target(given, c));
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
          dot.add((p.targets.classes ? select(t == Real<T>(0), t, t * (y - largest)) : t * (y - largest)).value);
        });
        own.sum_t = sum_t.value();
        own.dot = dot.value();
      });
      combine<Sum, &Registers::sum_t>(block, p.shape.width());
      combine<Sum, &Registers::dot>(block, p.shape.width());
      block.each_alone([&](int thread, Registers& own) {
        const Index row = first + (thread >> p.shape.log_width);
        if (row >= p.shape.rows) return;
        const Real<T> sum_t = own.sum_t, dot = own.dot, scale = p.target.scale();
        const Real<T> weight = p.targets.weights ? Real<T>(p.targets.weights[row]) : Real<T>(1);
        const Real<T> largest = Loss::kNeedsLogSumExp ? own.largest : T(0);
        const Real<T> sum = Loss::kNeedsLogSumExp ? own.sum : T(1), inverse = Real<T>(1) / sum;
        if ((thread & (p.shape.width() - 1)) == 0)
          own.total += static_cast<double>(weighted<T>(Loss::value(sum_t, dot, log(sum)), weight).value);
        if (!p.dy) return;
        for_targets(p, first, thread, [&](Index at, Real<T> y, Real<T> t) {
          Real<T> gradient;
          if constexpr (Loss::kNeedsLogSumExp)
            gradient = Loss::gradient(exp(y - largest) * inverse, t, sum_t, Real<T>(0));
          else
            gradient = p.terms.logits ? Loss::logit_gradient(y, t, sum_t) : Loss::gradient(y, t, sum_t, Real<T>(0));
          p.dy[at] = weighted<T>(gradient * scale, weight).value;
        });
      });
    });
    keep_loss(block, p.target);
  }
};

// A batch of so few values is worth one block alone, which spares the second launch.
constexpr Index kAlone = 32 * 1024;

template <class K>
int blocks_of_values(Index n, Index of_thread) {
  const int blocks = n <= kAlone ? 1 : blocks_for<K>(n / of_thread);
  return blocks < kMostRowBlocks ? blocks : kMostRowBlocks;
}

template <class T>
int launch_element_loss(const LossArgs<T>& a, const LossTerms<T>& terms, const LossTarget& target, Stream stream) {
  using K = ElementLoss<T>;
  const Index n = a.rows * a.columns;
  const int blocks = blocks_of_values<K>(n, kPackBytes / Index{sizeof(T)});
  launch<K>({blocks}, kCombineBytes<K>,
            {a.spec.kind, terms, aligned(a.y, a.targets.dense, a.dy), n, a.columns, a.y, a.targets, a.dy, target},
            stream);
  return blocks;
}

template <class T>
int launch_pair_loss(const LossArgs<T>& a, const LossTerms<T>& terms, const LossTarget& target, Stream stream) {
  using K = PairLoss<T>;
  const Index pairs = a.columns / 2;
  const int blocks = blocks_of_values<K>(a.rows * pairs, 1);
  launch<K>({blocks}, kCombineBytes<K>, {a.spec.kind, terms, a.rows, pairs, a.y, a.targets, a.dy, target}, stream);
  return blocks;
}

template <class T, class Loss>
int launch_class_loss(const LossArgs<T>& a, const LossTerms<T>& terms, const LossTarget& target, Stream stream) {
  using K = ClassLoss<T, Loss>;
  const bool alone = a.rows * a.columns <= kAlone;
  const Rows shape = share_rows(a.rows, a.columns, alone ? kRowThreads : many_threads());
  const int blocks = alone ? 1 : blocks_of(shape);
  launch<K>({blocks}, kCombineBytes<K>, {shape, terms, a.y, a.targets, a.dy, target}, stream);
  return blocks;
}

}  // namespace

Index loss_partials(Index) { return kMostRowBlocks + 1; }  // the last one: a batch's own scale

template <class T>
void loss(const LossArgs<T>& a, const Context& context) {
  LossTarget target{a.partial, a.value, a.spec.scale(static_cast<double>(a.rows), a.columns), nullptr, Step(context)};
  if (a.targets.has_shares() && a.spec.is_mean() && a.spec.whole == 0) {
    using K = ShareScale<T>;
    double* const scale = a.partial + kMostRowBlocks;
    launch<K>({1}, kCombineBytes<K>, {a.targets, a.rows, static_cast<double>(a.spec.terms_of_row(a.columns)), scale},
              context.stream);
    target.own_scale = scale;
  }
  const LossTerms<T> terms(a.spec, a.targets, a.columns, a.logits);
  int blocks = 0;
  switch (a.spec.kind) {
#define FASTMLP_CASE(functor, name)                                                \
  case LossKind::functor:                                                          \
    blocks = launch_class_loss<T, ops::functor>(a, terms, target, context.stream); \
    break;
    FASTMLP_CLASS_LOSSES(FASTMLP_CASE)
#undef FASTMLP_CASE
    default:
      blocks = is_pair_loss(a.spec.kind) ? launch_pair_loss(a, terms, target, context.stream)
                                         : launch_element_loss(a, terms, target, context.stream);
  }
  if (blocks > 1) launch<AddPartials>({1}, kCombineBytes<AddPartials>, {blocks, target}, context.stream);
}

template void loss<float>(const LossArgs<float>&, const Context&);
template void loss<double>(const LossArgs<double>&, const Context&);

}  // namespace fastmlp::cuda
