// The instruction set, the threads, the CUDA device, and what was built.
#include "bindings/device_arrays.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "core/cuda_library.h"
#include "core/processors.h"
#include "core/strategies/choice.h"
#include "core/thread_pool.h"

namespace fastmlp::bindings {

namespace {

template <std::size_t N>
py::tuple names(const char* const (&list)[N]) {
  py::tuple result(N);
  for (std::size_t i = 0; i < N; ++i) result[i] = list[i];
  return result;
}

std::vector<std::string> available_isas() {
  int count = 0;
  const Isa* const* isas = compiled_isas(count);
  std::vector<std::string> result;
  for (int i = 0; i < count; ++i)
    if (isas[i]->supported()) result.emplace_back(isas[i]->name);
  return result;
}

// GFLOP/s of float32 FMAs on so many threads at once.
double fma_peak(double seconds, int threads) {
  if (!(seconds > 0)) throw py::value_error("seconds: expected a positive number, got " + std::to_string(seconds));
  if (threads < 1 || threads > kMostThreads)
    throw py::value_error("threads: expected 1 to " + std::to_string(kMostThreads) + ", got " +
                          std::to_string(threads));
  struct Job {
    double seconds;
    std::vector<double> flops;
  } job{seconds, std::vector<double>(static_cast<std::size_t>(threads))};
  const WithoutGil release;
  const Executor executor = thread_pool_executor();
  executor.run(
      executor.pool, threads, threads,
      [](void* context, int task, int) {
        auto& j = *static_cast<Job*>(context);
        j.flops[static_cast<std::size_t>(task)] = active_isa().fma_flops(j.seconds);
      },
      &job);
  double total = 0;
  for (const double flops : job.flops) total += flops;
  return total / 1e9;
}

std::map<std::string, Index> product_blocks() {
  const ProductBlocks blocks = active_isa().product_blocks();
  return {{"MR", blocks.MR}, {"NR", blocks.NR}, {"KC", blocks.KC},
          {"MC", blocks.MC}, {"L1", blocks.l1}, {"L2", blocks.l2}};
}

std::map<std::string, std::string> build_info() {
  return {{"version", FASTMLP_VERSION}, {"compiler", FASTMLP_COMPILER}, {"build_type", FASTMLP_BUILD_TYPE}};
}

int cuda_device_count() {
  const CudaLibrary* library = cuda_library();
  return library ? library->count() : 0;
}

// Why there is no CUDA device to use, or None.
py::object cuda_problem() {
  std::string problem;
  const CudaLibrary* library = cuda_library(&problem);
  if (library && library->count() > 0) return py::none();
  return py::str(problem);
}

std::string cuda_device_name(int device) {
  cuda_device();  // or an error that says what is missing
  return cuda_library()->name(device);
}

void cuda_synchronize() {
  const Device& device = cuda_device();
  join_streams(device);
  const WithoutGil release;
  check(device.synchronize(StreamScope::current()));
}

}  // namespace

void bind_runtime(py::module_& m) {
  // They look at the environment: a wrong setting is an error at import, not at the first step.
  active_isa();
  forced_strategy();
  num_threads();
  m.attr("ACTIVATIONS") = names(kActivationNames);
  m.attr("ROW_ACTIVATIONS") = names(kRowActivationNames);
  m.attr("LOSSES") = names(kLossNames);
  m.attr("OPTIMIZERS") = names(kOptimizerNames);
  m.attr("PRECISIONS") = names(kPrecisionNames);
  m.def("isa", [] { return active_isa().name; });
  m.def("available_isas", available_isas);
  m.def("bf16_instructions", bf16_instructions);
  m.def("strategy", [] { return kStrategyNames[static_cast<int>(forced_strategy())]; });
  m.def("build_info", build_info);
  m.def("product_blocks", product_blocks);
  m.def("fma_peak", fma_peak, py::arg("seconds"), py::arg("threads"));
  m.def("set_num_threads", set_num_threads, py::arg("n"));
  m.def("limit_own_threads", limit_own_threads, py::arg("n"));
  m.def("get_num_threads", num_threads);
  m.def("cgroup_processors", cgroup_processors, py::arg("process"), py::arg("groups"));
  m.def("cuda_device_count", cuda_device_count);
  m.def("cuda_problem", cuda_problem);
  m.def("cuda_device_name", cuda_device_name, py::arg("device"));
  m.def("cuda_synchronize", cuda_synchronize);
}

}  // namespace fastmlp::bindings
