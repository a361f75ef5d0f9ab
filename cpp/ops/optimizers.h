// The optimizers: one element's update, each formula once, with torch's mathematics.
//
// `apply(w, g, s, c)` takes the weight, its gradient and kStates state values (updated in place) and returns the new
// weight; c are UpdateValues, or PlainUpdateValues. Plain constants of a rule that is kFrequent have kernels of their own
// on the CPU. Where other work should fit between, `apply` has two halves: `prepare` brings the states up to date, of which
// plain constants have kPlainStates, and `step` takes what it returns, and the first state. The constants hold for one
// step; core/optimizer.cpp makes them from the options and the step number.
#pragma once

#include "ops/common.h"

// One row per update rule: X(functor).
#define FASTMLP_UPDATES(X) \
  X(SGD)                   \
  X(SGDMomentum)           \
  X(Adam)                  \
  X(RMSprop)               \
  X(NAdam)                 \
  X(Adagrad)               \
  X(Lion)

namespace fastmlp::ops {

// Numbers of one step, already combined. Unused ones are neutral (0, or 1 for factors).
struct UpdateConstants {
  double lr = 0;              // the step size, with Adam's first bias correction in it
  double sign = 1;            // -1 to maximize
  double l2 = 0;              // weight decay added to the gradient
  double keep = 1;            // decoupled weight decay (AdamW, NAdam, Lion): w *= keep
  double momentum = 0;        // SGD, RMSprop; NAdam's share of the mean gradient in the step
  double gradient_share = 1;  // SGD: 1 - dampening, and 1 at the first step; NAdam: of the gradient itself in the step
  double beta1 = 0;           // Adam, NAdam, Lion
  double beta2 = 0;           // Adam, NAdam, Lion; RMSprop's alpha
  double root_scale = 1;      // Adam, NAdam: 1 / sqrt(1 - beta2^step)
  double eps = 0;
  bool nesterov = false;
  bool amsgrad = false;
  bool centered = false;
  bool decays = false;     // l2 is not 0, times which an infinite weight would be NaN
  bool moves_far = false;  // of the running mean of gradients: to more than halfway

  // Whether none of these options is set.
  FASTMLP_FORMULA bool plain() const { return !(nesterov || amsgrad || centered || decays || moves_far); }
};

// The same as values of type V, made once per call.
template <class V>
struct UpdateValues {
  V lr, sign, l2, keep, momentum, gradient_share, beta1, rest1, beta2, rest2, root_scale, eps;
  bool nesterov, amsgrad, centered, decays, moves_far;

  explicit FASTMLP_FORMULA UpdateValues(const UpdateConstants& c)
      : lr(c.lr),
        sign(c.sign),
        l2(c.l2),
        keep(c.keep),
        momentum(c.momentum),
        gradient_share(c.gradient_share),
        beta1(c.beta1),
        rest1(1 - c.beta1),
        beta2(c.beta2),
        rest2(1 - c.beta2),
        root_scale(c.root_scale),
        eps(c.eps),
        nesterov(c.nesterov),
        amsgrad(c.amsgrad),
        centered(c.centered),
        decays(c.decays),
        moves_far(c.moves_far) {}

  // The gradient that the rule sees: of the right sign, with weight decay.
  FASTMLP_FORMULA V gradient(V g, V w) const { return decays ? fma(l2, w, sign * g) : sign * g; }
};

// Of plain constants: the compiler knows that no option is set.
template <class V>
struct PlainUpdateValues : UpdateValues<V> {
  static constexpr bool nesterov = false, amsgrad = false, moves_far = false, centered = false;

