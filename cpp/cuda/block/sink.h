// Stores a gradient, adds it to the one that is there, or applies the optimizer to the parameter.
#pragma once

#include "cuda/block/by_kind.h"
#include "cuda/block/vectors.h"

namespace fastmlp::cuda {

// A GradientSink as a kernel takes it.
template <class T>
struct Sink {
  T* grad;
  bool accumulate, updates, wide;
  Update update;
  UpdateTarget<T> target;

  // Of a parameter whose rows have `columns` values.
  Sink(const GradientSink<T>& sink, Index columns)
      : grad(sink.grad),
        accumulate(sink.accumulate),
        updates(sink.update != nullptr),
        wide(takes_vectors(sink.update ? sink.target.value : sink.grad, columns)),
        update(sink.update ? *sink.update : Update{}),
        target(sink.target) {
    for (const T* state : target.state) wide = wide && takes_vectors(state, columns);
  }

  using Constants = ops::UpdateValues<Real<T>>;
  FASTMLP_DEVICE Constants prepare(const Step& step) const {
    return Constants(updates ? constants_of(update, step) : update.constants);
  }

  // The gradient of values at, at + 1, ...
  FASTMLP_DEVICE void take(const Constants& constants, Index at, int count, Quad<T> gradient) const {
    if (updates) return with_update(update.kind, [&](auto rule) { apply(rule, constants, at, count, gradient); });
    if (accumulate) {
      const Quad<T> old = load_quad(grad + at, count, wide);
      FASTMLP_UNROLL
      for (int i = 0; i < 4; ++i) gradient.v[i] += old.v[i];
    }
    store_quad(grad + at, gradient, count, wide);
  }

 private:
  template <class Rule>
  FASTMLP_DEVICE void apply(Rule, const Constants& constants, Index at, int count, const Quad<T>& gradient) const {
    Quad<T> value = load_quad(target.value + at, count, wide), states[3] = {};
    FASTMLP_UNROLL
    for (int s = 0; s < Rule::kStates; ++s)
      if (target.state[s]) states[s] = load_quad(target.state[s] + at, count, wide);
    FASTMLP_UNROLL
    for (int i = 0; i < 4; ++i) {
      Real<T> state[3] = {states[0].v[i], states[1].v[i], states[2].v[i]};
      value.v[i] = Rule::apply(Real<T>(value.v[i]), Real<T>(gradient.v[i]), state, constants).value;
      FASTMLP_UNROLL
      for (int s = 0; s < Rule::kStates; ++s) states[s].v[i] = state[s].value;
    }
    store_quad(target.value + at, value, count, wide);
    FASTMLP_UNROLL
    for (int s = 0; s < Rule::kStates; ++s)
      if (target.state[s]) store_quad(target.state[s] + at, states[s], count, wide);
  }
};

}  // namespace fastmlp::cuda
