// The losses: value and gradient of one element, each formula once.
//
// Element-wise losses map an output y and a target t. Class losses look at a whole row of outputs: their functors give
// the row's value and each output's gradient from a few sums over the row, which cpu/rowwise.h forms.
// `logit_gradient` is the gradient with respect to the input of the activation that made y, where the two cancel:
// sigmoid + BCE and log-softmax + NLL.
#pragma once

#include "ops/common.h"

// One row per loss: X(functor, "name in Python").
#define FASTMLP_ELEMENT_LOSSES(X) \
  X(MSE, "mse")                   \
  X(L1, "l1")                     \
  X(Huber, "huber")               \
  X(BCE, "bce")                   \
  X(BCEWithLogits, "bce_with_logits")
#define FASTMLP_CLASS_LOSSES(X) \
  X(NLL, "nll")                 \
  X(CrossEntropy, "cross_entropy")
#define FASTMLP_LOSSES(X) FASTMLP_ELEMENT_LOSSES(X) FASTMLP_CLASS_LOSSES(X)

namespace fastmlp::ops {

struct MSE {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, V) {
    return (y - t) * (y - t);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, V) {
    return V(2) * (y - t);
  }
};

// |y - t|; the subgradient at 0 is 0.
struct L1 {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, V) {
    return abs(y - t);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, V) {
    const V e = y - t;
    return select(e > V(0), V(1), select(e < V(0), V(-1), e));
  }
};

// e^2/2 up to |e| = delta, delta (|e| - delta/2) beyond.
struct Huber {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, V delta) {
    const V e = abs(y - t);
    return select(e <= delta, V(0.5) * e * e, delta * (e - V(0.5) * delta));
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, V delta) {
    const V e = y - t;
    return select(e > delta, delta, select(e < -delta, -delta, e));
  }
};

// -(t log y + (1 - t) log(1 - y)), logarithms no less than -100, as in torch.
struct BCE {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, V) {
    // Targets of 0 and 1 alone want one logarithm, of y or of 1 - y.
    if (!any((V(0) < t) & (t < V(1)))) return -max(V(-100), log_shifted(V(1) - t, select(V(0) < t, y, -y)));
    const V log_y = max(V(-100), log(y)), log_rest = max(V(-100), log1p(-y));
    return -fma(t, log_y, (V(1) - t) * log_rest);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, V) {
    return (y - t) / max(V(1e-12), y * (V(1) - y));
  }
  template <class V>
  static FASTMLP_FORMULA V logit_gradient(V y, V t) {
    return y - t;
  }
};

// The same of sigmoid(z), without forming it: (1 - t) z - log sigmoid(z).
struct BCEWithLogits {
  template <class V>
  static FASTMLP_FORMULA V value(V z, V t, V) {
    return fma(V(1) - t, z, -log_sigmoid(z));
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V z, V t, V) {
    return sigmoid(z) - t;
  }
};

// Class losses. t is the target probability of a class (1 or 0 where the target is a class index), and
// a row's sums are: sum_t = sum t, dot = sum t y, lse = log sum exp(y).

// -sum t y on log-probabilities y.
struct NLL {
  static constexpr bool kNeedsLogSumExp = false;
  template <class V>
  static FASTMLP_FORMULA V value(V, V dot, V) {
    return -dot;
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V, V t, V, V) {
    return -t;
  }
  template <class V>
  static FASTMLP_FORMULA V logit_gradient(V y, V t, V sum_t) {
    return fma(exp(y), sum_t, -t);
  }
};

// -sum t log softmax(y).
struct CrossEntropy {
  static constexpr bool kNeedsLogSumExp = true;
  template <class V>
  static FASTMLP_FORMULA V value(V sum_t, V dot, V lse) {
    return fma(sum_t, lse, -dot);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V probability, V t, V sum_t, V) {
    return fma(probability, sum_t, -t);
  }
};

}  // namespace fastmlp::ops
