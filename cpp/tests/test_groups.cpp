// Groups of networks that are trained together come to the bits that each comes to alone: on the host, whatever the number
// of threads; and on the device that FASTMLP_CUDA_LIBRARY names, emulated or real, where they are, within roundings, those of
// the host.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "core/cuda_library.h"
#include "core/thread_pool.h"
#include "core/trainer.h"
#include "expect.h"
#include "mlp.h"

namespace {

using namespace fastmlp;
using fastmlp::testing::expect;
using fastmlp::testing::Mlp;

struct Case {
  std::vector<Index> sizes = {3, 7, 4};
  ActivationKind output = ActivationKind::Identity;
  LossSpec loss = {LossKind::CrossEntropy};
  OptimizerKind kind = OptimizerKind::Adam;
  bool own_rates = true;
  bool own_rows = false;  // and orders of them
  Index rows = 50;
  FitOptions options;
  std::function<bool(Index member, Index epoch)> stop;

  OptimizerOptions optimizer(Index member) const {
    OptimizerOptions o;
    o.lr = 0.01 * static_cast<double>(1 + (own_rates ? member : 0));
    o.momentum = kind == OptimizerKind::SGD ? 0.9 : 0;
    return o;
  }
};

template <class T>
struct Rows {
  std::vector<T> x;
  std::vector<Index> classes;

  explicit Rows(const Case& c, Index member = 0) {
    const auto seed = static_cast<std::uint64_t>(c.own_rows ? 10 * member : 0);
    const Philox random(7 + seed, 0);
    for (Index i = 0; i < c.rows * c.sizes[0]; ++i)
      x.push_back(static_cast<T>(random.normal(static_cast<std::uint64_t>(i))));
    for (Index r = 0; r < c.rows; ++r)
      classes.push_back(static_cast<Index>(
          Philox(8 + seed, 0).below(static_cast<std::uint64_t>(r), static_cast<std::uint64_t>(c.sizes.back()))));
  }
};

// A network of a case with all that its training changes.
template <class T>
struct Solo {
  Mlp<T> mlp;
  Network<T> network;
  Optimizer<T> optimizer;
  History history;

  Solo(const Case& c, Index member, const Device& device)
      : mlp(c.sizes, ActivationKind::Tanh, c.output, static_cast<std::uint64_t>(member)),
        network(on(device)),
        optimizer(c.kind, c.optimizer(member), mlp.parameters) {}

  std::vector<Operation<T>> on(const Device& device) {
    for (const auto& parameter : mlp.parameters)
      if (!device.host) parameter->take(parameter->moved_to(device));
    return mlp.layers;
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
  Measured measured() const {
    return history.read([](const Measured& m) { return m; });
  }
};

template <class T>
using Group = std::vector<std::unique_ptr<Solo<T>>>;

// The rows of many networks, on a device or the host.
template <class T>
struct Placed {
  std::vector<Buffer<T>> x;
  std::vector<Buffer<Index>> classes;
  std::vector<DataSet<T>> data;

  Placed(const Case& c, Index members, const Device& device) {
    for (Index m = 0; m < members; ++m) {
      const Rows<T> rows(c, m);
      x.emplace_back(rows.x.size(), device);
      classes.emplace_back(rows.classes.size(), device);
      fastmlp::check(device.upload(x.back().data(), rows.x.data(), rows.x.size() * sizeof(T), nullptr));
      fastmlp::check(
          device.upload(classes.back().data(), rows.classes.data(), rows.classes.size() * sizeof(Index), nullptr));
      data.push_back({x.back().data(), {nullptr, classes.back().data()}, c.rows, c.sizes[0]});
    }
  }
};

// `data` are those of each member.
template <class T>
void train(const Case& c, const Group<T>& group, Index first, Index count, const std::vector<DataSet<T>>& data) {
  std::vector<Trainee<T>> trainees;
  for (Index m = first; m < first + count; ++m) {
    Solo<T>& solo = *group[static_cast<std::size_t>(m)];
    trainees.emplace_back(solo.network, solo.optimizer, solo.history);
    trainees.back().data = &data[static_cast<std::size_t>(m)];
    if (c.own_rows) trainees.back().seed = static_cast<std::uint64_t>(m);
    if (c.stop) trainees.back().on_epoch = [&c, m](const EpochResult& result, bool) { return c.stop(m, result.epoch); };
  }
  fit<T>(trainees, c.loss, data[static_cast<std::size_t>(first)], nullptr, c.options);
}

template <class T>
Group<T> make(const Case& c, Index size, const Device& device) {
  Group<T> group;
  for (Index m = 0; m < size; ++m) group.push_back(std::make_unique<Solo<T>>(c, m, device));
  return group;
}

template <class V>
bool same_bits(const std::vector<V>& a, const std::vector<V>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(V)) == 0);
}

template <class V>
double difference(const std::vector<V>& a, const std::vector<V>& b) {
  double most = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    most = d <= most ? most : d;  // a NaN remains
  }
  return most;
}

constexpr Index kSize = 5;

template <class T>
void compare(const Case& c, const Group<T>& alone, const Group<T>& together, const Device& device,
             const std::string& what) {
  for (std::size_t m = 0; m < kSize; ++m) {
    const Solo<T>&a = *alone[m], &b = *together[m];
    const std::string whose = what + ", network " + std::to_string(m) + ": ";
    expect(same_bits(a.values(), b.values()), whose + "parameters");
    expect(same_bits(a.measured().loss.values(), b.measured().loss.values()), whose + "epochs");
    expect(same_bits(a.measured().report_loss, b.measured().report_loss), whose + "reports");
    expect(a.measured().steps == b.measured().steps, whose + "steps");
    expect(!same_bits(a.values(), Solo<T>(c, static_cast<Index>(m), device).values()), whose + "it trains");
  }
}

