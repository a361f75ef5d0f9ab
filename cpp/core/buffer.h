// Aligned memory on a device, which grows when a larger batch comes and never shrinks.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "core/device.h"

namespace fastmlp {

template <class T>
class Buffer {
 public:
  Buffer() : Buffer(host_device()) {}
  explicit Buffer(const Device& device) : device_(&device) {}
  explicit Buffer(std::size_t size, const Device& device = host_device()) : device_(&device) { resize(size); }

  // Makes room for at least `size` values: new memory of zeros, unless there is room already; then the values stay.
  void reserve(std::size_t size) {
    if (size > size_) resize(size);
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  const Device& device() const { return *device_; }

  // The same values in memory of their own on another device.
  Buffer on(const Device& device, Stream stream) const {
    Buffer other(size_, device);
    const std::size_t bytes = size_ * sizeof(T);
    // One of the two is the host.
    if (size_ > 0)
      check(device.host ? device_->download(other.data(), data(), bytes, stream)
                        : device.upload(other.data(), data(), bytes, stream));
    return other;
  }

 private:
  struct Release {
    void (*release)(void*) = nullptr;
    void operator()(T* memory) const { release(memory); }
  };
  using Data = std::unique_ptr<T[], Release>;

  void resize(std::size_t size) {
    if (!device_->host && device_->capture(StreamScope::current()))
      check(device_->synchronize(StreamScope::current()));  // which says why not
    size_ = 0;
    data_.reset();
    if (size == 0) return;
    data_ = Data(static_cast<T*>(device_->allocate(size * sizeof(T))), Release{device_->release});
    if (!data_) {
      check(device_->synchronize(StreamScope::current()));  // it may be that the device has failed
      throw std::bad_alloc();
    }
    size_ = size;
  }

  const Device* device_;
  Data data_;
  std::size_t size_ = 0;
};

}  // namespace fastmlp
