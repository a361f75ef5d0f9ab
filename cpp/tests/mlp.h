// A multi-layer perceptron to train in tests.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "core/program.h"
#include "core/rng.h"

namespace fastmlp::testing {

template <class T>
struct Mlp {
  std::vector<Operation<T>> layers;
  std::vector<std::shared_ptr<Parameter<T>>> parameters;

  Mlp(const std::vector<Index>& sizes, ActivationKind hidden, ActivationKind output, std::uint64_t seed) {
    for (std::size_t l = 0; l + 1 < sizes.size(); ++l) {
      Operation<T> layer;
      layer.weight = std::make_shared<Parameter<T>>(sizes[l], sizes[l + 1]);
      layer.bias = std::make_shared<Parameter<T>>(1, sizes[l + 1]);
      layer.activation.kind = l + 2 == sizes.size() ? output : hidden;
      for (const auto& parameter : {layer.weight, layer.bias}) {
        const Philox random(seed, stream(StreamUse::Values, parameters.size()));
        const double bound = 1 / std::sqrt(static_cast<double>(sizes[l]));
        for (Index i = 0; i < parameter->size(); ++i)
          parameter->value.data()[i] = static_cast<T>(bound * (2 * random.uniform(static_cast<std::uint64_t>(i)) - 1));
        parameters.push_back(parameter);
      }
      layers.push_back(layer);
    }
  }
};

}  // namespace fastmlp::testing
