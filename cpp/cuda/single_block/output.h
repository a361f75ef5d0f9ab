// What follows a network's last product: softmax, the loss, and its gradient, of one row for each team of threads. Each
// thread has its own columns, so that nobody waits but for sums over a row, which the team's lanes exchange.
#pragma once

#include <cmath>

#include "cuda/block/by_kind.h"
#include "cuda/block/reduce.h"

namespace fastmlp::cuda {

// Registers that the sums over a row take.
template <class T>
struct OutputRegisters {
  T largest, sum, sum_t, dot;
  double loss;  // of all the rows so far, of the thread's part
};

template <class T>
struct OutputArgs {
  bool has_row_activation, logits;
  bool derivative;  // dz has the derivative of the last element-wise activation, and the gradient wants it
  RowActivationKind row_activation;
  LossKind loss;
  bool class_loss;
  Real<T> delta, scale;  // scale: what the gradient is multiplied by
  int columns, log_lanes;
};

// A row of matrices in shared memory: y is the output before the row activation, and is overwritten; dz receives the
// gradient of that; t, dense targets, is negative where there are classes. All are places of the row's first values.
template <class T>
struct OutputRow {
  T* values;
  bool present;
  int y_at, dz_at, t_at;
  Index target_class;

  FASTMLP_DEVICE T& y(int c) const { return values[y_at + c]; }
  FASTMLP_DEVICE T& dz(int c) const { return values[dz_at + c]; }
  FASTMLP_DEVICE bool dense() const { return t_at >= 0; }
  FASTMLP_DEVICE Real<T> target(int c) const {
    return dense() ? Real<T>(values[t_at + c]) : Real<T>(c == target_class);
  }
};

// find(thread) gives a thread's OutputRow.
template <class T, class K, class Find>
class Output {
  using V = Real<T>;
  using Registers = typename K::Registers;

 public:
  FASTMLP_DEVICE Output(Block<K>& block, const OutputArgs<T>& args, const Find& find)
      : block_(block), args_(args), find_(find) {}

  FASTMLP_DEVICE void run() {
    if (args_.has_row_activation) softmax();
    if (args_.class_loss)
      with_class_loss(args_.loss, [&](auto loss) { this->class_loss(loss); });
    else
      with_element_loss(args_.loss, [&](auto loss) { this->element_loss(loss); });
    if (args_.has_row_activation && !args_.logits) softmax_backward();
  }

 private:
  // body(row, column, its registers) for each thread's columns, and start(row, registers) before.
  template <class Start, class Body>
  FASTMLP_DEVICE void for_columns(const Start& start, const Body& body) {
    block_.each_alone([&](int thread, Registers& own) {
      const OutputRow<T> row = find_(thread);
      start(row, own);
      if (!row.present) return;
      for (int c = thread & ((1 << args_.log_lanes) - 1); c < args_.columns; c += 1 << args_.log_lanes)
        body(row, c, own);
    });
  }
  template <class Op, auto field>
  FASTMLP_DEVICE void over_row() {
    combine<Op, field>(block_, 1 << args_.log_lanes);
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
                  const V y = row.y(c), t = row.target(c);
                  own.loss += static_cast<double>(Loss::value(y, t, args_.delta).value);
                  set_gradient(row, c, element_loss_gradient<Loss>(y, t, args_.delta, args_.logits));
                });
  }

  template <class Loss>
  FASTMLP_DEVICE void class_loss(Loss) {
    // Cross-entropy sees outputs less the largest of their row, which changes neither loss nor gradient.
    if constexpr (Loss::kNeedsLogSumExp) sum_exponentials();
    for_columns([](const auto&, Registers& own) { own.sum_t = own.dot = 0; },
                [](const auto& row, int c, Registers& own) {
                  const V y = Loss::kNeedsLogSumExp ? V(row.y(c)) - V(own.largest) : V(row.y(c)), t = row.target(c);
                  own.sum_t += t.value;
                  // A class that is not the target adds nothing, whatever its output is.
                  own.dot += (row.dense() ? t * y : select(t == V(0), t, y)).value;
                });
    over_row<Sum, &Registers::sum_t>();
    over_row<Sum, &Registers::dot>();
    for_columns([](const auto&, Registers&) {},
                [&](const auto& row, int c, Registers& own) {
                  const V y = row.y(c), t = row.target(c), sum_t = own.sum_t, dot = own.dot;
                  if constexpr (Loss::kNeedsLogSumExp) {
                    const V largest = own.largest, sum = own.sum;
                    if (c == 0) own.loss += static_cast<double>(Loss::value(sum_t, dot, log(sum)).value);
                    set_gradient(row, c, Loss::gradient(exp(y - largest) / sum, t, sum_t, V(0)));
                  } else {
                    if (c == 0) own.loss += static_cast<double>(Loss::value(sum_t, dot, V(0)).value);
                    set_gradient(row, c,
                                 args_.logits ? Loss::logit_gradient(y, t, sum_t) : Loss::gradient(y, t, sum_t, V(0)));
                  }
                });
  }

  FASTMLP_DEVICE void set_gradient(const OutputRow<T>& row, int c, V gradient) {
    gradient = gradient * args_.scale;
    row.dz(c) = (args_.derivative ? gradient * V(row.dz(c)) : gradient).value;
  }

  Block<K>& block_;
  const OutputArgs<T>& args_;
  const Find& find_;
};

}  // namespace fastmlp::cuda
