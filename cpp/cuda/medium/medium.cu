// Training across all blocks of a device (plan.h). No device has run it yet: it is off unless the environment says
// FASTMLP_CUDA_UNPROVED=1.
#include "cuda/runtime/kernels.h"

#if defined(__CUDACC__)
#include "cuda/medium/steps.h"
#else
#include "cuda/medium/interleaved.h"
#endif

namespace fastmlp::cuda {

namespace {

// The losses of all steps from those of the rows of blocks.
struct SumLosses {
  static constexpr int kThreads = 128;
  struct Params {
    const double* parts;
    int rows;
    double scale;
    Index steps;
    double* losses;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<SumLosses>& block, const Params& p) {
    block.each([&](int thread, Registers&) {
      const Index step = static_cast<Index>(block.index().x) * kThreads + thread;
      if (step >= p.steps) return;
      double sum = 0;
      for (int r = 0; r < p.rows; ++r) sum += p.parts[step * p.rows + r];
      p.losses[step] = sum * p.scale;
    });
  }
};

#if defined(__CUDACC__)

__global__ void __launch_bounds__(kGridThreads, 1) grid_training(const __grid_constant__ GridKernel::Params params) {
  Block<GridKernel> block;
  GridTraining::run(block, params);
}

// All blocks run at the same time, or none: a cooperative launch; where the plan has clusters, of a column's blocks.
struct Launch {
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config{};

  Launch(const GridPlan& plan, cudaStream_t stream) {
    attributes[0].id = cudaLaunchAttributeCooperative;
    attributes[0].val.cooperative = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim.x = static_cast<unsigned>(plan.rows);
    attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
    config.gridDim = dim3(static_cast<unsigned>(plan.blocks()));
    config.blockDim = dim3(kGridThreads);
    config.dynamicSmemBytes = static_cast<std::size_t>(plan.bytes);
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = plan.clusters ? 2 : 1;
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
};

void launch_training(const GridKernel::Params& params, Stream stream) {
  ++enqueued;
  const GridPlan& plan = params.plan;
  note(cudaMemsetAsync(params.workspace, 0, plan.counter_bytes(), native(stream)));
  note(cudaFuncSetAttribute(grid_training, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.bytes));
  const Launch launch(plan, native(stream));
  note(cudaLaunchKernelEx(&launch.config, grid_training, params));
}

// Whether each multiprocessor takes a block with so much shared memory, and clusters find multiprocessors side by side.
bool takes_blocks(const GridPlan& plan) {
  int fit = 0;
  cudaFuncSetAttribute(grid_training, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.bytes);
  const Launch launch(plan, nullptr);
  const cudaError_t status = plan.clusters ? cudaOccupancyMaxActiveClusters(&fit, grid_training, &launch.config)
                                           : cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                                                 &fit, grid_training, kGridThreads, launch.config.dynamicSmemBytes);
  if (status != cudaSuccess) cudaGetLastError();
  return status == cudaSuccess && fit >= (plan.clusters ? plan.columns : 1) && capability() == 90;
}

#else

void launch_training(const GridKernel::Params& params, Stream stream) {
  ++enqueued;
  enqueue(stream, [=] {
    std::memset(params.workspace, 0, params.plan.counter_bytes());
    Interleaving all(params);
    // The one that waits least goes on as far as it can.
    all.run([](const std::vector<int>& ready) { return ready.back(); }, [](int, const unsigned*) {},
            [](int, const unsigned*) {});
  });
}

bool takes_blocks(const GridPlan&) { return true; }

#endif

bool plan_for_device(const SingleBlockTraining<float>& a, GridPlan& plan) {
  constexpr int kRows = 8;
  const int columns = multiprocessors() >= 16 * kRows ? 16 : 8;
  if (multiprocessors() < kRows * columns) return false;
  for (const bool clusters : {true, false})
    if (plan_grid(a, kRows, columns, clusters, most_shared_bytes(), plan) && takes_blocks(plan)) return true;
  return false;
}

}  // namespace

template <>
std::size_t workspace_across_blocks<float>(const SingleBlockTraining<float>& a) {
  GridPlan plan;
  return unproved() && plan_for_device(a, plan) ? plan.workspace_bytes(a.steps) : 0;
}
template <>
std::size_t workspace_across_blocks<double>(const SingleBlockTraining<double>&) {
  return 0;
}

template <>
void train_across_blocks<float>(const SingleBlockTraining<float>& a, void* workspace, const Context& context) {
  GridPlan plan;
  plan_for_device(a, plan);
  const GridKernel::Params params = grid_params(a, plan, workspace);
  launch_training(params, context.stream);
  const auto* const parts =
      reinterpret_cast<const double*>(static_cast<const unsigned char*>(workspace) + plan.losses_at());
  launch<SumLosses>({static_cast<int>(divide_up<Index>(a.steps, SumLosses::kThreads))}, 0,
                    {parts, plan.rows, params.scale, a.steps, a.losses}, context.stream);
}
template <>
void train_across_blocks<double>(const SingleBlockTraining<double>&, void*, const Context&) {}

}  // namespace fastmlp::cuda
