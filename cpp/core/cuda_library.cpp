#include "core/cuda_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace fastmlp {

namespace {

struct Opened {
  const CudaLibrary* library = nullptr;
  std::string problem;
};

// The file beside the one that this code is in.
std::string beside(const char* file) {
  Dl_info here{};
  if (!dladdr(reinterpret_cast<const void*>(&cuda_device), &here) || !here.dli_fname) return file;
  const std::string path = here.dli_fname;
  return path.substr(0, path.rfind('/') + 1) + file;  // all of it, or nothing before the name
}

Opened open() {
  const char* named = std::getenv("FASTMLP_CUDA_LIBRARY");
  const bool asked = named && *named;
  const std::string path = asked ? named : beside("libfastmlp_cuda.so");
  if (!asked && access(path.c_str(), F_OK) != 0)
    return {nullptr, "this build of fastmlp has no CUDA part (it is built where CMake has -DFASTMLP_CUDA=ON)"};
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* why = dlerror();
    return {nullptr, std::string("the CUDA library cannot be opened: ") + (why ? why : path)};
  }
  using Function = const CudaLibrary* (*)();
  const auto function = reinterpret_cast<Function>(dlsym(handle, "fastmlp_cuda_library"));
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
