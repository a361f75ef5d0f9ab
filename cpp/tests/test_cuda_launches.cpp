// A training step of a whole network on the emulated device: how many kernels it starts, and that it comes to the host's
// parameters, with a fused optimizer and with gradients that are kept.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/cuda_library.h"
#include "core/strategies/choice.h"
#include "cuda/runtime/runtime.h"
#include "expect.h"
#include "mlp.h"

extern "C" const fastmlp::CudaLibrary* fastmlp_cuda_library();

namespace {

using namespace fastmlp;
using fastmlp::testing::expect;
using fastmlp::testing::Mlp;

struct Case {
  const char* name;
  std::vector<Index> sizes;
  Index rows;
  LossKind loss;
  OptimizerKind optimizer;
  std::uint64_t kernels;  // of a step whose rows are given by numbers
};

// A network and what a few steps make of it.
class Training {
 public:
  Training(const Case& c, const Device& device, bool fused)
      : mlp_(c.sizes, ActivationKind::Tanh, ActivationKind::Identity, 3), program_(on(device)) {
    OptimizerOptions options;
    options.lr = 0.01;
    Optimizer<float> optimizer(c.optimizer, options, mlp_.parameters);
    const auto runner = make_runner(program_, device.host ? Strategy::Dense : Strategy::Device);
    runner->prepare(c.rows, c.sizes[0], true);

    const Philox random(5, 0);
    const Index all = 2 * c.rows, in = c.sizes[0], out = c.sizes.back();
    std::vector<float> x, dense;
    std::vector<Index> classes, ids;
    std::uint64_t n = 0;
    for (Index i = 0; i < all * in; ++i) x.push_back(static_cast<float>(random.normal(n++)));
    for (Index i = 0; i < all * out; ++i) dense.push_back(static_cast<float>(random.normal(n++)));
    for (Index r = 0; r < all; ++r) {
      classes.push_back(static_cast<Index>(random.below(n++, static_cast<std::uint64_t>(out))));
      ids.push_back((r * 7 + 3) % all);
    }
    const Buffer<float> device_x = moved(x, device), device_dense = moved(dense, device);
    const Buffer<Index> device_classes = moved(classes, device), device_ids = moved(ids, device);
    Batch<float> batch;
    batch.x = device_x.data();
    if (is_class_loss(c.loss))
      batch.targets.classes = device_classes.data();
    else
      batch.targets.dense = device_dense.data();
    batch.ids = device_ids.data();
    batch.rows = c.rows;
    LossSpec loss;
    loss.kind = c.loss;
    for (int step = 0; step < 3; ++step) {
      const std::uint64_t before = cuda::enqueued;
      losses.push_back(runner->step(loss, batch, nullptr, fused ? &optimizer : nullptr));
      kernels = cuda::enqueued - before;
    }
    for (const auto& parameter : mlp_.parameters) {
      const float* from = fused ? parameter->value.data() : parameter->grad_memory();
      results.insert(results.end(), from, from + parameter->size());  // the emulated device's memory is the host's
    }
  }

  std::vector<double> losses;
  std::vector<float> results;
  std::uint64_t kernels = 0;  // of the last step

 private:
  std::vector<Operation<float>> on(const Device& device) {
    for (const auto& parameter : mlp_.parameters)
      if (!device.host) parameter->take(parameter->moved_to(device));
    return mlp_.layers;
  }
  template <class V>
  static Buffer<V> moved(const std::vector<V>& values, const Device& device) {
    Buffer<V> buffer(device);
    buffer.reserve(values.size());
    std::copy(values.begin(), values.end(), buffer.data());
    return buffer;
  }

  Mlp<float> mlp_;
  Program<float> program_;
};

void test(const Case& c, const Device& device) {
  for (const bool fused : {true, false}) {
    const Training host(c, host_device(), fused), on_device(c, device, fused), again(c, device, fused);
    bool fine = true, same = true;
    for (std::size_t i = 0; i < host.losses.size(); ++i) {
      fine &= std::abs(host.losses[i] - on_device.losses[i]) <= 1e-4 * std::abs(host.losses[i]);
      same &= again.losses[i] == on_device.losses[i];
    }
    expect(fine, c.name + std::string(": losses"));
    fine = true;
    for (std::size_t i = 0; i < host.results.size(); ++i) {
      // Adam divides gradients by their size, so that the smallest ones' roundings count.
      fine &= std::abs(host.results[i] - on_device.results[i]) <= 2e-3f * (0.1f + std::abs(host.results[i]));
      same &= again.results[i] == on_device.results[i];
    }
    expect(fine, c.name + std::string(fused ? ": parameters" : ": gradients"));
    expect(same, c.name + std::string(": the same again"));
    if (fused) std::printf("%s: %d kernels a step\n", c.name, static_cast<int>(on_device.kernels));
    expect(on_device.kernels == c.kernels, c.name + std::string(": kernels of a step"));
  }
}

}  // namespace

int main() {
  const Device& device = *fastmlp_cuda_library()->device;
  const Case cases[] = {
      {"3072-512-2, 64 rows, SGD", {3072, 512, 2}, 64, LossKind::CrossEntropy, OptimizerKind::SGD, 4},
      {"784-512-512-10, 128 rows, SGD", {784, 512, 512, 10}, 128, LossKind::CrossEntropy, OptimizerKind::SGD, 6},
      {"100-256-256-256-1, 256 rows, Adam", {100, 256, 256, 256, 1}, 256, LossKind::MSE, OptimizerKind::Adam, 8},
      {"64-96-40, 64 rows, Adam", {64, 96, 40}, 64, LossKind::CrossEntropy, OptimizerKind::Adam, 6},
  };
  for (const Case& c : cases) test(c, device);
  return testing::report();
}
