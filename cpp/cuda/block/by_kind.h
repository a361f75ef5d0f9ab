// The choice of a formula by its kind inside a kernel, with cases made from the lists of cpp/ops; and what a replayed
// step puts in the place of a kernel's arguments.
//
// The choice is the same for all threads. Where a thread has many values in registers, with_activation and with_update
// make it once around the loop over them; the code of the loop is then there once for each kind.
#pragma once

#include "core/backend.h"
#include "cuda/block/block.h"
#include "cuda/block/real.h"

namespace fastmlp::cuda {

// body(functor), with the functor of ops/activations.h.
template <class Body>
FASTMLP_DEVICE void with_activation(ActivationKind kind, const Body& body) {
  switch (kind) {
#define FASTMLP_CASE(functor, name) \
  case ActivationKind::functor:     \
    return body(ops::functor{});
    FASTMLP_ACTIVATIONS(FASTMLP_CASE)
#undef FASTMLP_CASE
  }
}

template <class T>
FASTMLP_DEVICE ops::ActivationParams<Real<T>> activation_params(const Activation& activation) {
  return {Real<T>(activation.alpha), Real<T>(activation.beta)};
}

template <class T>
FASTMLP_DEVICE Real<T> apply_activation(ActivationKind kind, Real<T> z, const ops::ActivationParams<Real<T>>& params) {
  Real<T> y = z;
  with_activation(kind, [&](auto functor) { y = decltype(functor)::forward(z, params); });
  return y;
}

// dy times the derivative, from the input or the output, as saves_input(kind) says.
template <class T>
FASTMLP_DEVICE Real<T> activation_gradient(ActivationKind kind, Real<T> dy, Real<T> saved,
                                           const ops::ActivationParams<Real<T>>& params) {
  Real<T> dz = dy;
  with_activation(kind, [&](auto functor) { dz = decltype(functor)::backward(dy, saved, params); });
  return dz;
}

// body(rule), with the rule of ops/optimizers.h.
template <class Body>
FASTMLP_DEVICE void with_update(UpdateKind kind, const Body& body) {
  switch (kind) {
#define FASTMLP_CASE(functor) \
  case UpdateKind::functor:   \
    return body(ops::functor{});
    FASTMLP_UPDATES(FASTMLP_CASE)
#undef FASTMLP_CASE
  }
}

// Updates value i of a parameter. States that are null count as 0 and are not kept.
template <class T, class Rule>
FASTMLP_DEVICE void update_value(Rule, const UpdateTarget<T>& target, Index i, Real<T> g,
                                 const ops::UpdateValues<Real<T>>& values) {
  Real<T> state[3] = {Real<T>(0), Real<T>(0), Real<T>(0)};
  for (int s = 0; s < Rule::kStates; ++s)
    if (target.state[s]) state[s] = target.state[s][i];
  target.value[i] = Rule::apply(Real<T>(target.value[i]), g, state, values).value;
  for (int s = 0; s < Rule::kStates; ++s)
    if (target.state[s]) target.state[s][i] = state[s].value;
}
template <class T>
FASTMLP_DEVICE void update_value(UpdateKind kind, const UpdateTarget<T>& target, Index i, Real<T> g,
                                 const ops::UpdateValues<Real<T>>& values) {
  with_update(kind, [&](auto rule) { update_value(rule, target, i, g, values); });
}

// body(functor), with the functor of ops/losses.h, for a loss of that family.
template <class Body>
FASTMLP_DEVICE void with_element_loss(LossKind kind, const Body& body) {
  switch (kind) {
#define FASTMLP_CASE(functor, name) \
  case LossKind::functor:           \
    return body(ops::functor{});
    FASTMLP_ELEMENT_LOSSES(FASTMLP_CASE)
    default:
      return;
  }
}
template <class Body>
FASTMLP_DEVICE void with_pair_loss(LossKind kind, const Body& body) {
  switch (kind) {
    FASTMLP_PAIR_LOSSES(FASTMLP_CASE)
    default:
      return;
  }
}
template <class Body>
FASTMLP_DEVICE void with_class_loss(LossKind kind, const Body& body) {
  switch (kind) {
    FASTMLP_CLASS_LOSSES(FASTMLP_CASE)
#undef FASTMLP_CASE
    default:
      return;
  }
}

// The gradient of an element's loss, or of what it is with respect to the logit where `logits` asks for it.
template <class Loss, class V>
FASTMLP_DEVICE V element_loss_gradient(V y, V t, const ops::LossParams<V>& params, bool logits) {
  if constexpr (requires { Loss::logit_gradient(y, t); })
    if (logits) return Loss::logit_gradient(y, t);
  return Loss::gradient(y, t, params);
}

// What the targets of a batch say of a loss's values beside the targets themselves, and the loss's numeric options.
template <class T>
struct LossTerms {
  using V = Real<T>;

  V alpha;
  bool full, logits;
  V kept, rest;                             // see ops::LabelSmoothing
  const T *column_weights, *column_params;  // null: 1

  LossTerms(const LossSpec& spec, const Targets<T>& targets, Index columns, bool logits_)
      : alpha(spec.alpha),
        full(spec.full),
        logits(logits_),
        column_weights(targets.column_weights),
        column_params(targets.column_params) {
    const ops::LabelSmoothing smoothing(spec.label_smoothing, static_cast<double>(columns));
    kept = V(smoothing.kept);
    rest = V(smoothing.rest);
  }

  FASTMLP_DEVICE V weight(Index column) const { return column_weights ? V(column_weights[column]) : V(1); }
  FASTMLP_DEVICE ops::LossParams<V> params(Index column) const {
    return {alpha, full, column_params ? V(column_params[column]) : V(1)};
  }
  // A class's target probability, smoothed and times the class's weight.
  FASTMLP_DEVICE V class_target(V t, Index column) const { return fma(t, kept, rest) * weight(column); }
};

// x times the weight, and 0 where that is 0.
template <class T>
FASTMLP_DEVICE Real<T> weighted(Real<T> x, Real<T> weight) {
  return select(weight == Real<T>(0), weight, x * weight);
}

// The context's replay, if any, by value among a kernel's arguments.
struct Step {
  bool replayed;
  Replay replay;

  explicit Step(const Context& context)
      : replayed(context.replay != nullptr), replay(replayed ? *context.replay : Replay{}) {}

  // The replayed step's number.
  FASTMLP_DEVICE Index number() const { return replay.first[0] + replay.offset; }
};

// The constants of the step: the replay's, or the kernel's own argument.
FASTMLP_DEVICE const ops::UpdateConstants& constants_of(const Update& own, const Step& step) {
  if (!step.replayed) return own.constants;
  return step.replay.updates[step.replay.one_update ? 0 : step.number()].constants;
}

}  // namespace fastmlp::cuda
