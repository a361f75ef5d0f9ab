// Copies from the device's memory to a block's shared memory on which no thread waits before await_copies (and a
// barrier, for what other threads copied).
#pragma once

#include "cuda/block/block.h"

#if defined(__CUDACC__)
#include <cuda_pipeline.h>
#endif

namespace fastmlp::cuda {

// 4, 8 or 16 bytes, aligned to as many.
template <int bytes>
FASTMLP_DEVICE void copy_async(void* to, const void* from) {
#if defined(__CUDACC__)
  __pipeline_memcpy_async(to, from, bytes);
#else
  std::memcpy(to, from, bytes);
#endif
}

// Waits for all copies of this thread.
FASTMLP_DEVICE void await_copies() {
#if defined(__CUDACC__)
  __pipeline_commit();
  __pipeline_wait_prior(0);
#endif
}

}  // namespace fastmlp::cuda
