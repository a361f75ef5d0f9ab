// One tensor of weights with its gradient: a matrix stored in x out, or a vector (in == 1), on a device.
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

  const Device& device() const { return value.device(); }
  Index size() const { return in * out; }
  T* grad_buffer() {
    grad.reserve(static_cast<std::size_t>(size()));
    return grad.data();
  }

  // Networks made before are of no use afterwards; an optimizer's states follow at its next step.
  void move_to(const Device& device) {
    if (&device == &this->device()) return;
    Buffer<T> new_grad = has_grad ? grad.on(device, StreamScope::current()) : Buffer<T>(device);
    value = value.on(device, StreamScope::current());
    grad = std::move(new_grad);
  }

  // All values, from or to the host's memory.
  void read(T* to) const { download(value, to); }
  void write(const T* from) { upload(value, from); }
  void read_grad(T* to) const { download(grad, to); }
  void write_grad(const T* from) {
    grad_buffer();
    upload(grad, from);
    has_grad = true;
  }

 private:
  std::size_t bytes() const { return static_cast<std::size_t>(size()) * sizeof(T); }
  void download(const Buffer<T>& from, T* to) const {
    check(device().download(to, from.data(), bytes(), StreamScope::current()));
  }
  void upload(Buffer<T>& to, const T* from) const {
    check(device().upload(to.data(), from, bytes(), StreamScope::current()));
  }
};

}  // namespace fastmlp
