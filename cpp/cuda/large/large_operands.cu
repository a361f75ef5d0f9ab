#include "cuda/large/large_operands.h"

#include "cuda/large/large.h"

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

#include <cuda_bf16.h>

#include <algorithm>
#include <limits>

namespace fastmlp::cuda {

namespace large {

namespace {

// Below these the kernels for smaller shapes are as fast: a tile would be mostly empty, or the rounding of the operands
// costs more than the product.
constexpr Index kLeastRows = 192, kLeastWidth = 256, kLeastProducts = Index{1} << 29;
constexpr Index kMost = std::numeric_limits<int>::max();

constexpr int kValues = 8;  // of a thread at a time: 32 bytes in, 16 out
constexpr int kThreads = 256;

struct Rounding {
  const float* from;
  __nv_bfloat16* to;
  Index rows, columns, ld;
};

__global__ void __launch_bounds__(kThreads) round_rows(const Rounding work) {
  const Index step = static_cast<Index>(gridDim.x) * kThreads * kValues;
  for (Index row = blockIdx.y; row < work.rows; row += gridDim.y)
    for (Index at = (static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x) * kValues; at < work.columns;
         at += step) {
      const float4* from = reinterpret_cast<const float4*>(work.from + row * work.ld + at);
      const float4 a = from[0], b = from[1];
      union {
        __nv_bfloat162 pairs[kValues / 2];
        uint4 all;
      } rounded{{__floats2bfloat162_rn(a.x, a.y), __floats2bfloat162_rn(a.z, a.w), __floats2bfloat162_rn(b.x, b.y),
                 __floats2bfloat162_rn(b.z, b.w)}};
      *reinterpret_cast<uint4*>(work.to + row * work.columns + at) = rounded.all;
    }
}

struct Shared {
  std::mutex mutex;
  Copies copies;
};
Shared& shared() {
  static Shared& instance = *new Shared;  // for as long as the process lives, as devices go first
  return instance;
}

bool recording(Stream stream, std::uint64_t* number = nullptr) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long id = 0;
  if (cudaStreamGetCaptureInfo(native(stream), &status, &id) != cudaSuccess) {
    cudaGetLastError();
    return true;  // the careful answer
  }
  const bool active = status == cudaStreamCaptureStatusActive;
  if (number && active) *number = id;
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace

bool suits(Index M, Index N, Index K, const Context& context) {
  return context.precision == Precision::BF16 && capability() == 90 && M >= kLeastRows &&
         std::min(N, K) >= kLeastWidth && M * N >= kLeastProducts / K && N % kValues == 0 && K % kValues == 0 &&
         std::max({M, N, K}) <= kMost;
}

bool aligned(std::initializer_list<const float*> matrices, std::initializer_list<Index> lds) {
  constexpr std::uintptr_t kBytes = 16;
  constexpr Index kFloats = kBytes / sizeof(float);
  return std::all_of(matrices.begin(), matrices.end(),
                     [](const float* p) { return reinterpret_cast<std::uintptr_t>(p) % kBytes == 0; }) &&
         std::all_of(lds.begin(), lds.end(), [](Index ld) { return ld % kFloats == 0; });
}

Moment moment(const Context& context) {
  Moment now;
  if (!context.replay) return now;
  recording(context.stream, &now.recording);
  now.step = context.replay->offset;
  now.enqueued = enqueued;
  return now;
}

Table::Table() : lock_(shared().mutex) {}

Copy* Table::find(const Matrix& matrix) { return shared().copies.find(matrix); }

Copy* Table::operand(const Matrix& matrix, const Context& context) {
  return shared().copies.find_or_make(matrix, [&](Index elements) -> void* {
    void* memory = nullptr;
    if (recording(context.stream)) return memory;
    if (cudaMalloc(&memory, static_cast<std::size_t>(elements) * sizeof(__nv_bfloat16)) != cudaSuccess)
      cudaGetLastError();  // a product without copies takes over
    return memory;
  });
}

void convert(const Matrix& matrix, const Copy& copy, const Context& context) {
  Rounding work{matrix.values, static_cast<__nv_bfloat16*>(copy.memory), matrix.rows, matrix.columns, matrix.ld};
  if (work.ld == work.columns) {
    work.columns *= work.rows;
    work.rows = 1;
  }
  // As many blocks as stand at once on the device, if there is work for them.
  const Index most = Index{8} * multiprocessors();
  const Index across = std::min(most, (work.columns / kValues + kThreads - 1) / kThreads);
  const Index down = std::min({work.rows, std::max<Index>(1, most / across), Index{65535}});
  const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(down));
  round_rows<<<grid, kThreads, 0, native(context.stream)>>>(work);
  note(cudaGetLastError());
}

}  // namespace large

bool large_takes(Index M, Index N, Index K, const Context& context) { return large::suits(M, N, K, context); }

void large_tidy() {
  large::Table only;  // holds the table
  large::shared().copies.tidy(
      [](const float* values) {
        cudaPointerAttributes attributes{};
        const bool known = cudaPointerGetAttributes(&attributes, values) == cudaSuccess;
        if (!known) cudaGetLastError();
        return !known || attributes.type == cudaMemoryTypeUnregistered;
      },
      [](void* memory) { note(cudaFree(memory)); });
}

}  // namespace fastmlp::cuda

#else

namespace fastmlp::cuda {

bool large_takes(Index, Index, Index, const Context&) { return false; }

void large_tidy() {}

}  // namespace fastmlp::cuda

#endif
