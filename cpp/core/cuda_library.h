// The CUDA backend's library, opened when it is first asked for: libfastmlp_cuda.so beside the extension, or the one that
// FASTMLP_CUDA_LIBRARY names. The package works without it, and without a driver.
#pragma once

#include <string>

#include "core/device.h"

namespace fastmlp {

// What the library exports, as `extern "C" const CudaLibrary* fastmlp_cuda_library()`.
struct CudaLibrary {
  int layout;                // kCudaLayout, or the two do not fit
  int (*count)();            // devices; 0 where there is no driver, too
  const char* (*problem)();  // why count() is 0: "no NVIDIA driver ..."
  const char* (*name)(int);  // of a device
  const Device* device;      // the first one
};
inline constexpr int kCudaLayout = 5;

// The library, or null where there is none; then *problem says why, as it does where the library has no device.
const CudaLibrary* cuda_library(std::string* problem = nullptr);
// The first device; throws std::runtime_error that says what is missing: the build's CUDA part, a driver, or a device.
const Device& cuda_device();

}  // namespace fastmlp
