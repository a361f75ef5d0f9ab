// Aligned memory that is made once and grows only when a larger batch comes.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace fastmlp {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size) { resize(size); }

  // Makes room for `size` zeros; earlier contents are gone unless there is room already.
  void reserve(std::size_t size) {
    if (size > size_) resize(size);
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(T* p) const { ::operator delete[](p, kAlignment); }
  };

  void resize(std::size_t size) {
    data_.reset(static_cast<T*>(::operator new[](size * sizeof(T), kAlignment)));
    if (size > 0) std::memset(static_cast<void*>(data_.get()), 0, size * sizeof(T));
    size_ = size;
  }

  std::unique_ptr<T[], Free> data_;
  std::size_t size_ = 0;
};

}  // namespace fastmlp
