// What core/device.h asks of a device, apart from its kernels: runtime.cu has CUDA's, runtime_emulated.cpp that of the
// emulated device. library.cpp puts them together.
#pragma once

#include <cstddef>

#include "core/device.h"

namespace fastmlp::cuda {

// Those of CudaLibrary, core/cuda_library.h.
int count();
const char* problem();
const char* name(int device);

// Those of Device.
void* allocate(std::size_t bytes);
void release(void* memory);
const char* upload(void* to, const void* from, std::size_t bytes, Stream stream);
const char* download(void* to, const void* from, std::size_t bytes, Stream stream);
const char* copy(void* to, const void* from, std::size_t bytes, Stream stream);
const char* synchronize(Stream stream);
Stream make_stream();
const char* begin_recording(Stream stream);
void* end_recording(Stream stream);
const char* replay(void* recording, Stream stream);
void release_recording(void* recording);

}  // namespace fastmlp::cuda
