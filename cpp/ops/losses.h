// The losses: value and gradient of one element, each formula once.
//
// Element-wise losses map an output y and a target t. Pair losses take two outputs, a mean and a variance, and a target.
// Class losses look at a whole row of outputs: their functors give the row's value and each output's gradient from a few
// sums over the row, which cpu/losses.h forms.
// `logit_gradient` is the gradient with respect to the input of the activation that made y, where the two cancel:
// sigmoid + BCE and log-softmax + NLL.
#pragma once

#include "ops/common.h"

// One row per loss: X(functor, "name in Python").
#define FASTMLP_ELEMENT_LOSSES(X)     \
  X(MSE, "mse")                       \
  X(L1, "l1")                         \
  X(Huber, "huber")                   \
  X(SmoothL1, "smooth_l1")            \
  X(BCE, "bce")                       \
  X(BCEWithLogits, "bce_with_logits") \
  X(PoissonNLL, "poisson_nll")        \
  X(PoissonNLLLog, "poisson_nll_log") \
  X(KLDiv, "kl_div")                  \
  X(KLDivLog, "kl_div_log")           \
  X(Quantile, "quantile")
#define FASTMLP_PAIR_LOSSES(X) X(GaussianNLL, "gaussian_nll")
#define FASTMLP_CLASS_LOSSES(X) \
  X(NLL, "nll")                 \
  X(CrossEntropy, "cross_entropy")
#define FASTMLP_LOSSES(X) FASTMLP_ELEMENT_LOSSES(X) FASTMLP_PAIR_LOSSES(X) FASTMLP_CLASS_LOSSES(X)

namespace fastmlp::ops {

// The options of element and pair losses, as far as their formulas go.
template <class V>
struct LossParams {
  V alpha;    // Huber's delta, smooth L1's beta; what is added to a rate, or the least variance, of the likelihoods
  bool full;  // likelihoods: with the terms that do not depend on the output
  V column;   // of the value's column: BCEWithLogits's weight of positive targets, or the quantile
};

struct MSE {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>&) {
    return (y - t) * (y - t);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, const LossParams<V>&) {
    return V(2) * (y - t);
  }
};

// |y - t|; the subgradient at 0 is 0.
struct L1 {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>&) {
    return abs(y - t);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, const LossParams<V>&) {
    const V e = y - t;
    return sign(e);
  }
};

// e^2/2 up to |e| = delta, delta (|e| - delta/2) beyond (Huber, 1964).
struct Huber {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>& p) {
    const V e = abs(y - t), delta = p.alpha;
    return select(e <= delta, V(0.5) * e * e, delta * (e - V(0.5) * delta));
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, const LossParams<V>& p) {
    const V e = y - t, delta = p.alpha;
    return select(e > delta, delta, select(e < -delta, -delta, e));
  }
};

// e^2 / (2 beta) below |e| = beta, |e| - beta/2 beyond (Girshick, 2015). With beta 0 it is L1.
struct SmoothL1 {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>& p) {
    const V e = abs(y - t), beta = p.alpha;
    return select(e < beta, V(0.5) * e * e / beta, e - V(0.5) * beta);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, const LossParams<V>& p) {
    const V e = y - t, beta = p.alpha;
    return select(abs(e) < beta, e / beta, sign(e));
  }
};

// -(t log y + (1 - t) log(1 - y)), logarithms no less than -100, as in torch.
struct BCE {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>&) {
    // Targets of 0 and 1 alone want one logarithm, of y or of 1 - y.
    if (!any((V(0) < t) & (t < V(1)))) return -max(V(-100), log_shifted(V(1) - t, select(V(0) < t, y, -y)));
    const V log_y = max(V(-100), log(y)), log_rest = max(V(-100), log1p(-y));
    return -fma(t, log_y, (V(1) - t) * log_rest);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, const LossParams<V>&) {
    return (y - t) / max(V(1e-12), y * (V(1) - y));
  }
  template <class V>
  static FASTMLP_FORMULA V logit_gradient(V y, V t) {
    return y - t;
  }
};

