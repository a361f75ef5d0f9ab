// Two threads that train a network together, each with a copy of its own, come to what one comes to with the batches of
// both: on the host, and on the device that FASTMLP_CUDA_LIBRARY names, emulated or real.
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstdio>
#include <string>
#include <thread>

#include "core/cuda_library.h"
#include "core/thread_pool.h"
#include "core/trainer.h"
#include "expect.h"
#include "mlp.h"

namespace {

using namespace fastmlp;
using fastmlp::testing::expect;
using fastmlp::testing::Mlp;

constexpr int kRanks = 2;
constexpr Index kCuts[kRanks + 1] = {0, 31, 50};  // the rows of each: four batches, and three
constexpr Index kIn = 3, kOut = 4, kBatch = 8, kEpochs = 3;

// What the threads tell each other.
struct Hub {
  std::barrier<> meeting{kRanks};
  double shares[kRanks], losses[kRanks];
  bool has_batch[kRanks];
  std::vector<std::vector<double>> buckets[kRanks];
};

class LocalExchange final : public Exchange {
 public:
  LocalExchange(Hub& hub, std::size_t rank, const Device& device) : hub_(hub), rank_(rank), device_(device) {}

  void plan(const std::vector<Bucket>& buckets) override { buckets_ = buckets; }
  void begin_round(const RoundPlan& plan) override {
    hub_.shares[rank_] = plan.share;
    hub_.has_batch[rank_] = plan.has_batch;
    hub_.buckets[rank_].clear();
    expected_ = plan;
  }
  std::optional<double> total_share() override {
    hub_.meeting.arrive_and_wait();
    const bool any = hub_.has_batch[0] || hub_.has_batch[1];
    const double share = hub_.shares[0] + hub_.shares[1];
    hub_.meeting.arrive_and_wait();
    sends_ = any ? expected_.updates : expected_.flushes;
    return any ? std::optional(share) : std::nullopt;
  }
  void send(std::size_t bucket) override {
    expect(sends_ && bucket == hub_.buckets[rank_].size(), "buckets are sent in order, where a step follows");
    hub_.buckets[rank_].push_back(values(bucket));
  }
  double end_round(double loss) override {
    expect(hub_.buckets[rank_].size() == (sends_ ? buckets_.size() : 0), "all buckets are sent");
    hub_.losses[rank_] = loss;
    hub_.meeting.arrive_and_wait();
    const double sum = hub_.losses[0] + hub_.losses[1];
    for (std::size_t s = 0; s < hub_.buckets[rank_].size(); ++s) {
      std::vector<double> both = hub_.buckets[0][s];
      for (std::size_t i = 0; i < both.size(); ++i) both[i] += hub_.buckets[1][s][i];
      fastmlp::check(
          device_.upload(buckets_[s].values, both.data(), both.size() * sizeof(double), StreamScope::current()));
    }
    hub_.meeting.arrive_and_wait();
    return sum;
  }
  void settle() noexcept override {}
  void share_statistics() override {}
  double combine(double value, double, bool) override { return value; }

 private:
  std::vector<double> values(std::size_t bucket) const {
    std::vector<double> found(static_cast<std::size_t>(buckets_[bucket].size));
    fastmlp::check(
        device_.download(found.data(), buckets_[bucket].values, found.size() * sizeof(double), StreamScope::current()));
    return found;
  }

  Hub& hub_;
  const std::size_t rank_;
  const Device& device_;
  std::vector<Bucket> buckets_;
  RoundPlan expected_{};
  bool sends_ = false;
};

struct Solo {
  Mlp<double> mlp{{kIn, 7, 5, kOut}, ActivationKind::Tanh, ActivationKind::Identity, 1};
  Network<double> network;
  Optimizer<double> optimizer;
  History history;

  explicit Solo(const Device& device)
      : network(on(device)), optimizer(OptimizerKind::Adam, {.lr = 0.01}, mlp.parameters) {}

  std::vector<Operation<double>> on(const Device& device) {
    for (const auto& parameter : mlp.parameters)
      if (!device.host) parameter->take(parameter->moved_to(device));
    return mlp.layers;
  }
  std::vector<double> values() const {
    std::vector<double> all;
    for (const auto& parameter : mlp.parameters) {
      std::vector<double> own(static_cast<std::size_t>(parameter->size()));
      parameter->read(own.data());
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  }
  std::vector<double> losses() const {
    return history.read([](const Measured& m) { return m.loss.values(); });
  }
};

// Rows in a device's memory.
struct Rows {
  Buffer<double> x, weights;
  Buffer<Index> classes;
  std::vector<double> shares;