  explicit FASTMLP_FORMULA PlainUpdateValues(const UpdateConstants& c) : UpdateValues<V>(c) {}
  FASTMLP_FORMULA V gradient(V g, V) const { return this->sign * g; }
};

// from + (to - from) * rest, kept = 1 - rest: from the nearer end, so that a small `to` is not lost beside a large `from`.
template <class V>
FASTMLP_FORMULA V toward(V from, V to, V kept, V rest, bool far) {
  return far ? fnma(kept, to - from, to) : fma(rest, to - from, from);
}

struct SGD {
  static constexpr int kStates = 0;
  static constexpr bool kFrequent = true;
  template <class V, class Values>
  static FASTMLP_FORMULA V apply(V w, V g, V*, const Values& c) {
    return fnma(c.lr, c.gradient(g, w), w);
  }
};

// buffer = momentum buffer + (1 - dampening) g; the step is along buffer, or g + momentum buffer (Nesterov).
struct SGDMomentum {
  static constexpr int kStates = 1, kPlainStates = 1;
  static constexpr bool kFrequent = true;
  template <class V, class Values>
  static FASTMLP_FORMULA V apply(V w, V g, V* s, const Values& c) {
    return step(w, prepare(w, g, s, c), s, c);
  }
  template <class V, class Values>
  static FASTMLP_FORMULA V prepare(V w, V g, V* s, const Values& c) {
    g = c.gradient(g, w);
    s[0] = fma(c.momentum, s[0], c.gradient_share * g);
    return c.nesterov ? fma(c.momentum, s[0], g) : s[0];
  }
  template <class V, class Values>
  static FASTMLP_FORMULA V step(V w, V direction, const V*, const Values& c) {
    return fnma(c.lr, direction, w);
  }
};

// Kingma and Ba, arXiv 1412.6980; AMSGrad: Reddi et al., 2018; AdamW: Loshchilov and Hutter, arXiv 1711.05101.
struct Adam {
  static constexpr int kStates = 3, kPlainStates = 2;  // mean, mean square, largest mean square (AMSGrad only)
  static constexpr bool kFrequent = true;
  template <class V, class Values>
  static FASTMLP_FORMULA V apply(V w, V g, V* s, const Values& c) {
    return step(w, prepare(w, g, s, c), s, c);
  }
  template <class V, class Values>
  static FASTMLP_FORMULA V prepare(V w, V g, V* s, const Values& c) {
    g = c.gradient(g, w * c.keep);
    s[0] = toward(s[0], g, c.beta1, c.rest1, c.moves_far);
    s[1] = fma(c.beta2, s[1], c.rest2 * g * g);
    V square = s[1];
    if (c.amsgrad) square = s[2] = max(s[2], s[1]);
    return sqrt(square);
  }
  template <class V, class Values>
  static FASTMLP_FORMULA V step(V w, V root, const V* s, const Values& c) {
    return fnma(c.lr, s[0] / fma(root, c.root_scale, c.eps), w * c.keep);
  }
};

// Tieleman and Hinton, 2012; centered: Graves, arXiv 1308.0850.
struct RMSprop {
  static constexpr int kStates = 3;  // mean square, momentum buffer, mean (centered only)
  static constexpr bool kFrequent = true;
  template <class V, class Values>
  static FASTMLP_FORMULA V apply(V w, V g, V* s, const Values& c) {
    g = c.gradient(g, w);
    s[0] = fma(c.beta2, s[0], c.rest2 * g * g);
    V square = s[0];
    if (c.centered) {
      s[2] = toward(s[2], g, c.beta2, c.rest2, c.moves_far);
      square = max(V(0), fnma(s[2], s[2], square));  // rounding can make it negative
    }
    s[1] = fma(c.momentum, s[1], g / (sqrt(square) + c.eps));
    return fnma(c.lr, s[1], w);
  }
};

// Dozat, "Incorporating Nesterov momentum into Adam", 2016: the step is along the gradient and its mean, in shares that
// follow from the momenta of all steps.
struct NAdam {
  static constexpr int kStates = 2;  // mean, mean square
  static constexpr bool kFrequent = false;
  template <class V, class Values>
  static FASTMLP_FORMULA V apply(V w, V g, V* s, const Values& c) {
    w = w * c.keep;
    g = c.gradient(g, w);
    s[0] = fma(c.beta1, s[0], c.rest1 * g);
    s[1] = fma(c.beta2, s[1], c.rest2 * g * g);
    return fnma(c.lr, fma(c.momentum, s[0], c.gradient_share * g) / fma(sqrt(s[1]), c.root_scale, c.eps), w);
  }
};

// Duchi, Hazan and Singer, 2011.
struct Adagrad {
  static constexpr int kStates = 1;  // sum of squares
  static constexpr bool kFrequent = false;
  template <class V, class Values>
  static FASTMLP_FORMULA V apply(V w, V g, V* s, const Values& c) {
    g = c.gradient(g, w);
    s[0] = fma(g, g, s[0]);
    return fnma(c.lr, g / (sqrt(s[0]) + c.eps), w);
  }
};

// Chen et al., arXiv 2302.06675.
struct Lion {
  static constexpr int kStates = 1;  // mean
  static constexpr bool kFrequent = false;
  template <class V, class Values>
  static FASTMLP_FORMULA V apply(V w, V g, V* s, const Values& c) {
    w = w * c.keep;
    g = c.gradient(g, w);
    const V direction = fma(c.beta1, s[0], c.rest1 * g);
    s[0] = fma(c.beta2, s[0], c.rest2 * g);
    return fnma(c.lr, sign(direction), w);
  }
};

}  // namespace fastmlp::ops
