// Arrays in a device's memory, for tests of its library.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "core/device.h"
#include "expect.h"

namespace fastmlp::testing {

// Without what it asks for there is nothing to test.
inline void need(const char* problem) {
  if (!problem) return;
  expect_done(problem);
  std::exit(1);
}

inline const Device* device = nullptr;

class Values {  // of the device, with marks behind them that must stay
 public:
  explicit Values(const std::vector<float>& values) : size_(values.size()) {
    std::vector<float> all = values;
    all.resize(size_ + kBeside, kMark);
    memory_ = static_cast<float*>(device->allocate(all.size() * sizeof(float)));
    if (!memory_) need("out of memory");
    write(all);
  }
  explicit Values(Index size) : Values(std::vector<float>(static_cast<std::size_t>(size), kMark)) {}
  ~Values() { device->release(memory_); }
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;

  float* data() { return memory_; }
  void write(const std::vector<float>& values) {
    need(device->upload(memory_, values.data(), values.size() * sizeof(float), nullptr));
  }
  std::vector<float> read() const {
    std::vector<float> all(size_ + kBeside);
    need(device->download(all.data(), memory_, all.size() * sizeof(float), nullptr));
    for (std::size_t i = size_; i < all.size(); ++i) expect(all[i] == kMark, "nothing is written beside a result");
    all.resize(size_);
    return all;
  }

 private:
  static constexpr std::size_t kBeside = 64;
  static constexpr float kMark = 77;
  std::size_t size_;
  float* memory_ = nullptr;
};

inline std::vector<float> eighths(Index n, std::uint32_t seed) {
  std::vector<float> result(static_cast<std::size_t>(n));
  for (float& v : result) {
    seed = seed * 1664525U + 1013904223U;
    v = static_cast<float>(static_cast<int>(seed >> 24) % 17 - 8) / 8;
  }
  return result;
}

}  // namespace fastmlp::testing