  Rows(const Device& device, const std::vector<Index>& numbers) : x(device), weights(device), classes(device) {
    std::vector<double> own_x;
    std::vector<Index> own_classes;
    for (const Index row : numbers) {
      for (Index j = 0; j < kIn; ++j) own_x.push_back(Philox(7, 0).normal(static_cast<std::uint64_t>(row * kIn + j)));
      own_classes.push_back(static_cast<Index>(Philox(8, 0).below(static_cast<std::uint64_t>(row), kOut)));
      shares.push_back(0.5 + static_cast<double>(row % 3));
    }
    put(device, own_x, x);
    put(device, own_classes, classes);
    put(device, shares, weights);
  }
  template <class V>
  static void put(const Device& device, const std::vector<V>& from, Buffer<V>& to) {
    to.reserve(from.size());
    fastmlp::check(device.upload(to.data(), from.data(), from.size() * sizeof(V), StreamScope::current()));
  }
  DataSet<double> data() const {
    return {x.data(), {nullptr, classes.data(), weights.data()}, static_cast<Index>(shares.size()), kIn, shares.data()};
  }
};

std::vector<Index> numbers(Index first, Index end) {
  std::vector<Index> found;
  for (Index row = first; row < end; ++row) found.push_back(row);
  return found;
}

void test(const Device& device, const FitOptions& options, const std::string& what) {
  const LossSpec loss{LossKind::CrossEntropy};
  // Of each round, the batches of both as one.
  std::vector<std::unique_ptr<Rows>> rounds;
  for (Index at = 0; at < kCuts[1]; at += kBatch) {
    std::vector<Index> both;
    for (int rank = 0; rank < kRanks; ++rank)
      for (const Index row : numbers(kCuts[rank] + at, std::min(kCuts[rank] + at + kBatch, kCuts[rank + 1])))
        both.push_back(row);
    rounds.push_back(std::make_unique<Rows>(device, both));
  }
  Solo one(device);
  std::size_t next = 0;
  DataSet<double> batch;
  const BatchHook<double> batches = [&]() -> const DataSet<double>* {
    if (next == rounds.size()) {
      next = 0;
      return nullptr;
    }
    batch = rounds[next++]->data();
    return &batch;
  };
  FitOptions as_one = options;
  as_one.batch_size = kRanks * kBatch;
  fit<double>({{one.network, one.optimizer, one.history}}, loss, rounds[0]->data(), nullptr, as_one, {}, batches);

  Hub hub;
  std::vector<std::unique_ptr<Solo>> solos;
  for (int rank = 0; rank < kRanks; ++rank) solos.push_back(std::make_unique<Solo>(device));
  const auto train = [&](std::size_t rank) {
    const Rows rows(device, numbers(kCuts[rank], kCuts[rank + 1]));
    LocalExchange exchange(hub, rank, device);
    Solo& solo = *solos[rank];
    Trainee<double> trainee{solo.network, solo.optimizer, solo.history};
    trainee.exchange = &exchange;
    const DataSet<double> data = rows.data();
    fit<double>({trainee}, loss, data, nullptr, options);
  };
  std::thread other(train, std::size_t{1});
  train(0);
  other.join();

  const auto difference = [](const std::vector<double>& a, const std::vector<double>& b) {
    double most = a.size() == b.size() ? 0 : INFINITY;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::fmax(most, std::abs(a[i] - b[i]));
    return most;
  };
  expect(solos[0]->values() == solos[1]->values(), what + ": both have the same parameters");
  expect(solos[0]->losses() == solos[1]->losses(), what + ": and the same losses");
  expect(difference(solos[0]->values(), one.values()) < 1e-11, what + ": parameters as of one");
  expect(difference(solos[0]->losses(), one.losses()) < 1e-12, what + ": losses as of one");
  expect(one.losses().size() == kEpochs && one.losses()[2] < one.losses()[0], what + ": it learns");
}

void test_all(const Device& device) {
  for (const Index bytes : {Index{1}, Index{200}, Index{1} << 20})
    for (const Index accumulate : {1, 3}) {
      FitOptions options;
      options.max_epoch = kEpochs;
      options.batch_size = kBatch;
      options.shuffle = false;
      options.max_grad = 0.4;
      options.accumulate = accumulate;
      options.bucket_bytes = bytes;
      test(device, options,
           std::string(device.name) + ", " + std::to_string(bytes) + " bytes a bucket, " + std::to_string(accumulate) +
               " batches a step");
    }
}

}  // namespace

int main(int argc, char**) {
  set_num_threads(1);
  if (argc == 1) {
    test_all(host_device());
  } else {
    std::string problem;
    cuda_library(&problem);
    if (!problem.empty()) {
      std::printf("skipped: %s\n", problem.c_str());
      return 77;
    }
    test_all(cuda_device());
  }
  return testing::report();
}
