// What core/device.h asks of a device, apart from its kernels: runtime.cu has CUDA's, runtime_emulated.cpp that of the
// emulated device. table.cpp puts them together.
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
const char* wait(Stream stream, Stream other);
void* begin_download(const void* from, std::size_t bytes, Stream stream);
const char* end_download(void* download, void* to);
const char* launch_problem();
Stream make_stream();
const char* begin_recording(Stream stream);
void* end_recording(Stream stream);
const char* replay(void* recording, Stream stream);
void release_recording(void* recording);
std::uint64_t capture(Stream stream);

// What `upload` and others say while the stream is in a capture of the caller's.
inline constexpr const char* kCaptured =
    "CUDA: a graph is being captured in this stream, and what this call needs is not ready, or it copies from or to "
    "the "
    "host: call once with as many rows before the capture, and with arrays on the device";

}  // namespace fastmlp::cuda
