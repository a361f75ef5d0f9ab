// What follows a network's last product: softmax, the loss, and its gradient, of one row for each team of threads. Each
// thread has its own columns, so that nobody waits but for sums over a row, which the team's lanes exchange. A kernel says
// by the type of its rows where they lie: OutputRow's are in shared memory, those of tiny/ in a thread's registers.
#pragma once

#include <cmath>
#include <utility>

#include "cuda/block/by_kind.h"
#include "cuda/block/reduce.h"
#include "cuda/block/vectors.h"
#include "cuda/single_block/layout.h"

namespace fastmlp::cuda {

// Registers that the sums over a row take.
template <class T>
struct OutputRegisters {
  T largest, sum, sum_t, dot;
  T loss;        // of all the rows so far, of the thread's part
  double scale;  // of the step's loss and gradient
};

template <class T>
struct OutputArgs {
  bool has_row_activation;
  bool derivative;  // dz has the derivative of the last element-wise activation, and the gradient wants it
  RowActivationKind row_activation;
  LossKind loss;
  bool class_loss, pair_loss;
  LossTerms<T> terms;
  int columns, log_lanes;
};

template <class T>
OutputArgs<T> output_args(const SingleBlockTraining<T>& a, int log_lanes) {
  const SingleBlockLayer& last = a.layers[a.depth - 1];
  const bool derivative = !a.logits && !a.has_row_activation && last.activation.kind != ActivationKind::Identity;
  const int columns = static_cast<int>(last.out);
  return {a.has_row_activation,
          derivative,
          a.row_activation,
          a.loss.kind,
          is_class_loss(a.loss.kind),
          is_pair_loss(a.loss.kind),
          LossTerms<T>(a.loss, a.targets, columns, a.logits),
          columns,
          log_lanes};
}

// What each step's loss is multiplied by (LossSpec::scale), by its rows' shares where they differ.
struct StepScale {
  double fixed;
  bool by_shares;
  double terms;

  template <class T>
  StepScale(const LossSpec& loss, const Targets<T>& targets, Index rows, Index columns)
      : fixed(loss.scale(static_cast<double>(rows), columns)),
        by_shares(targets.has_shares() && loss.is_mean() && loss.whole == 0),
        terms(static_cast<double>(loss.terms_of_row(columns))) {}
  template <class T>
  StepScale(const SingleBlockTraining<T>& a, Index columns) : StepScale(a.loss, a.targets, a.rows, columns) {}

  // Into `scale` of all threads; share(registers, row) gives one of the shares.
  template <class K, class Share>
  FASTMLP_DEVICE void find(Block<K>& block, int rows, const Share& share) const {
    using Registers = typename K::Registers;
    block.each_alone([&](int thread, Registers& own) {
      own.scale = by_shares ? 0 : fixed;
      for (int r = thread; by_shares && r < rows; r += K::kThreads) own.scale += share(own, r);
    });
    if (!by_shares) return;
    combine<Sum, &Registers::scale>(block, K::kThreads);
    block.each_alone([&](int, Registers& own) { own.scale = own.scale > 0 ? 1 / (own.scale * terms) : 0; });
  }
};

// A row of matrices in shared memory, 2^log_lanes threads to each: y is the output before the row activation, and is overwritten; dz receives the
// gradient of that; t, dense targets, is negative where there are classes. All are places of the row's first values.
template <class T>
struct OutputRow {
  static constexpr bool kOneLane = false, kTakesRowActivations = true;
  template <class Loss>
  static constexpr bool kTakes = true;

  T* values;
  bool present;
  int y_at, dz_at, t_at;
  Index target_class;
  T weight;