template <class T>
void test_host(const Case& c, const std::string& what) {
  const Placed<T> rows(c, kSize, host_device());
  const std::vector<DataSet<T>>& data = rows.data;
  const Group<T> alone = make<T>(c, kSize, host_device());
  for (Index m = 0; m < kSize; ++m) train(c, alone, m, 1, data);
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const Group<T> together = make<T>(c, kSize, host_device());
    train(c, together, 0, kSize, data);
    compare(c, alone, together, host_device(), what + ", " + std::to_string(threads) + " threads");
  }
}

template <class T>
void test_hosts() {
  Case c;
  c.options.max_epoch = 7;
  c.options.batch_size = 16;
  test_host<T>(c, "a short last batch");
  c.options.batch_size = c.rows;
  test_host<T>(c, "one batch");
  c.own_rows = true;
  test_host<T>(c, "one batch of its own");
  c.options.batch_size = 16;
  test_host<T>(c, "rows of its own");
  c.own_rows = false;
  c.options.batch_size = 10;
  c.options.max_grad = 0.1;
  test_host<T>(c, "clipping");
  c.options.max_grad = 0;
  c.stop = [](Index member, Index epoch) { return epoch == member; };
  test_host<T>(c, "each stops at another epoch");
  c.stop = nullptr;
  c.kind = OptimizerKind::SGD;
  c.sizes = {70, 90, 60, 5};
  test_host<T>(c, "larger networks");
}

void test_nonfinite() {
  Case c;
  c.options.max_epoch = 4;
  c.options.stop_at_nonfinite = true;
  const Placed<float> rows(c, 3, host_device());
  const Group<float> group = make<float>(c, 3, host_device());
  const float nan = NAN;
  group[1]->mlp.parameters[0]->value.data()[0] = nan;
  train(c, group, 0, 3, rows.data);
  expect(group[0]->history.epochs() == 4 && group[1]->history.epochs() == 1 && group[2]->history.epochs() == 4,
         "only the network whose loss is NaN stops");
}

// A device that tells how many networks its last launch of whole trainings had.
Index launched = 0;

template <class T>
const Backend<T>& counting(const Backend<T>& kernels) {
  static void (*train)(const SingleBlockTraining<T>&, const Context&) = kernels.train_in_block;
  static Backend<T> table = kernels;
  table.train_in_block = [](const SingleBlockTraining<T>& training, const Context& context) {
    launched = training.models;
    train(training, context);
  };
  return table;
}

const Device& counting_device() {
  static Device device = cuda_device();
  device.f32 = &counting(*cuda_device().f32);
  device.f64 = &counting(*cuda_device().f64);
  return device;
}

template <class T>
void test_device(const Case& c, const Device& device, const std::string& what, bool in_blocks) {
  const Placed<T> there(c, kSize, device), here(c, kSize, host_device());
  const Group<T> alone = make<T>(c, kSize, device), together = make<T>(c, kSize, device),
                 on_host = make<T>(c, kSize, host_device());
  for (Index m = 0; m < kSize; ++m) {
    train(c, alone, m, 1, there.data);
    train(c, on_host, m, 1, here.data);
  }
  launched = 0;
  train(c, together, 0, kSize, there.data);
  expect(launched == (in_blocks ? kSize : 0), what + ": one launch for all");
  compare(c, alone, together, device, what);
  const double tolerance = sizeof(T) == 4 ? 1e-3 : 1e-9;
  for (std::size_t m = 0; m < kSize; ++m) {
    const Solo<T>&a = *on_host[m], &b = *together[m];
    const std::string whose = what + ", as on the host, network " + std::to_string(m) + ": ";
    expect(difference(a.values(), b.values()) < tolerance, whose + "parameters");
    expect(difference(a.measured().loss.values(), b.measured().loss.values()) < tolerance, whose + "epochs");
    expect(a.measured().report_step == b.measured().report_step, whose + "reports");
    expect(a.optimizer.steps() == b.optimizer.steps(), whose + "steps");
  }
}

template <class T>
void test_devices(const Device& device) {
  for (const bool keep_gradient : {true, false}) {
    const std::string gradient = keep_gradient ? ", with the last gradient" : "";
    Case c;
    c.options.keep_gradient = keep_gradient;
    c.options.max_epoch = 7;
    for (const OptimizerKind kind : {OptimizerKind::SGD, OptimizerKind::AdamW, OptimizerKind::NAdam})
      for (const bool own : {true, false})
        for (const Index batch : {10, 16, 50}) {
          c.kind = kind;
          c.own_rates = c.own_rows = own;
          c.options.batch_size = batch;
          test_device<T>(c, device, "batches of " + std::to_string(batch) + gradient, true);
        }
    c.sizes = {70, 90, 60, 5};
    test_device<T>(c, device, "networks that are none for a block" + gradient, false);
  }
}

}  // namespace

int main(int count, char**) {
  if (count == 1) {
    test_hosts<float>();
    test_hosts<double>();
    test_nonfinite();
  } else {
    std::string problem;
    cuda_library(&problem);
    if (!problem.empty()) {
      std::printf("skipped: %s\n", problem.c_str());
      return 77;
    }
    test_devices<float>(counting_device());
    test_devices<double>(counting_device());
  }
  return testing::report();
}
