// Copies from and to the host's pageable memory, by way of pinned memory that stays. CUDA's runtime alone includes it.
#pragma once

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/runtime/runtime.h"

namespace fastmlp::cuda {

inline cudaEvent_t new_event() {
  cudaEvent_t event = nullptr;
  note(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
  return event;
}

// Uploads: two pieces of memory in turns, so that one is filled while the other is under way.
class Stage {
 public:
  static constexpr std::size_t kBytes = std::size_t{4} << 20;

  // Without the pinned memory CUDA copies by itself, more slowly.
  void upload(unsigned char* to, const unsigned char* from, std::size_t bytes, cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!ready()) return note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), kDoing);
    for (std::size_t at = 0; at < bytes; at += kBytes) {
      PinnedBuffer& buffer = buffers_[turn_];
      turn_ = 1 - turn_;
      const std::size_t count = std::min(kBytes, bytes - at);
      note(cudaEventSynchronize(buffer.taken), kDoing);
      std::memcpy(buffer.memory, from + at, count);
      note(cudaMemcpyAsync(to + at, buffer.memory, count, cudaMemcpyHostToDevice, stream), kDoing);
      note(cudaEventRecord(buffer.taken, stream), kDoing);
    }
  }

 private:
  static constexpr const char* kDoing = "copying from the host";
  struct PinnedBuffer {
    void* memory = nullptr;
    cudaEvent_t taken = nullptr;  // after its last copy
  };

  bool ready() {
    for (PinnedBuffer& buffer : buffers_) {
      if (!buffer.memory && cudaMallocHost(&buffer.memory, kBytes) != cudaSuccess) buffer.memory = nullptr;
      if (!buffer.taken && cudaEventCreateWithFlags(&buffer.taken, cudaEventDisableTiming) != cudaSuccess)
        buffer.taken = nullptr;
      if (buffer.memory && buffer.taken) continue;
      cudaGetLastError();
      return false;
    }
    return true;
  }

  std::mutex mutex_;
  PinnedBuffer buffers_[2];
  int turn_ = 0;
};

inline Stage& stage() {
  static Stage& instance = *new Stage;
  return instance;
}

// Downloads that nobody waits for yet: each has a piece of memory of its own.
class Downloads {
 public:
  struct One {
    void* memory = nullptr;
    std::size_t room = 0, bytes = 0;
    cudaEvent_t done = nullptr;
  };

  // Null where it fails, which is noted.
  One* begin(const void* from, std::size_t bytes, cudaStream_t stream) {
    One* const one = take();
    one->bytes = bytes;
    cudaError_t status = one->done ? cudaSuccess : cudaEventCreateWithFlags(&one->done, cudaEventDisableTiming);
    if (one->room < bytes && status == cudaSuccess) {
      if (one->memory) cudaFreeHost(std::exchange(one->memory, nullptr));
      one->room = 0;
      const std::size_t room = std::max(bytes, std::size_t{64} << 10);
      status = cudaMallocHost(&one->memory, room);
      if (status == cudaSuccess) one->room = room;
    }
    if (status == cudaSuccess) status = cudaMemcpyAsync(one->memory, from, bytes, cudaMemcpyDeviceToHost, stream);
    if (status == cudaSuccess) status = cudaEventRecord(one->done, stream);
    if (status == cudaSuccess) return one;
    note(status, kDoing);
    give_back(one);
    return nullptr;
  }

  void end(One* one, void* to) {
    const cudaError_t status = cudaEventSynchronize(one->done);
    note(status, "waiting for the device");
    if (to && status == cudaSuccess) std::memcpy(to, one->memory, one->bytes);
    give_back(one);
  }

 private:
  static constexpr const char* kDoing = "copying to the host";

  One* take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return new One;
    One* const one = free_.back();
    free_.pop_back();
    return one;
  }
  void give_back(One* one) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(one);
  }

  std::mutex mutex_;
  std::vector<One*> free_;
};

inline Downloads& downloads() {
  static Downloads& instance = *new Downloads;
  return instance;
}

}  // namespace fastmlp::cuda