  FASTMLP_DEVICE T& y(int c) const { return values[y_at + c]; }
  FASTMLP_DEVICE T& dz(int c) const { return values[dz_at + c]; }
  FASTMLP_DEVICE bool dense() const { return t_at >= 0; }
  FASTMLP_DEVICE Real<T> target(int c) const {
    return dense() ? Real<T>(values[t_at + c]) : Real<T>(c == target_class);
  }
  // body(column) for the columns of this thread.
  template <class Body>
  FASTMLP_DEVICE void for_columns(const OutputArgs<T>& args, int thread, const Body& body) const {
    FASTMLP_UNROLL_BY(1)
    for (int c = thread & ((1 << args.log_lanes) - 1); c < args.columns; c += 1 << args.log_lanes) body(c);
  }
};

// find(thread, registers) gives a thread's row: an OutputRow, or what has the same members.
template <class T, class K, class Find>
class Output {
  using V = Real<T>;
  using Registers = typename K::Registers;
  using Row = decltype(std::declval<const Find&>()(0, std::declval<Registers&>()));

 public:
  FASTMLP_DEVICE Output(Block<K>& block, const OutputArgs<T>& args, const Find& find)
      : block_(block), args_(args), find_(find) {}

  FASTMLP_DEVICE void run() {
    if constexpr (Row::kTakesRowActivations)
      if (args_.has_row_activation) softmax();
    if (args_.class_loss)
      with_class_loss(args_.loss, [&](auto loss) {
        if constexpr (Row::template kTakes<decltype(loss)>) this->class_loss(loss);
      });
    else if (args_.pair_loss)
      with_pair_loss(args_.loss, [&](auto loss) {
        if constexpr (Row::template kTakes<decltype(loss)>) this->pair_loss(loss);
      });
    else
      with_element_loss(args_.loss, [&](auto loss) {
        if constexpr (Row::template kTakes<decltype(loss)>) this->element_loss(loss);
      });
    if constexpr (Row::kTakesRowActivations)
      if (args_.has_row_activation && !args_.terms.logits) softmax_backward();
  }

 private:
  // body(row, column, its registers) for each thread's columns, and start(row, registers) before.
  template <class Start, class Body>
  FASTMLP_DEVICE void for_columns(const Start& start, const Body& body) {
    block_.each_alone([&](int thread, Registers& own) {
      const Row row = find_(thread, own);
      start(row, own);
      if (row.present) row.for_columns(args_, thread, [&](int c) { body(row, c, own); });
    });
  }
  template <class Op, auto field>
  FASTMLP_DEVICE void over_row() {
    if constexpr (!Row::kOneLane) combine<Op, field>(block_, 1 << args_.log_lanes);
  }

  FASTMLP_DEVICE void sum_exponentials() {
    for_columns([](const auto&, Registers& own) { own.largest = -T(INFINITY); },
                [](const auto& row, int c, Registers& own) { own.largest = max(V(row.y(c)), V(own.largest)).value; });
    over_row<Largest, &Registers::largest>();
    for_columns([](const auto&, Registers& own) { own.sum = 0; },
                [](const auto& row, int c, Registers& own) { own.sum += exp(V(row.y(c)) - V(own.largest)).value; });
    over_row<Sum, &Registers::sum>();
  }

  FASTMLP_DEVICE void softmax() {
    sum_exponentials();
    for_columns([](const auto&, Registers&) {},
                [&](const auto& row, int c, Registers& own) {
                  const V log_p = (V(row.y(c)) - V(own.largest)) - log(V(own.sum));
                  row.y(c) = (args_.row_activation == RowActivationKind::LogSoftmax ? log_p : exp(log_p)).value;
                });
  }

  // Softmax: y (dy - sum(dy y)).  Log-softmax: dy - exp(y) sum(dy).
  FASTMLP_DEVICE void softmax_backward() {
    const bool softmax = args_.row_activation == RowActivationKind::Softmax;
    for_columns([](const auto&, Registers& own) { own.sum = 0; },
                [&](const auto& row, int c, Registers& own) {
                  const V dy = row.dz(c);
                  own.sum = (softmax ? fma(dy, V(row.y(c)), V(own.sum)) : V(own.sum) + dy).value;
                });
    over_row<Sum, &Registers::sum>();
    for_columns([](const auto&, Registers&) {},
                [&](const auto& row, int c, Registers& own) {
                  const V dy = row.dz(c), y = row.y(c), sum = own.sum;
                  row.dz(c) = (softmax ? y * (dy - sum) : fnma(exp(y), sum, dy)).value;
                });
  }

