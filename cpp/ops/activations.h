// The element-wise activations: forward and backward, each formula once.
//
// `backward(dy, saved, p)` returns dy * f'(z), where `saved` is the output f(z), or the input z where
// `kSavesInput` says that the output does not determine the derivative well enough.
// Row-wise activations (softmax, log-softmax) need whole rows; their place is cpu/rowwise.h.
#pragma once

#include "ops/common.h"

// One row per activation: X(functor, "name in Python").
#define FASTMLP_ACTIVATIONS(X)  \
  X(Identity, "identity")       \
  X(ReLU, "relu")               \
  X(LeakyReLU, "leaky_relu")    \
  X(Sigmoid, "sigmoid")         \
  X(Tanh, "tanh")               \
  X(Hardtanh, "hardtanh")       \
  X(GELU, "gelu")               \
  X(GELUTanh, "gelu_tanh")      \
  X(SiLU, "silu")               \
  X(ELU, "elu")                 \
  X(Softplus, "softplus")       \
  X(SELU, "selu")               \
  X(CELU, "celu")               \
  X(Mish, "mish")               \
  X(Hardswish, "hardswish")     \
  X(Hardsigmoid, "hardsigmoid") \
  X(LogSigmoid, "logsigmoid")   \
  X(Softsign, "softsign")

namespace fastmlp::ops {

// The (at most two) constants of an activation; what they mean stands with each functor.
template <class V>
struct ActivationParams {
  V alpha, beta;
};

struct Identity {
  static constexpr bool kSavesInput = false;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return z;
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V, const ActivationParams<V>&) {
    return dy;
  }
};

// max(z, 0); a NaN passes through.
struct ReLU {
  static constexpr bool kSavesInput = false;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return select(z <= V(0), V(0), z);
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V a, const ActivationParams<V>&) {
    return select(a <= V(0), V(0), dy);
  }
};

// z > 0 ? z : alpha z, alpha >= 0 (so that the sign of the output is that of the input).
struct LeakyReLU {
  static constexpr bool kSavesInput = false;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>& p) {
    return select(z > V(0), z, p.alpha * z);
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V a, const ActivationParams<V>& p) {
    return select(a > V(0), dy, p.alpha * dy);
  }
};

// 1 / (1 + exp(-z)).
struct Sigmoid {
  static constexpr bool kSavesInput = false;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return sigmoid(z);
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V a, const ActivationParams<V>&) {
    return dy * (a * (V(1) - a));
  }
};

struct Tanh {
  static constexpr bool kSavesInput = false;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return tanh(z);
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V a, const ActivationParams<V>&) {
    return dy * fnma(a, a, V(1));
  }
};

// z clamped to [alpha, beta]; the derivative at the bounds is 0, as in torch.
struct Hardtanh {
  static constexpr bool kSavesInput = false;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>& p) {
    return select(z < p.alpha, p.alpha, select(z > p.beta, p.beta, z));
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V a, const ActivationParams<V>& p) {
    return select(a <= p.alpha, V(0), select(a >= p.beta, V(0), dy));
  }
};

// z Phi(z), Phi the normal distribution function (Hendrycks and Gimpel, arXiv 1606.08415).
struct GELU {
  static constexpr bool kSavesInput = true;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return z * normal_cdf(z);
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V z, const ActivationParams<V>&) {
    const V density = V(0.39894228040143267794) * exp(V(-0.5) * (z * z));  // 1/sqrt(2 pi)
    return dy * fma(z, density, normal_cdf(z));
  }
};

// The tanh approximation of GELU: z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))), same paper.
struct GELUTanh {
  static constexpr bool kSavesInput = true;
  static constexpr double kScale = 0.79788456080286535588, kCubic = 0.044715;
  template <class V>
  static FASTMLP_FORMULA V inner(V z) {
    return tanh(V(kScale) * fma(V(kCubic) * (z * z), z, z));
  }
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    const V half = V(0.5) * z;
    return fma(half, inner(z), half);
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V unbounded, const ActivationParams<V>&) {
    // The derivative is 0 or 1 from far below 50 on, where the square does not yet overflow.
    const V z = min(V(50), max(V(-50), unbounded));
    const V t = inner(z);
    const V slope = V(kScale) * fma(V(3 * kCubic), z * z, V(1));
    const V half = V(0.5) * z;
    return dy * fma(half * fnma(t, t, V(1)), slope, fma(V(0.5), t, V(0.5)));
  }
};

// z sigmoid(z).
struct SiLU {
  static constexpr bool kSavesInput = true;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return z * sigmoid(z);
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V z, const ActivationParams<V>&) {
    const V s = sigmoid(z);
    return dy * (s * fma(z, V(1) - s, V(1)));
  }
};

