// One tensor of weights with its gradient: a matrix stored in x out, or a vector (in == 1).
#pragma once

#include "core/buffer.h"
#include "core/types.h"

namespace fastmlp {

template <class T>
struct Parameter {
  Parameter(Index in_, Index out_) : in(in_), out(out_), value(static_cast<std::size_t>(in_ * out_)) {}

  Index in, out;
  Buffer<T> value;
  Buffer<T> grad;         // made when first needed
  bool has_grad = false;  // whether `grad` holds a gradient
  bool requires_grad = true;
  std::uint64_t version = 0;  // counts the updates by optimizers

  Index size() const { return in * out; }
  T* grad_buffer() {
    grad.reserve(static_cast<std::size_t>(size()));
    return grad.data();
  }
};

}  // namespace fastmlp
