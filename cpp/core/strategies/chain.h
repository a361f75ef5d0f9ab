// A chain of affine operations as the kernels of whole networks take it.
#pragma once

#include "core/program.h"

namespace fastmlp {

// How many operations at the program's begin are a chain of affine ones.
template <class T>
int affine_chain(const Program<T>& program) {
  if (!program.is_chain()) return 0;
  int count = 0;
  for (const Operation<T>& operation : program.operations()) {
    if (operation.kind != OperationKind::Affine) break;
    ++count;
  }
  return count;
}

// An affine operation as such a kernel takes it; the sinks are not set.
template <class T>
LanesLayer<T> chain_layer(const Operation<T>& operation) {
  return {operation.weight->in,
          operation.weight->out,
          operation.weight->value.data(),
          operation.bias ? operation.bias->value.data() : nullptr,
          operation.activation,
          {},
          {}};
}

// The first `count` of them.
template <class T>
std::vector<LanesLayer<T>> chain_layers(const Program<T>& program, int count) {
  std::vector<LanesLayer<T>> layers;
  for (int i = 0; i < count; ++i) layers.push_back(chain_layer(program.operations()[static_cast<std::size_t>(i)]));
  return layers;
}

}  // namespace fastmlp
