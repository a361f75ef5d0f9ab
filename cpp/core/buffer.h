// Aligned memory that is made once and grows only when a larger batch comes. Large buffers ask for huge pages: a matrix
// product walks down columns, where every row is on a page of its own.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

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
  static constexpr std::size_t kCacheLine = 64, kHugePage = std::size_t{1} << 21;
  struct Free {
    std::size_t alignment = kCacheLine;
    void operator()(T* p) const { ::operator delete[](p, std::align_val_t{alignment}); }
  };

  using Data = std::unique_ptr<T[], Free>;

  void resize(std::size_t size) {
    std::size_t bytes = size * sizeof(T);
    const bool huge = bytes >= kHugePage / 2;
    const std::size_t alignment = huge ? kHugePage : kCacheLine;
    if (huge) bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    size_ = 0;
    data_ = Data(static_cast<T*>(::operator new[](bytes, std::align_val_t{alignment})), Free{alignment});
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (huge) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // a wish; it may be refused
#endif
    if (size > 0) std::memset(static_cast<void*>(data_.get()), 0, size * sizeof(T));
    size_ = size;
  }

  Data data_;
  std::size_t size_ = 0;
};

}  // namespace fastmlp
