// A list of numbers that only grows, and whose copies cost nothing: what a training has measured, of which every fit hands
// out what there is so far, in curves of millions of epochs too.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "core/types.h"

namespace fastmlp {

// A copy shares the memory, and is not changed by what is added to the other: that lies behind its end, or elsewhere. It
// gets memory of its own where it grows itself.
class Numbers {
 public:
  Numbers() = default;
  explicit Numbers(const std::vector<double>& values) { append(values.data(), static_cast<Index>(values.size())); }
  Numbers(const Numbers& other) : memory_(other.memory_), size_(other.size_), capacity_(other.size_) {}
  Numbers(Numbers&& other) noexcept
      : memory_(std::move(other.memory_)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  Numbers& operator=(Numbers other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const double* data() const { return memory_.get(); }
  const double* begin() const { return data(); }
  const double* end() const { return data() + size_; }
  double back() const { return data()[size_ - 1]; }
  std::vector<double> values() const { return {begin(), end()}; }

  // For so many more. Where many are to come it is made at once, for what is not used yet costs nothing, but each page that
  // a copy touches does.
  void make_room(Index count) {
    const std::size_t size = size_ + static_cast<std::size_t>(count);
    if (size > capacity_) reserve(std::max(size, 2 * size_));
  }
  void append(const double* more, Index count) {
    const std::size_t size = size_ + static_cast<std::size_t>(count);
    if (size > capacity_) reserve(4 * size);
    std::copy_n(more, count, memory_.get() + size_);
    size_ = size;
  }
  void push_back(double value) { append(&value, 1); }

 private:
  void reserve(std::size_t capacity) {
    const std::shared_ptr<double[]> memory(new double[capacity]);
    std::copy_n(data(), size_, memory.get());
    memory_ = memory;
    capacity_ = capacity;
  }

  std::shared_ptr<double[]> memory_;
  std::size_t size_ = 0, capacity_ = 0;
};

}  // namespace fastmlp
