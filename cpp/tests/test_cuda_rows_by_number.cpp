// Steps on the emulated device whose rows are chosen by number, which the first product then looks up itself: the same bits
// as on rows that lie one after the other, in recordings and step by step.
#include <cstring>
#include <vector>

#include "core/cuda_library.h"
#include "core/optimizer.h"
#include "core/strategies/device/device_runner.h"
#include "expect.h"
#include "mlp.h"

extern "C" const fastmlp::CudaLibrary* fastmlp_cuda_library();

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

constexpr Index kIn = 300, kHidden = 230, kOut = 5, kRows = 24, kSteps = 21, kData = 400;

const Device& device() { return *fastmlp_cuda_library()->device; }

template <class V>
Buffer<V> on_device(const std::vector<V>& values) {
  Buffer<V> buffer(values.size(), device());
  device().upload(buffer.data(), values.data(), values.size() * sizeof(V), nullptr);
  return buffer;
}

std::vector<float> numbers(Index n, std::uint64_t seed) {
  const Philox random(seed, stream(StreamUse::Values, 0));
  std::vector<float> values;
  for (Index i = 0; i < n; ++i)
    values.push_back(static_cast<float>(2 * random.uniform(static_cast<std::uint64_t>(i)) - 1));
  return values;
}

// The parameters after `steps(runner, optimizer)`.
template <class Steps>
std::vector<float> trained(const Steps& steps) {
  testing::Mlp<float> net({kIn, kHidden, kOut}, ActivationKind::Tanh, ActivationKind::Identity, 3);
  for (const auto& parameter : net.parameters) parameter->take(parameter->moved_to(device()));
  const Program<float> program(net.layers);
  Optimizer<float> optimizer(OptimizerKind::Adam, {}, net.parameters);
  DeviceRunner<float> runner(program);
  runner.prepare(kRows, kIn, true);
  steps(runner, optimizer);
  std::vector<float> values;
  for (const auto& parameter : net.parameters) {
    std::vector<float> own(static_cast<std::size_t>(parameter->size()));
    device().download(own.data(), parameter->value.data(), own.size() * sizeof(float), nullptr);
    values.insert(values.end(), own.begin(), own.end());
  }
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

int main() {
  const std::vector<float> x = numbers(kData * kIn, 1), targets = numbers(kData * kOut, 2);
  std::vector<Index> ids;
  std::vector<float> x_rows, target_rows;
  for (Index i = 0; i < kRows * kSteps; ++i) {
    const Index row = (37 * i + 5) % kData;
    ids.push_back(row);
    x_rows.insert(x_rows.end(), x.begin() + row * kIn, x.begin() + (row + 1) * kIn);
    target_rows.insert(target_rows.end(), targets.begin() + row * kOut, targets.begin() + (row + 1) * kOut);
  }
  const auto data_x = on_device(x), data_targets = on_device(targets);
  const auto ordered_x = on_device(x_rows), ordered_targets = on_device(target_rows);
  const auto numbers_of_rows = on_device(ids);
  const auto batch = [](const Buffer<float>& values, const Buffer<float>& wanted, const Index* chosen) {
    Batch<float> made;
    made.x = values.data();
    made.targets.dense = wanted.data();
    made.ids = chosen;
    made.rows = kRows;
    return made;
  };
  const Batch<float> chosen = batch(data_x, data_targets, numbers_of_rows.data());
  const Batch<float> ordered = batch(ordered_x, ordered_targets, nullptr);
  const LossSpec loss;

  const auto replayed = [&](const Batch<float>& rows) {
    return trained([&](Runner<float>& runner, Optimizer<float>& optimizer) {
      std::vector<double> losses(kSteps);
      runner.steps(loss, rows, kSteps, false, {}, optimizer, losses.data());
    });
  };
  const auto one_by_one = [&](Batch<float> rows) {
    return trained([&](Runner<float>& runner, Optimizer<float>& optimizer) {
      for (Index step = 0; step < kSteps; ++step) {
        runner.step(loss, rows, nullptr, &optimizer);
        rows.advance(kRows, kIn, kOut);
      }
    });
  };
  const std::vector<float> want = one_by_one(ordered);
  expect(!same_bits(want, trained([](auto&, auto&) {})), "steps change the parameters");
  expect(same_bits(one_by_one(chosen), want), "steps on chosen rows");
  expect(same_bits(replayed(ordered), replayed(chosen)), "recorded steps on chosen rows");
  expect(same_bits(replayed(ordered), want), "recorded steps");
  return report();
}
