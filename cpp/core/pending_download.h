// Values on their way from a device to the host.
#pragma once

#include <utility>

#include "core/device.h"

namespace fastmlp {

// See Device::begin_download. Where it ends untaken, nobody gets the values.
class PendingDownload {
 public:
  PendingDownload() = default;
  // `to` stays until the values are taken.
  PendingDownload(const Device& device, const void* from, std::size_t bytes, Stream stream, void* to)
      : device_(&device), download_(device.begin_download(from, bytes, stream)), to_(to) {
    if (download_) return;
    check(device.launch_problem());
    throw std::runtime_error("CUDA: a copy to the host failed");
  }
  PendingDownload(PendingDownload&& other) noexcept
      : device_(other.device_), download_(std::exchange(other.download_, nullptr)), to_(other.to_) {}
  PendingDownload& operator=(PendingDownload&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(download_, other.download_);
    std::swap(to_, other.to_);
    return *this;
  }
  ~PendingDownload() {
    if (download_) device_->end_download(download_, nullptr);
  }

  // Waits for the values, if there are any to come.
  void take() {
    if (download_) check(device_->end_download(std::exchange(download_, nullptr), to_));
  }

 private:
  const Device* device_ = nullptr;
  void* download_ = nullptr;
  void* to_ = nullptr;
};

}  // namespace fastmlp
