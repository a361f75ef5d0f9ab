#include "cuda/large/large_operands.h"

#include "cuda/large/large.h"
#include "cuda/large/round_rows.h"

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

#include <algorithm>
#include <limits>

namespace fastmlp::cuda {

namespace large {

namespace {

// Below these the kernels for smaller shapes are as fast: a tile would be mostly empty, or the rounding of the operands
// costs more than the product.
constexpr Index kLeastRows = 192, kLeastWidth = 256, kLeastProducts = Index{1} << 29;
constexpr Index kMost = std::numeric_limits<int>::max();

constexpr int kValues = RoundRows::kValues;

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

Source source(const ValueState& state, const Context& context) {
  if (!state.known() || recording(context.stream)) return {};
  return {state, context.stream};
}

Table::Table() : lock_(shared().mutex) {}

Copy* Table::find(const Matrix& matrix) { return shared().copies.find(matrix); }

Copy* Table::operand(const Matrix& matrix, const Context& context) {
  return shared().copies.find_or_make(matrix, [&](const Matrix& of) -> void* {
    void* memory = nullptr;
    if (recording(context.stream)) return memory;
    const Index bytes =
        unproved() ? SumsLayout::first_byte(of) + SumsLayout(of).bytes() : of.size() * Index{sizeof(std::uint16_t)};
    if (cudaMalloc(&memory, static_cast<std::size_t>(bytes)) != cudaSuccess)
      cudaGetLastError();  // a product without copies takes over
    return memory;
  });
}

float* column_sums(const Matrix& matrix, const Copy& copy) {
  return reinterpret_cast<float*>(static_cast<char*>(copy.memory) + SumsLayout::first_byte(matrix));
}

void convert(const Matrix& matrix, const Copy& copy, const Context& context, const BatchRows& batch) {
  const WritesNoOperand copies;
  round_rows({matrix.values, static_cast<std::uint16_t*>(copy.memory), matrix.rows, matrix.columns, matrix.ld, batch},
             multiprocessors(), context.stream);
}

}  // namespace large

void large_column_sums(AffineBackwardWeight<float>& a, const Context& context) {
  if (!unproved() || !large::suits(a.M, a.N, a.K, context)) return;
  large::Table table;
  const Matrix dz_matrix{a.dz, a.M, a.N, a.lddz};
  const Copy* const dz = table.find(dz_matrix);
  if (!dz || !dz->summed(large::moment(context))) return;
  const SumsLayout sums(dz_matrix);
  a.dz = large::column_sums(dz_matrix, *dz);
  a.M = sums.rows;
  a.lddz = sums.columns;
}

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

void large_column_sums(AffineBackwardWeight<float>&, const Context&) {}
void large_tidy() {}

}  // namespace fastmlp::cuda

#endif
