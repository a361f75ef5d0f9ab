// Times a step of many tiny networks at once, a group of core/trainer.h, checks the first ones' losses against the CPU, and
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
#include "core/rng.h"
#include "core/trainer.h"

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

OptimizerOptions options_of(const Problem& problem) {
  OptimizerOptions options;
  options.lr = problem.lr;
  return options;
}

// A network whose parameters are drawn by number `model`, with all that its training changes.
class Model {
 public:
  Model(const Problem& problem, std::uint64_t model, const Device& device)
      : network_(layers(problem, model, device)), optimizer_(problem.optimizer, options_of(problem), parameters_) {}

  Trainee<Real> trainee() { return {network_, optimizer_, history_}; }
  std::vector<double> losses() const {
    return history_.read([](const Measured& measured) { return measured.loss.values(); });
  }

 private:
  std::vector<Operation<Real>> layers(const Problem& problem, std::uint64_t model, const Device& device) {
    const Philox random(model, 0);
    const std::size_t depth = problem.sizes.size() - 1;
    std::vector<Operation<Real>> layers;
    std::uint64_t drawn = 0;
    for (std::size_t l = 0; l < depth; ++l) {
      const Index in = problem.sizes[l], out = problem.sizes[l + 1];
      Operation<Real> layer;
      layer.weight = std::make_shared<Parameter<Real>>(in, out);
      layer.bias = std::make_shared<Parameter<Real>>(Index{1}, out);
      layer.activation.kind = l + 1 < depth ? problem.hidden : problem.last;
      const double bound = 1 / std::sqrt(static_cast<double>(in));
      for (const auto& parameter : {layer.weight, layer.bias}) {
        for (Index i = 0; i < parameter->size(); ++i)
          parameter->value.data()[i] = static_cast<Real>(bound * (2 * random.uniform(drawn++) - 1));
        if (!device.host) parameter->take(parameter->moved_to(device));
        parameters_.push_back(parameter);
      }
      layers.push_back(layer);
    }
    return layers;
  }

  std::vector<std::shared_ptr<Parameter<Real>>> parameters_;
  Network<Real> network_;
  Optimizer<Real> optimizer_;
  History history_;
};

using Models = std::vector<std::unique_ptr<Model>>;

Models make_models(const Problem& problem, Index count, const Device& device) {
  Models models;
  for (Index m = 0; m < count; ++m)
    models.push_back(std::make_unique<Model>(problem, static_cast<std::uint64_t>(m), device));
  return models;
}

struct Rows {
  std::vector<Real> x, dense;
  std::vector<Index> classes;

  explicit Rows(const Problem& problem) {
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
  }
};

template <class Value>
Buffer<Value> on(const Device& device, const std::vector<Value>& values) {
  Buffer<Value> buffer(values.size(), device);
  check(device.upload(buffer.data(), values.data(), values.size() * sizeof(Value), StreamScope::current()));
  return buffer;
}

void train(const Problem& problem, const Models& models, const Device& device, const Rows& rows, Index epochs) {
  const auto x = on(device, rows.x), dense = on(device, rows.dense);
  const auto classes = on(device, rows.classes);
  const Targets<Real> targets{rows.classes.empty() ? dense.data() : nullptr,
                              rows.classes.empty() ? nullptr : classes.data()};
  FitOptions options;
  options.max_epoch = epochs;
  options.batch_size = problem.batch;
  options.seed = 1;
  options.eval_interval = 1000;
  options.keep_gradient = false;
  std::vector<Trainee<Real>> group;
  for (const auto& model : models) group.push_back(model->trainee());
  fit<Real>(group, {problem.loss}, {x.data(), targets, problem.rows, problem.sizes[0]}, nullptr, options);
  check(device.synchronize(StreamScope::current()));
}

// Prints a problem's record; returns whether the losses are those of the CPU.
bool measure(const Device& device, const Problem& problem, Index count, Index steps) {
  const Rows rows(problem);
  const Index epochs = std::max(Index{1}, steps * problem.batch / problem.rows);
  const Models models = make_models(problem, count, device);
  train(problem, models, device, rows, epochs);

  constexpr Index kCompared = 4, kEpochs = 5;  // later, the distance of two roundings has grown
  double difference = 0;
  const Models others = make_models(problem, std::min(count, kCompared), host_device());
  train(problem, others, host_device(), rows, std::min(epochs, kEpochs));
  for (std::size_t m = 0; m < others.size(); ++m) {
    const std::vector<double> expected = others[m]->losses(), losses = models[m]->losses();
    for (std::size_t e = 0; e < expected.size(); ++e)
      difference = std::max(difference, std::isnan(losses[e]) ? INFINITY : std::abs(losses[e] - expected[e]));
  }

  constexpr int kRepeats = 7;
  std::vector<double> times;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto begin = std::chrono::steady_clock::now();
    train(problem, models, device, rows, epochs);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    times.push_back(time.count() / static_cast<double>(epochs * problem.rows / problem.batch) * 1e6);
  }
  std::sort(times.begin(), times.end());
  std::printf(
      "  {\"problem\": \"%s\", \"models\": %lld, \"batch\": %lld, \"steps\": %lld, \"us_per_step\": %.4f, "
      "\"us_per_step_best\": %.4f, \"loss_difference\": %.3g}",
      problem.name, static_cast<long long>(count), static_cast<long long>(problem.batch), static_cast<long long>(steps),
      times[kRepeats / 2], times[0], difference);
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
