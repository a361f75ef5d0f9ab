// Times a step of many tiny networks at once, through core/ensemble.h, checks the first ones' losses against the CPU, and
// prints JSON.   ensemble [models] [steps]
//
// On the emulated device, which FASTMLP_CUDA_LIBRARY may name, it is to be run with few models: times mean nothing there.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/cuda_library.h"
#include "core/ensemble.h"
#include "core/rng.h"

namespace {

using namespace fastmlp;
using Real = float;

struct Problem {
  const char* name;
  std::vector<Index> sizes;
  ActivationKind hidden, last;
  LossKind loss;
  OptimizerKind optimizer;
  double lr;
  Index batch, rows;  // of a step, of the data
};

const Problem kProblems[] = {
    {"xor", {2, 2, 1}, ActivationKind::Tanh, ActivationKind::Sigmoid, LossKind::BCE, OptimizerKind::SGD, 0.5, 4, 4},
    {"spiral",
     {2, 10, 3},
     ActivationKind::Tanh,
     ActivationKind::Identity,
     LossKind::CrossEntropy,
     OptimizerKind::Adam,
     0.01,
     30,
     300},
};

// Layers of a network whose parameters are drawn by number `model`.
struct Model {
  std::vector<Operation<Real>> layers;
  std::vector<std::shared_ptr<Parameter<Real>>> parameters;
  std::vector<Real> values;

  Model(const Problem& problem, std::uint64_t model) {
    const Philox random(model, 0);
    const std::size_t depth = problem.sizes.size() - 1;
    for (std::size_t l = 0; l < depth; ++l) {
      const Index in = problem.sizes[l], out = problem.sizes[l + 1];
      Operation<Real> layer;
      layer.weight = std::make_shared<Parameter<Real>>(in, out);
      layer.bias = std::make_shared<Parameter<Real>>(Index{1}, out);
      layer.activation.kind = l + 1 < depth ? problem.hidden : problem.last;
      const double bound = 1 / std::sqrt(static_cast<double>(in));
      for (const auto& parameter : {layer.weight, layer.bias}) {
        for (Index i = 0; i < parameter->size(); ++i) {
          values.push_back(static_cast<Real>(bound * (2 * random.uniform(values.size()) - 1)));
          parameter->value.data()[i] = values.back();
        }
        parameters.push_back(parameter);
      }
      layers.push_back(layer);
    }
  }
};

// The rows of all steps, epoch by epoch, and their data.
struct Rows {
  std::vector<Real> x, dense;
  std::vector<Index> classes, ids;