// The same of sigmoid(z), without forming it, targets of 1 counting `column` times:
// (1 - t) z - (1 + (column - 1) t) log sigmoid(z).
struct BCEWithLogits {
  template <class V>
  static FASTMLP_FORMULA V value(V z, V t, const LossParams<V>& p) {
    return fma(V(1) - t, z, -(fma(p.column - V(1), t, V(1)) * log_sigmoid(z)));
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V z, V t, const LossParams<V>& p) {
    return fma(p.column - V(1), t, V(1)) * sigmoid(z) - p.column * t;
  }
};

// The negative logarithm of a Poisson distribution's probability of t, with or without log t! by Stirling's formula
// (for t > 1), of a rate y, or of the rate's logarithm.
template <class V>
FASTMLP_FORMULA V log_factorial(V t, bool full) {
  if (!full) return V(0);
  return select(t > V(1), t * log(t) - t + V(0.5) * log(V(6.283185307179586) * t), V(0));
}
struct PoissonNLL {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>& p) {
    return (y - t * log(y + p.alpha)) + log_factorial(t, p.full);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, const LossParams<V>& p) {
    return V(1) - t / (y + p.alpha);
  }
};
struct PoissonNLLLog {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>& p) {
    return (exp(y) - t * y) + log_factorial(t, p.full);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, const LossParams<V>&) {
    return exp(y) - t;
  }
};

// A term t (log t - y) of the divergence of a distribution t from one whose logarithm is y (Kullback and Leibler, 1951);
// and the same where log t is given.
struct KLDiv {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>&) {
    return select(t == V(0), V(0), t * log(t)) - t * y;
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V, V t, const LossParams<V>&) {
    return -t;
  }
};
struct KLDivLog {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>&) {
    return exp(t) * (t - y);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V, V t, const LossParams<V>&) {
    return -exp(t);
  }
};

// q (t - y) where the target is above, (1 - q) (y - t) where it is below (Koenker and Bassett, 1978); the subgradient
// at 0 is 0.
struct Quantile {
  template <class V>
  static FASTMLP_FORMULA V value(V y, V t, const LossParams<V>& p) {
    const V e = t - y;
    return max((p.column - V(1)) * e, p.column * e);
  }
  template <class V>
  static FASTMLP_FORMULA V gradient(V y, V t, const LossParams<V>& p) {
    const V e = t - y;
    return select(e > V(0), -p.column, select(e < V(0), V(1) - p.column, e));
  }
};

// The negative log-likelihood of a normal distribution with this mean and variance, (log v + (y - t)^2 / v) / 2, with or
// without log(2 pi) / 2 (Nix and Weigend, 1994). Variances below alpha count as alpha; as in torch, their gradient is
// that of alpha itself.
struct GaussianNLL {
  template <class V>
  static FASTMLP_FORMULA V value(V mean, V variance, V t, const LossParams<V>& p) {
    const V v = max(p.alpha, variance), e = mean - t;
    return V(0.5) * (log(v) + e * e / v) + (p.full ? V(0.9189385332046727) : V(0));
  }
  template <class V>
  static FASTMLP_FORMULA V mean_gradient(V mean, V variance, V t, const LossParams<V>& p) {
    return (mean - t) / max(p.alpha, variance);
  }
  template <class V>
  static FASTMLP_FORMULA V variance_gradient(V mean, V variance, V t, const LossParams<V>& p) {
    const V v = max(p.alpha, variance), e = (mean - t) / v;
    return V(0.5) * (V(1) / v - e * e);
  }
};

// Class losses. t is the target probability of a class (1 or 0 where the target is a class index), smoothed and times the
// class's weight where there are such, and a row's sums are: sum_t = sum t, dot = sum t y, lse = log sum exp(y).

// Label smoothing by eps mixes a share of the uniform distribution over the classes in (Szegedy et al., 2016): t turns
// into kept * t + rest.
struct LabelSmoothing {
  double kept, rest;

  LabelSmoothing(double eps, double classes) : kept(1 - eps), rest(eps / classes) {}
};

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
