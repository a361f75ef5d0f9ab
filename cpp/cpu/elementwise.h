// Element-wise work on contiguous values: activations, sums, optimizer updates, and clipping.
#pragma once

#include "cpu/loops.h"
#include "cpu/vmath.h"
#include "ops/activations.h"
#include "ops/optimizers.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
FASTMLP_INLINE ops::ActivationParams<Vec<T>> activation_params(const Activation& activation) {
  return {Vec<T>(static_cast<T>(activation.alpha)), Vec<T>(static_cast<T>(activation.beta))};
}

template <class T, class Act>
void activation_forward_loop(const Activation& activation, Index n, const T* x, T* y) {
  const auto params = activation_params<T>(activation);
  for_vectors<T>(n, [&](Index i, auto part) { store(y + i, Act::forward(load(x + i, part), params), part); });
}

template <class T, class Act>
void activation_backward_loop(const Activation& activation, Index n, const T* dy, const T* saved, T* dx) {
  const auto params = activation_params<T>(activation);
  for_vectors<T>(n, [&](Index i, auto part) {
    store(dx + i, Act::backward(load(dy + i, part), load(saved + i, part), params), part);
  });
}

template <class T>
using ActivationForwardLoop = void (*)(const Activation&, Index, const T*, T*);
template <class T>
using ActivationBackwardLoop = void (*)(const Activation&, Index, const T*, const T*, T*);

#define FASTMLP_FORWARD_LOOP(functor, name) activation_forward_loop<T, ops::functor>,
#define FASTMLP_BACKWARD_LOOP(functor, name) activation_backward_loop<T, ops::functor>,
template <class T>
constexpr ActivationForwardLoop<T> kActivationForward[] = {FASTMLP_ACTIVATIONS(FASTMLP_FORWARD_LOOP)};
template <class T>
constexpr ActivationBackwardLoop<T> kActivationBackward[] = {FASTMLP_ACTIVATIONS(FASTMLP_BACKWARD_LOOP)};
#undef FASTMLP_FORWARD_LOOP
#undef FASTMLP_BACKWARD_LOOP

constexpr Index kPiece = 16384;  // values that pay for a thread

template <class T>
void activation_forward(const Activation& activation, Index n, const T* x, T* y, const Context& context) {
  const auto loop = kActivationForward<T>[static_cast<int>(activation.kind)];
  parallel_ranges(context, n, kPiece,
                  [&](Index begin, Index end) { loop(activation, end - begin, x + begin, y + begin); });
}

template <class T>
void activation_backward(const Activation& activation, Index n, const T* dy, const T* saved, T* dx,
                         const Context& context) {
  const auto loop = kActivationBackward<T>[static_cast<int>(activation.kind)];
  parallel_ranges(context, n, kPiece, [&](Index begin, Index end) {
    loop(activation, end - begin, dy + begin, saved + begin, dx + begin);
  });
}

template <class T>
void add(Index n, const T* a, const T* b, T* y, const Context& context) {
  parallel_ranges(context, n, kPiece, [&](Index begin, Index end) {
    for_vectors<T>(end - begin, [&, a = a + begin, b = b + begin, y = y + begin](Index i, auto part) {
      store(y + i, load(a + i, part) + load(b + i, part), part);
    });
  });
}

template <class T>
void scale(Index n, T factor, T* x, const Context& context) {
  parallel_ranges(context, n, kPiece, [&](Index begin, Index end) {
    for_vectors<T>(end - begin,
                   [&, x = x + begin](Index i, auto part) { store(x + i, Vec<T>(factor) * load(x + i, part), part); });
  });
}

// Rows of values inside a parameter: the first is at `offset`, the next rows follow `ld` apart.
struct Region {
  Index offset, rows, columns, ld;
};

// One optimizer step on the values of `region`; their gradients' rows are ld_grad apart. The loop over rows is inside, so
// that the constants are broadcast once for a tile.
template <class T, class Rule, bool plain>
void update_region(const ops::UpdateConstants& constants, const Region& region, const UpdateTarget<T>& target,
                   const T* grad, Index ld_grad) {
  constexpr int states = Rule::kStates;
  using V = Vec<T>;
  const std::conditional_t<plain, ops::PlainUpdateValues<V>, ops::UpdateValues<V>> values(constants);
  for (Index row = 0; row < region.rows; ++row) {
    const Index offset = region.offset + row * region.ld;
    const T* g = grad + row * ld_grad;
    T* w = target.value + offset;
    T* state[3] = {};
    for (int s = 0; s < states; ++s) state[s] = target.state[s] ? target.state[s] + offset : nullptr;
    for_vectors<T>(region.columns, [&](Index i, auto part) {
      V s[3] = {V(T(0)), V(T(0)), V(T(0))};
      for (int k = 0; k < states; ++k)
        if (state[k]) s[k] = load(state[k] + i, part);
      store(w + i, Rule::apply(load(w + i, part), load(g + i, part), s, values), part);
      for (int k = 0; k < states; ++k)
        if (state[k]) store(state[k] + i, s[k], part);
    });
  }
}

template <class T, class Rule>
void update_loop(const ops::UpdateConstants& constants, const Region& region, const UpdateTarget<T>& target,
                 const T* grad, Index ld_grad) {
  if (Rule::kFrequent && constants.plain())
    update_region<T, Rule, true>(constants, region, target, grad, ld_grad);
  else
    update_region<T, Rule, false>(constants, region, target, grad, ld_grad);
}