  template <class Loss>
  FASTMLP_DEVICE void element_loss(Loss) {
    for_columns([](const auto&, Registers&) {},
                [&](const auto& row, int c, Registers& own) {
                  const V y = row.y(c), t = row.target(c), weight = V(row.weight) * args_.terms.weight(c);
                  const ops::LossParams<V> params = args_.terms.params(c);
                  add(own, Loss::value(y, t, params), weight);
                  set_gradient(row, c, own, element_loss_gradient<Loss>(y, t, params, args_.terms.logits), weight);
                });
  }

  // What lanes of a row have written is there for its other lanes.
  FASTMLP_DEVICE void meet() {
    block_.each_in_warp([](int, Registers&) {});
  }

  // The lane of a mean does its variance, too.
  template <class Loss>
  FASTMLP_DEVICE void pair_loss(Loss) {
    const int pairs = args_.columns / 2;
    if (args_.has_row_activation) meet();
    for_columns([](const auto&, Registers&) {},
                [&](const auto& row, int c, Registers& own) {
                  if (c >= pairs) return;
                  const V mean = row.y(c), variance = row.y(c + pairs), t = row.target(c), weight = row.weight;
                  const ops::LossParams<V> params = args_.terms.params(c);
                  add(own, Loss::value(mean, variance, t, params), weight);
                  set_gradient(row, c, own, Loss::mean_gradient(mean, variance, t, params), weight);
                  set_gradient(row, c + pairs, own, Loss::variance_gradient(mean, variance, t, params), weight);
                });
    if (args_.has_row_activation) meet();
  }

  template <class Loss>
  FASTMLP_DEVICE void class_loss(Loss) {
    // Cross-entropy sees outputs less the largest of their row, which changes neither loss nor gradient.
    if constexpr (Loss::kNeedsLogSumExp) sum_exponentials();
    for_columns([](const auto&, Registers& own) { own.sum_t = own.dot = 0; },
                [&](const auto& row, int c, Registers& own) {
                  const V y = Loss::kNeedsLogSumExp ? V(row.y(c)) - V(own.largest) : V(row.y(c)), t = target(row, c);
                  own.sum_t += t.value;
                  // A class that is not the target adds nothing, whatever its output is.
                  own.dot += (row.dense() ? t * y : select(t == V(0), t, t * y)).value;
                });
    over_row<Sum, &Registers::sum_t>();
    over_row<Sum, &Registers::dot>();
    for_columns([](const auto&, Registers&) {},
                [&](const auto& row, int c, Registers& own) {
                  const V y = row.y(c), t = target(row, c), sum_t = own.sum_t, dot = own.dot, weight = row.weight;
                  if constexpr (Loss::kNeedsLogSumExp) {
                    const V largest = own.largest, sum = own.sum;
                    if (c == 0) add(own, Loss::value(sum_t, dot, log(sum)), weight);
                    set_gradient(row, c, own, Loss::gradient(ratio(exp(y - largest), sum), t, sum_t, V(0)), weight);
                  } else {
                    if (c == 0) add(own, Loss::value(sum_t, dot, V(0)), weight);
                    const bool logits = args_.terms.logits;
                    set_gradient(row, c, own,
                                 logits ? Loss::logit_gradient(y, t, sum_t) : Loss::gradient(y, t, sum_t, V(0)),
                                 weight);
                  }
                });
  }

  FASTMLP_DEVICE V target(const Row& row, int c) const { return args_.terms.class_target(row.target(c), c); }

  FASTMLP_DEVICE void add(Registers& own, V value, V weight) { own.loss += weighted<T>(value, weight).value; }
  FASTMLP_DEVICE void set_gradient(const Row& row, int c, const Registers& own, V gradient, V weight) {
    gradient = weighted<T>(gradient * V(own.scale), weight);
    row.dz(c) = (args_.derivative ? gradient * V(row.dz(c)) : gradient).value;
  }

  Block<K>& block_;
  const OutputArgs<T>& args_;
  const Find& find_;
};

}  // namespace fastmlp::cuda
