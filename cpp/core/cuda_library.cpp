#include "core/cuda_library.h"

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "core/system.h"

namespace fastmlp {

namespace {

struct Opened {
  const CudaLibrary* library = nullptr;
  std::string problem;
};

Opened open() {
  const char* named = std::getenv("FASTMLP_CUDA_LIBRARY");
  const bool asked = named && *named;
  const std::string path = asked ? named : system::own_folder() + "libfastmlp_cuda.so";
  if (!asked && !std::ifstream(path))
    return {nullptr, "this build of fastmlp has no CUDA part (FASTMLP_CUDA=ON pip install builds one)"};
  std::string problem;
  void* const handle = system::open_library(path, &problem);
  if (!handle) return {nullptr, "the CUDA library cannot be opened: " + problem};
  using Function = const CudaLibrary* (*)();
  const auto function = reinterpret_cast<Function>(system::find_symbol(handle, "fastmlp_cuda_library"));
  const CudaLibrary* const library = function ? function() : nullptr;
  if (!library || library->layout != kCudaLayout)
    return {nullptr, path + " does not fit this version of fastmlp: build both together"};
  return {library, ""};
}

}  // namespace

const CudaLibrary* cuda_library(std::string* problem) {
  static const Opened& opened = *new Opened(open());  // to the end of the process, as kernels may run until then
  if (problem) {
    *problem = opened.problem;
    if (opened.library && opened.library->count() == 0) *problem = opened.library->problem();
  }
  return opened.library;
}

const Device& cuda_device() {
  std::string problem;
  const CudaLibrary* const library = cuda_library(&problem);
  if (!library || !problem.empty()) throw std::runtime_error("no CUDA: " + problem);
  return *library->device;
}

}  // namespace fastmlp
