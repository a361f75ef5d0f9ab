// What the kernels for tiny networks have code for: the frequent activations and losses, each of which costs every one of
// them some instructions.
#pragma once

#include <type_traits>

#include "cuda/block/by_kind.h"

namespace fastmlp::cuda {

template <class Functor, class... Others>
inline constexpr bool kIsAmong = (std::is_same_v<Functor, Others> || ...);

template <class Functor>
inline constexpr bool kTinyActivation = kIsAmong<Functor, ops::Identity, ops::ReLU, ops::Tanh, ops::Sigmoid>;
// Of so many columns. Not pair losses: where the variance of a column lies is known at run time only. The logarithms of
// several columns would be more code than all else.
template <class Functor, int columns>
inline constexpr bool kTinyLoss = kIsAmong<Functor, ops::MSE, ops::L1, ops::Huber, ops::SmoothL1> ||
                                  (columns == 1 && kIsAmong<Functor, ops::BCE, ops::BCEWithLogits>) ||
                                  (columns > 1 && kIsAmong<Functor, ops::CrossEntropy>);

// body(functor) where the kernels have it.
template <class Body>
FASTMLP_DEVICE void with_tiny_activation(ActivationKind kind, const Body& body) {
  with_activation(kind, [&](auto functor) {
    if constexpr (kTinyActivation<decltype(functor)>) body(functor);
  });
}

inline bool is_tiny(ActivationKind kind) {
  switch (kind) {
#define FASTMLP_CASE(functor, name) \
  case ActivationKind::functor:     \
    return kTinyActivation<ops::functor>;
    FASTMLP_ACTIVATIONS(FASTMLP_CASE)
#undef FASTMLP_CASE
  }
  return false;
}
template <int columns>
bool is_tiny(LossKind kind) {
  switch (kind) {
#define FASTMLP_CASE(functor, name) \
  case LossKind::functor:           \
    return kTinyLoss<ops::functor, columns>;
    FASTMLP_LOSSES(FASTMLP_CASE)
#undef FASTMLP_CASE
  }
  return false;
}

}  // namespace fastmlp::cuda
