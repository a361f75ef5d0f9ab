// Copies of the host's arrays in a device's memory.
#pragma once

#include "core/backend.h"
#include "core/buffer.h"

namespace fastmlp {

// A copy in a buffer, which makes room for it, in the thread's stream.
template <class T>
T* upload(Buffer<T>& to, const T* from, Index size) {
  to.reserve(static_cast<std::size_t>(size));
  check(to.device().upload(to.data(), from, static_cast<std::size_t>(size) * sizeof(T), StreamScope::current()));
  return to.data();
}
// Targets, and what goes along with them.
template <class T>
struct TargetCopies {
  explicit TargetCopies(const Device& device)
      : dense(device), weights(device), column_weights(device), column_params(device), classes(device) {}

  Buffer<T> dense, weights, column_weights, column_params;
  Buffer<Index> classes;

  Targets<T> take(const Targets<T>& from, Index rows, Index columns) {
    Targets<T> to;
    const auto bring = [](auto& buffer, const auto* values, Index size, auto& place) {
      if (values) place = upload(buffer, values, size);
    };
    bring(dense, from.dense, rows * columns, to.dense);
    bring(classes, from.classes, rows, to.classes);
    bring(weights, from.weights, rows, to.weights);
    bring(column_weights, from.column_weights, columns, to.column_weights);
    bring(column_params, from.column_params, columns, to.column_params);
    return to;
  }
};

}  // namespace fastmlp
