// States of the core's classes: a copy that takes over a state goes on to the same bits, and what does not fit is refused.
// What a training is judged by: early stopping, convergence, metrics.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "core/metrics.h"
#include "core/trainer.h"
#include "expect.h"
#include "mlp.h"

namespace {

using namespace fastmlp;
using fastmlp::testing::expect;
using fastmlp::testing::Mlp;

template <class Call>
bool refuses(const Call& call) {
  try {
    call();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

// Without the entry `name`, or with another value there.
State changed(const State& state, const std::string& name, const State::Value* value = nullptr) {
  State copy;
  for (const auto& [key, old] : state.entries())
    if (key != name)
      copy.add(key, old);
    else if (value)
      copy.add(key, *value);
  return copy;
}

template <class T>
struct Training {
  Mlp<T> mlp{{3, 5, 2}, ActivationKind::Tanh, ActivationKind::Identity, 1};
  Optimizer<T> optimizer;

  Training(OptimizerKind kind, const OptimizerOptions& options)
      : optimizer(kind,
                  {{options, {mlp.parameters[0], mlp.parameters[2]}}, {{}, {mlp.parameters[1], mlp.parameters[3]}}}) {}

  void run(Index from, Index steps) {
    for (Index step = from; step < from + steps; ++step) {
      for (const auto& parameter : mlp.parameters) {
        std::vector<T> grad(static_cast<std::size_t>(parameter->size()));
        for (std::size_t i = 0; i < grad.size(); ++i)
          grad[i] = static_cast<T>(Philox(3, static_cast<std::uint64_t>(step)).normal(i));
        parameter->write_grad(grad.data());
      }
      optimizer.step();
    }
  }
  bool equals(const Training& other) const {
    bool same = true;
    for (std::size_t p = 0; p < mlp.parameters.size(); ++p)
      same &= std::memcmp(mlp.parameters[p]->value.data(), other.mlp.parameters[p]->value.data(),
                          static_cast<std::size_t>(mlp.parameters[p]->size()) * sizeof(T)) == 0;
    return same;
  }
};

template <class T>
void test_optimizer(OptimizerKind kind) {
  OptimizerOptions options;
  options.lr = 0.05;
  options.momentum = 0.9;
  options.amsgrad = options.centered = true;
  const std::string name = kOptimizerNames[static_cast<int>(kind)];
  Training<T> first(kind, options), second(kind, {});
  first.optimizer.set_option(1, "lr", 0.03);
  first.run(0, 3);
  const State state = first.optimizer.state();
  for (std::size_t p = 0; p < first.mlp.parameters.size(); ++p)
    second.mlp.parameters[p]->write(first.mlp.parameters[p]->value.data());
  second.optimizer.set_state(state);
  first.run(3, 2);
  second.run(3, 2);
  expect(first.equals(second), name + " goes on from a state");
  expect(state.get<double>("group.1.lr") == 0.03 && state.get<double>("group.0.lr") == 0.05,
         name + ": options of groups");
  expect(state.get<Index>("3.steps") == 3, name + ": steps");
  expect(state.get<std::vector<T>>("0." + state_names(kind)[0]).size() == 15, name + ": states by name");

  const State before = second.optimizer.state();
  const State::Value less = Index{-1}, none = std::vector<T>(14), half = 0.5;
  const std::string buffer = "1." + state_names(kind)[0];
  expect(refuses([&] { second.optimizer.set_state(changed(state, "3.steps")); }), name + ": missing steps");
  expect(refuses([&] { second.optimizer.set_state(changed(state, "3.steps", &less)); }), name + ": negative steps");
  expect(refuses([&] { second.optimizer.set_state(changed(state, "3.steps", &half)); }), name + ": half steps");
  expect(refuses([&] { second.optimizer.set_state(changed(state, buffer, &none)); }), name + ": a state's size");
  State more = state;
  more.add("4.steps", Index{1});
  expect(refuses([&] { second.optimizer.set_state(more); }), name + ": more parameters");
  expect(before.entries() == second.optimizer.state().entries(), name + ": nothing has changed");
}

// Parameters of one group that have seen equally many steps, but not at the same options.
void test_momentum_products() {
  Training<double> alike(OptimizerKind::NAdam, {}), apart(OptimizerKind::NAdam, {});
  alike.run(0, 2);
  apart.run(0, 2);
  State state = apart.optimizer.state();
  const double product = state.get<double>("0.momentum_product");
  expect(product == state.get<double>("1.momentum_product") && 0 < product && product < 0.25, "a momentum product");
  const State::Value other = product / 2;
  apart.optimizer.set_state(changed(state, "1.momentum_product", &other));
  const std::vector<int> one_group = {0, 1};
  expect(alike.optimizer.equal_step_counts(one_group) && !apart.optimizer.equal_step_counts(one_group),
         "momentum products tell steps apart");
  alike.run(2, 2);
  apart.run(2, 2);
  state = apart.optimizer.state();
  expect(state.get<double>("0.momentum_product") == 2 * state.get<double>("1.momentum_product"),
         "each parameter has a momentum product of its own");
  const double* const same[] = {alike.mlp.parameters[0]->value.data(), apart.mlp.parameters[0]->value.data()};
  const double* const differing[] = {alike.mlp.parameters[2]->value.data(), apart.mlp.parameters[2]->value.data()};
  expect(same[0][0] == same[1][0] && differing[0][0] != differing[1][0], "which its steps follow");
  apart.optimizer.set_state(changed(state, "1.momentum_product"));
  expect(apart.optimizer.state().get<double>("1.momentum_product") == 1, "it begins with 1");
}

// There from the beginning, and again where a state dict has none.
void test_initial_values() {
  OptimizerOptions options;
  options.initial_accumulator_value = 0.75;
  Training<float> training(OptimizerKind::Adagrad, options);
  const std::vector<float> want(15, 0.75f);
  const State state = training.optimizer.state();
  expect(state.get<std::vector<float>>("0.sum") == want && state.get<Index>("0.steps") == 0, "a sum begins somewhere");
  expect(state.get<std::vector<float>>("2.sum") == std::vector<float>(5, 0), "or at 0");
  training.optimizer.set_state(changed(state, "0.sum"));
  expect(!training.optimizer.state().has("0.sum"), "no sum in a state");
  training.optimizer.prepare();
  expect(training.optimizer.state().get<std::vector<float>>("0.sum") == want, "it is made when it is needed");
}

// Equal numbers, others, and rates a step or two apart come back in order.
void test_runs() {
  Runs runs;
  std::vector<double> plain;
  const double rates[] = {1, 2, 3, 4, 5, 6};
  for (int round = 0; round < 3; ++round) {
    for (const double value : {1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 4.0}) {
      runs.add(value);
      plain.push_back(value);
    }
    for (const StepRates& some : {StepRates{rates, 1}, StepRates{rates, 2}, StepRates{rates + 5, 0}}) {
      runs.add(some, 3);
      for (int i = 0; i < 3; ++i) plain.push_back(some[i]);
    }
    runs.repeat(6, 4);
    plain.insert(plain.end(), 4, 6);
  }
  expect(runs.values() == plain && Runs(plain).values() == plain, "runs");
}

// A copy stays as it is while the other grows, in the same memory or in another, and grows without changing the other.
void test_numbers() {
  Numbers numbers;
  numbers.make_room(4);
  std::vector<double> plain;
  std::vector<Numbers> copies;
  std::vector<std::vector<double>> plain_copies;
  for (int i = 0; i < 100; ++i) {
    copies.push_back(numbers);
    plain_copies.push_back(plain);
    if (i == 3) expect(copies.back().data() == numbers.data(), "a copy shares the memory");
    const double more[] = {i + 0.25, i + 0.5};
    numbers.append(more, i % 3);
    plain.insert(plain.end(), more, more + i % 3);
  }
  for (std::size_t i = 0; i < copies.size(); ++i) {
    expect(copies[i].values() == plain_copies[i], "copies stay");
    copies[i].push_back(-1);
    plain_copies[i].push_back(-1);
    expect(copies[i].values() == plain_copies[i], "and grow");
  }
  expect(numbers.values() == plain && Numbers(plain).values() == plain, "numbers");
  const Numbers moved = std::move(copies[50]);
  expect(copies[50].empty() && moved.values() == plain_copies[50], "moved numbers");
}

void test_history() {
  History history;
  const double losses[] = {3, 2, 1};
  history.add_steps(losses, 3, 2);
  const double validation = 0.5;
  history.add_epoch({0, 1, &validation, {0.25}, 0.1}, {"mae"}, 0.1);
  history.add_epochs(losses, {losses, 1}, 2, 0.5);
  const State state = history.state();
  History copy;
  copy.set_state(state);
  expect(copy.state().entries() == state.entries() && copy.epochs() == 3 && copy.steps() == 3, "a history's copy");
  expect(state.get<std::vector<Index>>("report_step") == std::vector<Index>{2}, "a history's reports");
  const State::Value wrong = std::vector<double>(4), scalar = 1.0;
  for (const char* name : {"loss", "validation_loss", "learning_rate", "epoch_time", "report_step", "report_loss",
                           "steps", "report_sum", "report_count"})
    expect(refuses([&] { copy.set_state(changed(state, name)); }), std::string("a history without ") + name);
  for (const char* name : {"validation_loss", "learning_rate", "epoch_time", "metrics.mae"})
    expect(refuses([&] { copy.set_state(changed(state, name, &wrong)); }), "curves that do not belong together");
  expect(refuses([&] { copy.set_state(changed(state, "loss", &scalar)); }), "a number for a curve");
  expect(copy.state().entries() == state.entries(), "a refused state changes nothing");

  history.add_epoch({3, 1, &validation, {0.5}, 0.1}, {"mae"}, 0.1);
  const auto padded = history.state().get<std::vector<double>>("metrics.mae");
  expect(padded.size() == 4 && padded[0] == 0.25 && std::isnan(padded[1]) && std::isnan(padded[2]) && padded[3] == 0.5,
         "epochs without a metric");
}

void test_early_stopping() {
  const auto parameter = std::make_shared<Parameter<double>>(2, 2), mean = std::make_shared<Parameter<double>>(1, 2);
  Operation<double> affine, norm;
  affine.weight = parameter;
  norm.kind = OperationKind::BatchNorm;
  norm.features = 2;
  norm.batch.mean = mean;
  norm.batch.variance = std::make_shared<Parameter<double>>(1, 2);
  norm.batch.batches = std::make_shared<std::int64_t>(0);
  EarlyStopping early({.monitor = 0, .patience = 2, .min_delta = 0.5});
  early.prepare(Program<double>({affine, norm}));
  const double losses[] = {std::nan(""), 4, 3.6, 3, 2.8, 3.1};
  EarlyStopping resumed({.monitor = 0, .patience = 2, .min_delta = 0.5});
  const Program<double> other({affine});
  for (Index epoch = 0; epoch < 6; ++epoch) {
    if (epoch == 5) resumed.resume(early.state());
    parameter->value.data()[0] = mean->value.data()[0] = static_cast<double>(epoch);
    *norm.batch.batches = epoch;
    expect(early.add<double>({epoch, losses[epoch], nullptr, {}, 0.1}) == (epoch == 5), "when it stops");
  }
  expect(early.best() == 3 && early.best_epoch() == 3 && early.stopped_epoch() == 5, "the best epoch");
  const State before = early.state();
  resumed.prepare(Program<double>({affine, norm}));
  expect(resumed.best() == 3 && resumed.best_epoch() == 3 && resumed.stopped_epoch() == -1, "a resumed search");
  expect(before.get<std::vector<double>>("value.0")[0] == 3 && before.get<Index>("count.0") == 3,
         "the best in a state");
  expect(resumed.add<double>({5, 2.9, nullptr, {}, 0.1}) && resumed.stopped_epoch() == 5, "its patience goes on");
  resumed.restore();
  expect(parameter->value.data()[0] == 3 && *norm.batch.batches == 3, "the best parameters of a resumed search");
  resumed.resume(before);
  resumed.prepare(other);
  expect(resumed.best_epoch() == -1, "a search with another network begins anew");
  expect(resumed.snapshot().get<std::vector<double>>("value.0") == std::vector<double>{3, 0, 0, 0}, "a snapshot");
  expect(refuses([&] { resumed.resume(changed(before, "waited")); }), "a state of something else");
  parameter->value.data()[0] = 5;
  early.restore();
  expect(parameter->value.data()[0] == 3 && parameter->version > 0, "the best parameters");
  expect(mean->value.data()[0] == 3 && mean->version > 0 && *norm.batch.batches == 3, "their running statistics");
}

void test_convergence() {
  double squares = 4;
  const auto measured = [&squares] { return squares; };
  const double infinity = std::numeric_limits<double>::infinity();
  Convergence within({.tol = 1, .patience = 1, .constant = 2, .parts = 2, .penalty = 0.5, .changes_within = true},
                     measured, infinity, 0);
  squares = 6;
  expect(!within.add(10) && within.losses().back() == 8.5, "the mean of the squares before and after");
  expect(!within.add(7) && within.losses().back() == 7.5 && within.waited() == 0, "a fall by the tolerance");
  expect(!within.add(6.5) && within.waited() == 1 && within.best() == 7.25, "a fall by less");
  expect(within.add(6.5) && within.waited() == 2, "more epochs than it is patient");
  within.forgive();
  expect(!within.add(6.5) && within.waited() == 1, "forgiven");

  Convergence before({.patience = 2, .penalty = 1}, measured, 5, 2);
  squares = 7;
  expect(before.add(0) && before.losses().back() == 6 && before.best() == 5,
         "the squares before, and a training before");
  expect(!before.add(std::nan("")) && before.waited() == 0 && before.best() == 5, "NaN is told, and no best value");

  Convergence by_score({.patience = 0, .of_losses = false}, measured, infinity, 0);
  by_score.count(1);
  by_score.count(2);
  expect(!by_score.add(3) && by_score.waited() == 1 && by_score.best() == 1, "what it goes by instead of the loss");
}

void test_metrics() {
  const double y[] = {0.2, 0.8, 0.6, 0.4, 0.1, 0.9}, t[] = {0, 1, 0, 1, 1, 1};
  const Index classes[] = {1, 1, 0};
  const auto near = [](double a, double b) { return std::abs(a - b) < 1e-15; };
  const auto value = [&](const MetricSpec& spec, const Targets<double>& targets, Index rows, Index columns,
                         LossKind loss = LossKind::MSE) {
    return metric<double>(spec, loss, y, targets, rows, columns);
  };
  expect(value({MetricKind::Accuracy}, {nullptr, classes}, 3, 2) == 1.0 / 3, "accuracy of classes");
  expect(value({MetricKind::Accuracy}, {t, nullptr}, 6, 1) == 3.0 / 6, "accuracy of one column");
  expect(value({MetricKind::TopKAccuracy, 2}, {nullptr, classes}, 3, 2) == 1, "top-k accuracy");
  expect(near(value({MetricKind::MAE}, {t, nullptr}, 3, 2), 2.6 / 6), "mean absolute error");
  expect(near(value({MetricKind::RMSE}, {t, nullptr}, 3, 2), std::sqrt(1.62 / 6)), "root of the mean square");
  expect(near(value({MetricKind::R2}, {t, nullptr}, 3, 2), (1 - 1.21 / (2.0 / 3) + 0) / 2), "R2, one column constant");

  const double weights[] = {1, 0, 3};
  expect(value({MetricKind::Accuracy}, {nullptr, classes, weights}, 3, 2) == 1.0 / 4, "accuracy with weights");
  expect(near(value({MetricKind::MAE}, {t, nullptr, weights}, 3, 2), (0.4 + 3 * 1.0) / 8), "an error with weights");
  expect(near(value({MetricKind::MSE}, {t, nullptr}, 3, 2, LossKind::GaussianNLL), (0.04 + 0.36 + 0.81) / 3),
         "an error of means");
}

}  // namespace

int main() {
  for (int number = 0; number < static_cast<int>(std::size(kOptimizerNames)); ++number) {
    const auto kind = static_cast<OptimizerKind>(number);
    test_optimizer<float>(kind);
    test_optimizer<double>(kind);
  }
  test_momentum_products();
  test_initial_values();
  test_numbers();
  test_runs();
  test_history();
  test_early_stopping();
  test_convergence();
  test_metrics();
  return testing::report();
}