// z > 0 ? z : alpha (exp(z) - 1).
struct ELU {
  static constexpr bool kSavesInput = true;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>& p) {
    return select(z > V(0), z, p.alpha * expm1(min(V(0), z)));
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V z, const ActivationParams<V>& p) {
    return select(z > V(0), dy, dy * (p.alpha * exp(min(V(0), z))));
  }
};

// log(1 + exp(alpha z)) / alpha; the identity where alpha z exceeds the threshold beta, as in torch.
struct Softplus {
  static constexpr bool kSavesInput = true;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>& p) {
    const V scaled = p.alpha * z;
    return select(scaled > p.beta, z, -(log_sigmoid(-scaled) / p.alpha));
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V z, const ActivationParams<V>& p) {
    const V scaled = p.alpha * z;
    return select(scaled > p.beta, dy, dy * sigmoid(scaled));
  }
};

// scale (z > 0 ? z : alpha (exp(z) - 1)), with the constants that keep mean 0 and variance 1 (Klambauer and others, arXiv
// 1706.02515).
struct SELU {
  static constexpr bool kSavesInput = true;
  static constexpr double kAlpha = 1.6732632423543772848, kScale = 1.0507009873554804934;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return select(z > V(0), V(kScale) * z, V(kScale * kAlpha) * expm1(min(V(0), z)));
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V z, const ActivationParams<V>&) {
    return dy * select(z > V(0), V(kScale), V(kScale * kAlpha) * exp(min(V(0), z)));
  }
};

// z > 0 ? z : alpha (exp(z / alpha) - 1), alpha > 0 (Barron, arXiv 1704.07483).
struct CELU {
  static constexpr bool kSavesInput = true;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>& p) {
    return select(z > V(0), z, p.alpha * expm1(min(V(0), z) / p.alpha));
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V z, const ActivationParams<V>& p) {
    return select(z > V(0), dy, dy * exp(min(V(0), z) / p.alpha));
  }
};

// z tanh(log(1 + exp(z))) (Misra, arXiv 1908.08681). With n = exp(z) and m = n (n + 2), the tanh is m / (m + 2).
struct Mish {
  static constexpr bool kSavesInput = true;
  static constexpr double kLimit = 40;  // from far below on, the tanh and the derivative are 1
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    const V n = exp(min(V(kLimit), z)), m = n * (n + V(2));
    return z * (m / (m + V(2)));
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V unbounded, const ActivationParams<V>&) {
    const V z = min(V(kLimit), unbounded);
    const V n = exp(z), m = n * (n + V(2)), inverse = V(1) / (m + V(2));
    // z times the tanh's derivative, 4 n (n + 1) / (m + 2)^2.
    return dy * fma(z, (V(4) * n * inverse) * ((n + V(1)) * inverse), m * inverse);
  }
};

// z min(max(z + 3, 0), 6) / 6 (Howard and others, arXiv 1905.02244).
struct Hardswish {
  static constexpr bool kSavesInput = true;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return select(z <= V(-3), V(0), select(z >= V(3), z, z * (z + V(3)) / V(6)));
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V z, const ActivationParams<V>&) {
    return select(z <= V(-3), V(0), select(z >= V(3), dy, dy * (z / V(3) + V(0.5))));
  }
};

// min(max(z + 3, 0), 6) / 6; the derivative at the bounds is 0, as in torch.
struct Hardsigmoid {
  static constexpr bool kSavesInput = false;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return select(z <= V(-3), V(0), select(z >= V(3), V(1), (z + V(3)) / V(6)));
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V a, const ActivationParams<V>&) {
    return select(a <= V(0), V(0), select(a >= V(1), V(0), dy / V(6)));
  }
};

// log(1 / (1 + exp(-z))); the derivative is 1 - exp(a).
struct LogSigmoid {
  static constexpr bool kSavesInput = false;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return log_sigmoid(z);
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V a, const ActivationParams<V>&) {
    return dy * -expm1(a);
  }
};

// z / (1 + |z|).
struct Softsign {
  static constexpr bool kSavesInput = true;
  template <class V>
  static FASTMLP_FORMULA V forward(V z, const ActivationParams<V>&) {
    return z / (V(1) + abs(z));
  }
  template <class V>
  static FASTMLP_FORMULA V backward(V dy, V z, const ActivationParams<V>&) {
    const V inverse = V(1) / (V(1) + abs(z));
    return dy * inverse * inverse;
  }
};

}  // namespace fastmlp::ops
