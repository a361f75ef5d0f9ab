// Every activation, with constants to test it by. One that has none needs no line here.
#pragma once

#include <iterator>
#include <vector>

#include "core/types.h"

namespace fastmlp::testing {

inline Activation sample_of(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::LeakyReLU:
      return {kind, 0.1, 0};
    case ActivationKind::Hardtanh:
      return {kind, -0.5, 0.75};
    case ActivationKind::ELU:
    case ActivationKind::CELU:
      return {kind, 1.25, 0};
    case ActivationKind::Softplus:
      return {kind, 2, 20};
    default:
      return {kind, 0, 0};
  }
}

inline std::vector<Activation> all_activations() {
  std::vector<Activation> all;
  for (std::size_t kind = 0; kind < std::size(kActivationNames); ++kind)
    all.push_back(sample_of(static_cast<ActivationKind>(kind)));
  return all;
}

}  // namespace fastmlp::testing
