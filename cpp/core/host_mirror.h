// Arrays in a device's memory that the host works on, too.
#pragma once

#include <vector>

#include "core/buffer.h"

namespace fastmlp {

// Two arrays of a size, with copies in the host's memory where that is another.
template <class T>
class HostMirror {
 public:
  explicit HostMirror(const Device& device) : memory_{Buffer<T>(device), Buffer<T>(device)} {}

  void reserve(Index size) {
    for (Buffer<T>& buffer : memory_) buffer.reserve(static_cast<std::size_t>(size));
    if (!device().host)
      for (std::vector<T>& copy : copies_) copy.resize(static_cast<std::size_t>(size));
  }

  T* memory(int i) { return memory_[i].data(); }
  T* host(int i) { return device().host ? memory(i) : copies_[i].data(); }
  // The first values of an array in either memory, after a copy from the other one.
  const T* to_host(int i, Index size) {
    if (!device().host) check(device().download(host(i), memory(i), bytes(size), StreamScope::current()));
    return host(i);
  }
  const T* to_device(int i, Index size) {
    if (!device().host) check(device().upload(memory(i), host(i), bytes(size), StreamScope::current()));
    return memory(i);
  }

 private:
  const Device& device() const { return memory_[0].device(); }
  static std::size_t bytes(Index size) { return static_cast<std::size_t>(size) * sizeof(T); }

  Buffer<T> memory_[2];
  std::vector<T> copies_[2];
};

}  // namespace fastmlp
