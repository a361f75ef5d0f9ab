// Stores a gradient, adds it to the one that is there, or applies the optimizer to the parameter.
#pragma once

#include "cuda/block/by_kind.h"
#include "cuda/block/copy_async.h"
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

  // What take() reads of values at, at + 1, ...: apart, so that a thread can have many of them under way.
  struct Fetched {
    Quad<T> value, states[3];
  };
  FASTMLP_DEVICE Fetched fetch(Index at, int count) const {
    Fetched fetched = {};
    if (updates) {
      fetched.value = load_quad(target.value + at, count, wide);
      FASTMLP_UNROLL
      for (int s = 0; s < 3; ++s)
        if (target.state[s]) fetched.states[s] = load_quad(target.state[s] + at, count, wide);
    } else if (accumulate) {
      fetched.value = load_quad(grad + at, count, wide);
    }
    return fetched;
  }
  // Fetches the cache lines of the same, for those that come later.
  FASTMLP_DEVICE void prefetch(Index at) const {
    if (updates) {
      cuda::prefetch(target.value + at);
      FASTMLP_UNROLL
      for (int s = 0; s < 3; ++s)
        if (target.state[s]) cuda::prefetch(target.state[s] + at);
    } else if (accumulate) {
      cuda::prefetch(grad + at);
    }
  }

  // The gradient of values at, at + 1, ...
  FASTMLP_DEVICE void take(const Constants& constants, Index at, int count, const Quad<T>& gradient) const {
    take(constants, fetch(at, count), at, count, gradient);
  }
  FASTMLP_DEVICE void take(const Constants& constants, const Fetched& fetched, Index at, int count,
                           Quad<T> gradient) const {
    if (updates)
      return with_update(update.kind, [&](auto rule) { apply(rule, constants, fetched, at, count, gradient); });
    if (accumulate) {
      FASTMLP_UNROLL
      for (int i = 0; i < 4; ++i) gradient.v[i] += fetched.value.v[i];
    }
    store_quad(grad + at, gradient, count, wide);
  }

 private:
  template <class Rule>
  FASTMLP_DEVICE void apply(Rule, const Constants& constants, const Fetched& fetched, Index at, int count,
                            const Quad<T>& gradient) const {
    Quad<T> value, states[3];
    FASTMLP_UNROLL
    for (int i = 0; i < 4; ++i) {
      Real<T> state[3] = {fetched.states[0].v[i], fetched.states[1].v[i], fetched.states[2].v[i]};
      value.v[i] = Rule::apply(Real<T>(fetched.value.v[i]), Real<T>(gradient.v[i]), state, constants).value;
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
