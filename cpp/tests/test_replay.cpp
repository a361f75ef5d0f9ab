// Steps that a device records and replays, on the device that FASTMLP_CUDA_LIBRARY names, emulated or real: the same bits
// however the steps are shared out among calls, and recordings that are made anew when anything moves that they hold.
#include <cstdio>
#include <cstring>
#include <numeric>
#include <string>

#include "core/cuda_library.h"
#include "core/network.h"
#include "expect.h"
#include "mlp.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

constexpr Index kRows = 4, kIn = 3, kOut = 2, kData = 20;

template <class V>
Buffer<V> placed(const std::vector<V>& values, const Device& device) {
  Buffer<V> there(values.size(), device);
  check(device.upload(there.data(), values.data(), values.size() * sizeof(V), StreamScope::current()));
  return there;
}

template <class V>
std::vector<V> random_values(Index count, std::uint64_t seed) {
  std::vector<V> values;
  for (Index i = 0; i < count; ++i)
    values.push_back(static_cast<V>(Philox(seed, 0).normal(static_cast<std::uint64_t>(i))));
  return values;
}

// A network that no block trains alone, its optimizer, and rows in an order.
template <class T>
struct Training {
  const Device& device;
  Mlp<T> mlp;
  Network<T> network;
  Optimizer<T> optimizer;
  Buffer<T> x, t;
  Buffer<Index> ids;
  LossSpec loss = {LossKind::MSE};
  bool same_rows = false;
  Index done = 0;
  std::vector<double> losses;

  Training(const Device& device_, OptimizerKind kind, Index most)
      : device(device_),
        mlp({kIn, 6, kOut}, ActivationKind::Tanh, ActivationKind::Identity, 1),
        network(on_device()),
        optimizer(kind, {}, mlp.parameters),
        x(placed(random_values<T>(kData * kIn, 2), device)),
        t(placed(random_values<T>(kData * kOut, 3), device)),
        ids(placed(numbers(most), device)) {}

  std::vector<Operation<T>> on_device() {
    for (const auto& parameter : mlp.parameters) parameter->take(parameter->moved_to(device));
    Operation<T> dropout;
    dropout.kind = OperationKind::Dropout;
    dropout.p = 0.25;
    mlp.layers.insert(mlp.layers.begin() + 1, dropout);
    return mlp.layers;
  }
  static std::vector<Index> numbers(Index steps) {
    std::vector<Index> all(static_cast<std::size_t>(steps * kRows));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Index>(i * 7 % kData);
    return all;
  }

  void take(Index count) {
    const typename Network<T>::Lease runner = network.acquire(kRows, kIn, true);
    const Batch<T> batch{x.data(), {t.data()}, ids.data(), kRows, false, same_rows ? 0 : done * kRows};
    std::vector<double> own(static_cast<std::size_t>(count));
    runner->steps(loss, batch, count, same_rows, {9, static_cast<std::uint64_t>(done)}, optimizer, own.data());
    losses.insert(losses.end(), own.begin(), own.end());
    done += count;
  }
  std::vector<T> values() const {
    std::vector<T> all;
    for (const auto& parameter : mlp.parameters) {
      std::vector<T> own(static_cast<std::size_t>(parameter->size()));
      parameter->read(own.data());
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  }
};

template <class V>
bool same_bits(const std::vector<V>& a, const std::vector<V>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(V)) == 0;
}

template <class T>
void test_bursts(const Device& device, OptimizerKind kind, bool same_rows) {
  constexpr Index kSteps = 300;
  const auto trained = [&](const std::vector<Index>& bursts) {
    auto training = std::make_unique<Training<T>>(device, kind, kSteps);
    training->same_rows = same_rows;
    for (const Index burst : bursts) training->take(burst);
    return training;
  };
  const auto one_by_one = trained(std::vector<Index>(kSteps, 1));
  expect(!same_bits(one_by_one->values(), Training<T>(device, kind, 1).values()), "it trains");
  for (const std::vector<Index>& bursts : std::vector<std::vector<Index>>{
           {kSteps}, {7, 8, 9, 10, 16, 17, 63, 64, 65, 41}, {100, 100, 100}, {1, 129, 129, 41}, {30, 30, 240}}) {
    const auto training = trained(bursts);
    expect(training->done == kSteps, "as many steps");
    expect(same_bits(training->values(), one_by_one->values()), "parameters after other bursts");
    expect(same_bits(training->losses, one_by_one->losses), "losses of other bursts");
  }
}

// Everything that kernels of a recording have in their arguments moves, one by one; what is there before is overwritten.
template <class T>
void test_moves(const Device& device) {
  constexpr Index kBurst = 100;
  const auto move = [&](Buffer<T>& buffer) {
    std::vector<T> values(buffer.size());
    check(device.download(values.data(), buffer.data(), values.size() * sizeof(T), StreamScope::current()));
    Buffer<T> other = placed(values, device);
    std::swap(buffer, other);
    const std::vector<T> wrong(values.size(), T(1e6));
    check(device.upload(other.data(), wrong.data(), wrong.size() * sizeof(T), StreamScope::current()));
    return other;  // or the next buffer might be where this one was
  };
  for (int moved = -1; moved < 7; ++moved) {
    Training<T> training(device, OptimizerKind::SGD, 3 * kBurst), still(device, OptimizerKind::SGD, 3 * kBurst);
    for (auto* each : {&training, &still}) {
      each->mlp.parameters[0]->requires_grad = false;  // no update holds its values
      each->take(kBurst);                              // the first step's constants are others
      each->take(kBurst);
    }
    std::vector<Buffer<T>> before;
    if (moved >= 0 && moved < 4)
      before.push_back(move(training.mlp.parameters[static_cast<std::size_t>(moved)]->value));
    if (moved == 4) before.push_back(move(training.x));
    if (moved == 5) before.push_back(move(training.t));
    if (moved == 6) training.loss.alpha = still.loss.alpha = 2;
    if (moved == 6) training.loss.kind = still.loss.kind = LossKind::Huber;
    training.take(kBurst);
    still.take(kBurst);
    const std::string what = "after the move of " + std::to_string(moved);
    expect(same_bits(training.values(), still.values()), what + ": parameters");
    expect(same_bits(training.losses, still.losses), what + ": losses");
  }
}

template <class T>
void test(const Device& device) {
  for (const OptimizerKind kind : {OptimizerKind::SGD, OptimizerKind::Adam})
    for (const bool same_rows : {false, true}) test_bursts<T>(device, kind, same_rows);
  test_moves<T>(device);
}

}  // namespace

int main() {
  std::string problem;
  cuda_library(&problem);
  if (!problem.empty()) {
    std::printf("skipped: %s\n", problem.c_str());
    return 77;
  }
  test<float>(cuda_device());
  test<double>(cuda_device());
  return report();
}
