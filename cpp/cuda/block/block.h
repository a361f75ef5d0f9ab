// THE MAIN IDEA of this folder: a kernel is a function of a block of threads, written as phases with a barrier after
// each. nvcc makes a GPU kernel of it; an ordinary compiler a loop over blocks, phases and threads (the emulated device), so
// that all of it is tested, under sanitizers too, where there is no GPU.
//
// A kernel is a struct K with
//   kThreads                      the threads of a block
//   struct Params                 its arguments, passed by value
//   struct Registers              what a thread keeps from phase to phase (may be empty)
//   run(Block<K>&, const Params&) the phases; control flow between phases is the same for all threads
//   kBlocks                       if any: blocks that a multiprocessor must have registers for, at a time
// and is started by launch<K>(grid, shared bytes, params, stream).
#pragma once

#if defined(__CUDACC__)
#include <atomic>
#endif

#include "cuda/runtime/runtime.h"

#if defined(__CUDACC__)
#define FASTMLP_DEVICE __device__ __forceinline__
#else
#define FASTMLP_DEVICE inline
#endif

namespace fastmlp::cuda {

struct Dim {
  int x = 1, y = 1, z = 1;
};

// The threads of a block that stand together, at most; of tensor core instructions, exactly.
inline constexpr int kWarp = 32;

#if defined(__CUDACC__)

extern __shared__ __align__(128) unsigned char dynamic_shared[];

template <class K>
class Block {
 public:
  using Registers = typename K::Registers;

  FASTMLP_DEVICE Dim index() const {
    return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)};
  }
  FASTMLP_DEVICE Dim grid() const {
    return {static_cast<int>(gridDim.x), static_cast<int>(gridDim.y), static_cast<int>(gridDim.z)};
  }
  // The launch's shared bytes; undefined at the start.
  FASTMLP_DEVICE unsigned char* shared() const { return dynamic_shared; }

  // phase(thread, its registers) in all threads, then a barrier.
  template <class Phase>
  FASTMLP_DEVICE void each(const Phase& phase) {
    phase(static_cast<int>(threadIdx.x), registers_);
    if constexpr (K::kThreads == kWarp)
      __syncwarp();
    else
      __syncthreads();
  }
  // The same with a barrier among the threads of each warp alone.
  template <class Phase>
  FASTMLP_DEVICE void each_in_warp(const Phase& phase) {
    phase(static_cast<int>(threadIdx.x), registers_);
    __syncwarp();
  }
  // The same without the barrier: the next phase touches nothing that another thread does here.
  template <class Phase>
  FASTMLP_DEVICE void each_alone(const Phase& phase) {
    phase(static_cast<int>(threadIdx.x), registers_);
  }
  // phase(warp, lanes) in all warps, without a barrier; lanes is what warp-wide operations take. See mma.h.
  struct Lanes {
    int lane;
    Registers& own;
  };
  template <class Phase>
  FASTMLP_DEVICE void each_warp(const Phase& phase) {
    Lanes lanes{static_cast<int>(threadIdx.x) % kWarp, registers_};
    phase(static_cast<int>(threadIdx.x) / kWarp, lanes);
  }

 private:
  Registers registers_;
};

template <class K>
inline constexpr int kLeastBlocks = 0;
template <class K>
  requires requires { K::kBlocks; }
inline constexpr int kLeastBlocks<K> = K::kBlocks;

// Programmatic dependent launch: with the attribute that launch() sets, a kernel may start while the one before it in its
// stream still runs, as soon as all blocks of that one have started. What this asks of a kernel:
// - Every thread of it waits here, before it touches any memory and before it ends: for the end of the kernel before it, with
//   all that this one wrote, and, for that one waited, too, of all kernels before. So whatever kernels share (matrices,
//   scratch memory, counters of sums) is used by one at a time, as without the attribute.
// - It lets the next one start at once. That one's blocks take room that no block of this kernel needs: all of them run.
// Where another kind of work comes before or after (a copy, CUTLASS's kernels, the begin of a recording or of another
// library's work) neither instruction has an effect, and both wait for each other's end.
FASTMLP_DEVICE void await_kernel_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

template <class K>
__global__ void __launch_bounds__(K::kThreads, kLeastBlocks<K>)
    entry(const __grid_constant__ typename K::Params params) {
  await_kernel_before();
  Block<K> block;
  K::run(block, params);
}

template <class K>
void launch(Dim grid, std::size_t shared_bytes, const typename K::Params& params, Stream stream) {
  ++enqueued;
  constexpr std::size_t kWithoutAsking = 48 * 1024;
  static std::atomic<std::size_t> granted{kWithoutAsking};
  if (shared_bytes > granted.load(std::memory_order_relaxed)) {
    const cudaError_t status =
        cudaFuncSetAttribute(entry<K>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    note(status);
    if (status == cudaSuccess) granted.store(shared_bytes, std::memory_order_relaxed);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
  config.blockDim = dim3(K::kThreads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = native(stream);
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &early;
  config.numAttrs = unproved() && capability() >= 90 ? 1 : 0;
  note(cudaLaunchKernelEx(&config, entry<K>, params));
}

#else

template <class K>
class Block {
 public:
  using Registers = typename K::Registers;

  Block(Dim index, Dim grid, unsigned char* shared) : index_(index), grid_(grid), shared_(shared) {}

  Dim index() const { return index_; }
  Dim grid() const { return grid_; }
  unsigned char* shared() const { return shared_; }

  template <class Phase>
  void each(const Phase& phase) {
    for (int thread = 0; thread < K::kThreads; ++thread) phase(thread, registers_[thread]);
  }
  // Warps run backwards here, and below threads, so that a missing barrier has a chance to show.
  template <class Phase>
  void each_in_warp(const Phase& phase) {
    for (int warp = K::kThreads / kWarp; warp-- > 0;)
      for (int lane = 0; lane < kWarp; ++lane) phase(warp * kWarp + lane, registers_[warp * kWarp + lane]);
  }
  template <class Phase>
  void each_alone(const Phase& phase) {
    for (int thread = K::kThreads; thread-- > 0;) phase(thread, registers_[thread]);
  }
  struct Lanes {
    Registers* all;  // of the warp's kWarp threads
  };
  template <class Phase>
  void each_warp(const Phase& phase) {
    for (int warp = 0; warp < K::kThreads / kWarp; ++warp) {
      Lanes lanes{registers_ + warp * kWarp};
      phase(warp, lanes);
    }
  }

 private:
  Dim index_, grid_;
  unsigned char* shared_;
  Registers registers_[K::kThreads];
};

template <class K>
void launch(Dim grid, std::size_t shared_bytes, const typename K::Params& params, Stream stream) {
  ++enqueued;
  enqueue(stream, [=] {
    for (int z = 0; z < grid.z; ++z)
      for (int y = 0; y < grid.y; ++y)
        for (int x = 0; x < grid.x; ++x) {
          const SharedMemory shared(shared_bytes);  // of exactly this size, and full of NaNs
          Block<K> block({x, y, z}, grid, shared.data());
          K::run(block, params);
        }
  });
}

#endif

}  // namespace fastmlp::cuda