  Rows(const Problem& problem, Index steps) {
    if (problem.rows == 4) {
      x = {0, 0, 0, 1, 1, 0, 1, 1};
      dense = {0, 1, 1, 0};
      return;
    }
    const Philox random(1, 0);
    const Index arms = problem.sizes.back();
    for (Index r = 0; r < problem.rows; ++r) {
      const double radius = random.uniform(static_cast<std::uint64_t>(r)), angle = 4 * radius + 2.1 * (r % arms);
      x.push_back(static_cast<Real>(radius * std::cos(angle)));
      x.push_back(static_cast<Real>(radius * std::sin(angle)));
      classes.push_back(r % arms);
    }
    for (Index i = 0; i < steps * problem.batch; ++i) ids.push_back((i * 7 + i / problem.rows) % problem.rows);
  }
};

template <class Value>
Buffer<Value> on(const Device& device, const std::vector<Value>& values) {
  Buffer<Value> buffer(values.size(), device);
  check(device.upload(buffer.data(), values.data(), values.size() * sizeof(Value), StreamScope::current()));
  return buffer;
}

OptimizerOptions options_of(const Problem& problem) {
  OptimizerOptions options;
  options.lr = problem.lr;
  return options;
}

std::vector<double> losses_on_cpu(const Problem& problem, const Rows& rows, std::uint64_t number, Index steps) {
  Model model(problem, number);
  Network<Real> network(model.layers);
  Optimizer<Real> optimizer(problem.optimizer, options_of(problem), model.parameters);
  std::vector<double> losses(static_cast<std::size_t>(steps));
  const bool same = rows.ids.empty();
  const Batch<Real> batch{rows.x.data(),
                          {same ? rows.dense.data() : nullptr, same ? nullptr : rows.classes.data()},
                          same ? nullptr : rows.ids.data(),
                          problem.batch};
  network.acquire(problem.batch, problem.sizes[0], true)->steps({problem.loss, 1, true}, batch, steps, same,
                {}, optimizer, losses.data());
  return losses;
}

// Prints a problem's record; returns whether the losses are those of the CPU.
bool measure(const Device& device, const Problem& problem, Index models, Index steps) {
  const Rows rows(problem, steps);
  const bool same = rows.ids.empty();
  const auto x = on(device, rows.x), dense = on(device, rows.dense);
  const auto classes = on(device, rows.classes), ids = on(device, rows.ids);
  const DataSet<Real> data{
      x.data(), {same ? dense.data() : nullptr, same ? nullptr : classes.data()}, problem.rows, problem.sizes[0]};

  const Model shape(problem, 0);
  const Network<Real> network(shape.layers);
  std::vector<Real> values;
  for (Index m = 0; m < models; ++m) {
    const Model model(problem, static_cast<std::uint64_t>(m));
    values.insert(values.end(), model.values.begin(), model.values.end());
  }
  Ensemble<Real> ensemble(network, models, device, problem.optimizer, options_of(problem));
  ensemble.write(values.data());
  const auto train = [&](double* losses) {
    ensemble.train({problem.loss, 1, true}, data, same ? nullptr : ids.data(), problem.batch, steps, losses);
  };
  std::vector<double> losses(static_cast<std::size_t>(models * steps));
  train(losses.data());

  constexpr Index kCompared = 4, kSteps = 50;  // later, the distance of two roundings has grown
  double difference = 0;
  const Index compared = std::min(steps, kSteps);
  for (Index m = 0; m < std::min(models, kCompared); ++m) {
    const std::vector<double> expected = losses_on_cpu(problem, rows, static_cast<std::uint64_t>(m), steps);
    for (Index s = 0; s < compared; ++s) {
      const double loss = losses[static_cast<std::size_t>(m * steps + s)],
                   other = expected[static_cast<std::size_t>(s)];
      difference = std::max(difference, std::isnan(loss) ? INFINITY : std::abs(loss - other));
    }
  }

  constexpr int kRepeats = 7;
  std::vector<double> times;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    check(device.synchronize(StreamScope::current()));
    const auto begin = std::chrono::steady_clock::now();
    train(nullptr);
    check(device.synchronize(StreamScope::current()));
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    times.push_back(time.count() / static_cast<double>(steps) * 1e6);
  }
  std::sort(times.begin(), times.end());
  std::printf(
      "  {\"problem\": \"%s\", \"models\": %lld, \"batch\": %lld, \"steps\": %lld, \"us_per_step\": %.4f, "
      "\"us_per_step_best\": %.4f, \"loss_difference\": %.3g}",
      problem.name, static_cast<long long>(models), static_cast<long long>(problem.batch),
      static_cast<long long>(steps), times[kRepeats / 2], times[0], difference);
  return difference < 1e-4;
}

}  // namespace

int main(int count, char** arguments) try {
  const Index most = count > 1 ? std::atoll(arguments[1]) : 4096, steps = count > 2 ? std::atoll(arguments[2]) : 1000;
  if (most < 1 || steps < 1) throw std::invalid_argument("usage: ensemble [models] [steps]");
  const Device& device = cuda_device();
  std::printf("{\"device\": \"%s\", \"results\": [\n", cuda_library()->name(0));
  bool fine = true, first = true;
  for (const Problem& problem : kProblems)
    for (const Index models : {Index{1}, most}) {
      if (!first) std::printf(",\n");
      first = false;
      fine &= measure(device, problem, models, steps);
    }
  std::printf("\n], \"losses_agree\": %s}\n", fine ? "true" : "false");
  return fine ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
