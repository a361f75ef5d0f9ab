// A check of the values that blocks exchange: whether the counters that they wait for order each pair of accesses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "cuda/medium/exchange.h"

namespace fastmlp::testing {

using cuda::ExchangeWatch;

// Each block has a clock that ticks with its items, and knows of each other's up to where a counter has told it. An access
// to a value is fine if all conflicting accesses before it, in this order of running, are known to the block.
class Races {
 public:
  explicit Races(int blocks)
      : blocks_(static_cast<std::size_t>(blocks)), clocks_(blocks_, std::vector<std::uint32_t>(blocks_, 0)) {
    ExchangeWatch::see = [this](const void* address, std::size_t bytes, ExchangeWatch::Access access) {
      for (std::size_t at = 0; at < bytes; at += sizeof(float))
        touch(static_cast<const char*>(address) + at, access == ExchangeWatch::Access::Write);
    };
  }
  ~Races() { ExchangeWatch::see = nullptr; }

  void enter(int block, const unsigned* counter) {
    running_ = static_cast<std::size_t>(block);
    if (counter) join(clocks_[running_], released_[counter]);
    ++clocks_[running_][running_];
  }
  void leave(int block, const unsigned* counter) {
    if (counter) join(released_[counter], clocks_[static_cast<std::size_t>(block)]);
  }
  long races() const { return races_; }
  std::size_t touched() const { return values_.size(); }

 private:
  struct Access {
    std::uint32_t block, clock;
  };
  struct Value {
    Access write{~0U, 0};
    std::vector<Access> reads;  // since the last write, of each block the last one
  };

  void join(std::vector<std::uint32_t>& to, const std::vector<std::uint32_t>& from) {
    to.resize(blocks_, 0);
    for (std::size_t i = 0; i < from.size(); ++i) to[i] = std::max(to[i], from[i]);
  }
  bool knows(const Access& access) const { return clocks_[running_][access.block] >= access.clock; }
  void touch(const void* address, bool write) {
    Value& value = values_[address];
    const Access now{static_cast<std::uint32_t>(running_), clocks_[running_][running_]};
    races_ += value.write.block != ~0U && !knows(value.write);
    if (write) {
      for (const Access& read : value.reads) races_ += !knows(read);
      value.reads.clear();
      value.write = now;
      return;
    }
    for (Access& read : value.reads)
      if (read.block == now.block) {
        read = now;
        return;
      }
    value.reads.push_back(now);
  }

  std::size_t blocks_, running_ = 0;
  std::vector<std::vector<std::uint32_t>> clocks_;
  std::unordered_map<const unsigned*, std::vector<std::uint32_t>> released_;
  std::unordered_map<const void*, Value> values_;
  long races_ = 0;
};

}  // namespace fastmlp::testing