template <class T>
using UpdateLoop = void (*)(const ops::UpdateConstants&, const Region&, const UpdateTarget<T>&, const T*, Index);
#define FASTMLP_UPDATE_LOOP(functor) update_loop<T, ops::functor>,
template <class T>
constexpr UpdateLoop<T> kUpdate[] = {FASTMLP_UPDATES(FASTMLP_UPDATE_LOOP)};
#undef FASTMLP_UPDATE_LOOP

template <class T>
void update(const Update& step, Index n, const UpdateTarget<T>& target, const T* grad, const Context& context) {
  const auto loop = kUpdate<T>[static_cast<int>(step.kind)];
  parallel_ranges(context, n, kPiece, [&](Index begin, Index end) {
    loop(step.constants, {begin, 1, end - begin, 0}, target, grad + begin, 0);
  });
}

template <class T>
void add(Index n, const T* x, T* y) {
  for_vectors<T>(n, [&](Index i, auto part) { store(y + i, load(y + i, part) + load(x + i, part), part); });
}

template <class T>
void scale(Index n, T factor, T* x) {
  const Vec<T> f(factor);
  for_vectors<T>(n, [&](Index i, auto part) { store(x + i, load(x + i, part) * f, part); });
}

// The largest |x|; NaN where there is one.
template <class T>
T largest_of(Index n, const T* x) {
  Vec<T> largest(T(0)), nan(T(0));
  for_vectors<T>(n, [&](Index i, auto part) {
    const Vec<T> v = abs(load(x + i, part));
    largest = max(v, largest);  // ignores NaN
    nan += v - v;               // NaN where v is, or is infinite
  });
  if (reduce_add(nan) == 0) return reduce_max(largest);
  for (Index i = 0; i < n; ++i)
    if (x[i] != x[i]) return x[i];
  return reduce_max(largest);
}

// The sum of squares of `factor` times the values, in blocks whose sums are added in double (see sums.h).
template <class T>
double sum_of_squares(Index n, const T* x, T factor) {
  constexpr Index block = 4096;
  const Vec<T> f(factor);
  double total = 0;
  for (Index begin = 0; begin < n; begin += block) {
    Vec<T> sum(T(0));
    const T* p = x + begin;
    for_vectors<T>(smaller(block, n - begin), [&](Index i, auto part) {
      const Vec<T> v = load(p + i, part) * f;
      sum = fma(v, v, sum);
    });
    total += static_cast<double>(reduce_add(sum));
  }
  return total;
}

// The Euclidean norm: a power of two keeps the squares within the range of T where they would leave it.
template <class T>
double norm_of(int count, T* const* values, const Index* sizes) {
  constexpr double kLeast = sizeof(T) == 4 ? 1e-20 : 1e-280, kMost = sizeof(T) == 4 ? 1e30 : 1e290;
  double squares = 0;
  for (int i = 0; i < count; ++i) squares += sum_of_squares(sizes[i], values[i], T(1));
  if (kLeast < squares && squares < kMost) return __builtin_sqrt(squares);
  T largest(0);
  for (int i = 0; i < count; ++i) {
    const T own = largest_of(sizes[i], values[i]);
    if (own != own) return static_cast<double>(own);
    largest = own > largest ? own : largest;
  }
  if (largest == 0 || largest - largest != 0) return static_cast<double>(largest);
  const int exponent = -__builtin_ilogb(static_cast<double>(largest));
  const double factor = __builtin_ldexp(1.0, smaller(exponent, sizeof(T) == 4 ? 120 : 1000));
  squares = 0;
  for (int i = 0; i < count; ++i) squares += sum_of_squares(sizes[i], values[i], static_cast<T>(factor));
  return __builtin_sqrt(squares) / factor;
}

// As torch.nn.utils.clip_grad_norm_: the factor is applied also where it is NaN.
template <class T>
void clip(int count, T* const* grads, const Index* sizes, double max_norm, double* norm, const Context&) {
  *norm = norm_of(count, grads, sizes);
  double factor = max_norm / (*norm + 1e-6);
  if (factor >= 1 || max_norm - max_norm != 0) return;  // an infinite limit only measures
  // In steps where it would be denormal.
  constexpr double kStep = 0x1p-100;
  for (; 0 < factor && factor < kStep; factor /= kStep)
    for (int i = 0; i < count; ++i) scale(sizes[i], static_cast<T>(kStep), grads[i]);
  for (int i = 0; i < count; ++i) scale(sizes[i], static_cast<T>(factor), grads[i]);
}

// Stores a finished gradient of `region`, adds it to the one that is there, or applies the optimizer.
template <class T>
FASTMLP_INLINE void sink_tile(const GradientSink<T>& sink, const Region& region, const T* grad, Index ld_grad) {
  if (sink.update) {
    kUpdate<T>[static_cast<int>(sink.update->kind)](sink.update->constants, region, sink.target, grad, ld_grad);
    return;
  }
  if (!sink.grad) return;
  for (Index row = 0; row < region.rows; ++row, grad += ld_grad) {
    T* out = sink.grad + region.offset + row * region.ld;
    if (sink.accumulate) {
      add(region.columns, grad, out);
    } else {
      for_vectors<T>(region.columns, [&](Index i, auto part) { store(out + i, load(grad + i, part), part); });
    }
  }
}

template <class T>
FASTMLP_INLINE void sink_gradient(const GradientSink<T>& sink, Index offset, Index n, const T* grad) {
  sink_tile(sink, {offset, 1, n, 0}, grad, 0);
}

}  // namespace fastmlp::FASTMLP_ISA_NS
