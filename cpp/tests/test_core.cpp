// The core from C++ alone: trains XOR, checks gradients by central differences, that threads change no bit, and that a
// step allocates nothing.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "core/shuffle.h"
#include "core/system.h"
#include "core/thread_pool.h"
#include "core/trainer.h"
#include "expect.h"
#include "mlp.h"

namespace {

long allocations = 0;

}  // namespace

// Every allocation of the program, counted.
void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++allocations;
  const auto a = static_cast<std::size_t>(alignment);
  if (void* p = fastmlp::system::allocate(a, (size + a - 1) / a * a, false)) return p;
  throw std::bad_alloc();
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return operator new(size, alignment); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { fastmlp::system::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { fastmlp::system::release(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { fastmlp::system::release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

using namespace fastmlp;
using fastmlp::testing::expect;
using fastmlp::testing::Mlp;

void train_xor() {
  const float x[] = {0, 0, 0, 1, 1, 0, 1, 1}, t[] = {0, 1, 1, 0};
  Mlp<float> mlp({2, 8, 1}, ActivationKind::Tanh, ActivationKind::Sigmoid, 1);
  Network<float> network(mlp.layers);
  OptimizerOptions options;
  options.lr = 1;
  Optimizer<float> optimizer(OptimizerKind::SGD, options, mlp.parameters);
  FitOptions fit_options;
  fit_options.max_epoch = 2000;
  fit_options.batch_size = 4;
  History history;
  fit<float>({{network, optimizer, history}}, {LossKind::BCE}, {x, {t, nullptr}, 4, 2}, nullptr, fit_options);
  float y[4];
  network.predict(x, 4, 2, nullptr, y);
  bool right = true;
  for (int i = 0; i < 4; ++i) right &= (y[i] > 0.5f) == (t[i] > 0.5f);
  const std::vector<double> loss = history.read([](const Measured& measured) { return measured.loss.values(); });
  expect(right && loss.back() < 0.01 && loss.front() > 0.5, "XOR is learnt");
}

// Trains a network that takes the dense strategy; returns its weights.
std::vector<double> train(int threads) {
  set_num_threads(threads);
  const Index rows = 130, in = 70, out = 5;
  std::vector<double> x(rows * in);
  std::vector<Index> classes(rows);
  const Philox random(7, 0);
  for (Index i = 0; i < rows * in; ++i) x[i] = random.normal(static_cast<std::uint64_t>(i));
  for (Index r = 0; r < rows; ++r) classes[r] = static_cast<Index>(random.below(static_cast<std::uint64_t>(r), out));
  Mlp<double> mlp({in, 90, 60, out}, ActivationKind::GELU, ActivationKind::Identity, 3);
  Network<double> network(mlp.layers);
  if (network.strategy_for(48, true) == Strategy::Lanes) expect(false, "the larger network takes the dense strategy");
  Optimizer<double> optimizer(OptimizerKind::Adam, {}, mlp.parameters);
  FitOptions options;
  options.max_epoch = 3;
  options.batch_size = 48;
  History history;
  fit<double>({{network, optimizer, history}}, {LossKind::CrossEntropy},
              {x.data(), {nullptr, classes.data()}, rows, in}, nullptr, options);
  std::vector<double> weights;
  for (const auto& parameter : mlp.parameters)
    weights.insert(weights.end(), parameter->value.data(), parameter->value.data() + parameter->size());
  return weights;
}

void threads_change_nothing() {
  const std::vector<double> one = train(1), two = train(2), three = train(3);
  expect(std::memcmp(one.data(), two.data(), one.size() * sizeof(double)) == 0, "1 and 2 threads: same bits");
  expect(std::memcmp(one.data(), three.data(), one.size() * sizeof(double)) == 0, "1 and 3 threads: same bits");
}

// The order is that of the plain loop with one number a step.
void shuffles() {
  for (const Index rows : {1, 2, 127, 128, 129, 300, 1000}) {
    const Philox random(1, static_cast<std::uint64_t>(rows));
    std::vector<Index> ids(static_cast<std::size_t>(rows)), plain(ids.size());
    shuffle(ids, random);
    std::iota(plain.begin(), plain.end(), Index{0});
    for (std::size_t i = plain.size(); --i > 0;) std::swap(plain[i], plain[random.below(i, i + 1)]);
    expect(ids == plain, "shuffle");
  }
}

// Steps after the first, with the optimizer fused and not.
void steps_allocate_nothing(const std::vector<Index>& sizes, const char* what) {
  const Index rows = 20, in = sizes.front(), out = sizes.back();
  std::vector<float> x(rows * in, 0.5f), t(rows * out, 0.25f);
  std::vector<Index> ids(rows);
  Mlp<float> mlp(sizes, ActivationKind::GELU, ActivationKind::Identity, 9);
  Network<float> network(mlp.layers);
  OptimizerOptions options;
  options.momentum = 0.9;
  Optimizer<float> optimizer(OptimizerKind::SGD, options, mlp.parameters);
  const auto runner = network.acquire(rows, in, true);
  const auto step = [&](Optimizer<float>* fused) {
    shuffle(ids, {1, 2});
    const Batch<float> batch{x.data(), {t.data(), nullptr}, ids.data(), rows};
    const DropoutState dropout{1, 2};
    runner->step({LossKind::MSE}, batch, &dropout, fused);
    if (!fused) optimizer.step();
  };
  step(&optimizer);
  step(nullptr);
  const long before = allocations;
  for (int i = 0; i < 10; ++i) step(i % 2 == 0 ? &optimizer : nullptr);
  expect(before > 0 && allocations == before, what);
}

// The gradient of every weight against (loss(w + h) - loss(w - h)) / 2h.
void gradients(const std::vector<Index>& sizes, Index rows, const char* what) {
  const Index in = sizes.front(), out = sizes.back();
  std::vector<double> x(rows * in), t(rows * out), dx(rows * in);
  const Philox random(11, 0);
  for (Index i = 0; i < rows * in; ++i) x[i] = random.normal(static_cast<std::uint64_t>(i));
  for (Index i = 0; i < rows * out; ++i) t[i] = random.uniform(static_cast<std::uint64_t>(i));
  Mlp<double> mlp(sizes, ActivationKind::SiLU, ActivationKind::Sigmoid, 5);
  Network<double> network(mlp.layers);
  const LossSpec spec{LossKind::BCE};
  const Batch<double> batch{x.data(), {t.data(), nullptr}, nullptr, rows};
  const auto loss = [&] { return network.evaluate(spec, {x.data(), {t.data(), nullptr}, rows, in}); };

  const auto runner = network.acquire(rows, in, true);
  runner->forward(batch, nullptr, nullptr);
  runner->loss(spec, batch, true);
  runner->backward(nullptr, dx.data(), nullptr);

  double worst = 0, largest = 0;
  const auto compare = [&](double& value, double gradient) {
    const double h = 1e-5, saved = value;
    value = saved + h;
    const double above = loss();
    value = saved - h;
    const double below = loss();
    value = saved;
    worst = std::fmax(worst, std::fabs((above - below) / (2 * h) - gradient));
    largest = std::fmax(largest, std::fabs(gradient));
  };
  for (const auto& parameter : mlp.parameters)
    for (Index i = 0; i < parameter->size(); i += 7) compare(parameter->value.data()[i], parameter->grad.data()[i]);
  for (Index i = 0; i < rows * in; i += 5) compare(x[i], dx[i]);
  expect(largest > 1e-4 && worst < 1e-8, what);
}

// Weights and biases with options of their own, in one optimizer whose updates are fused, and in two that are not.
void groups(const std::vector<Index>& sizes, const char* what) {
  const Index rows = 12, in = sizes.front(), out = sizes.back();
  std::vector<float> x(rows * in), t(rows * out, 0.25f);
  const Philox random(11, 0);
  for (Index i = 0; i < rows * in; ++i) x[i] = static_cast<float>(random.normal(static_cast<std::uint64_t>(i)));
  const LossSpec spec{LossKind::MSE};
  const Batch<float> batch{x.data(), {t.data(), nullptr}, nullptr, rows};
  ParameterGroup<float> weights, biases;
  weights.options.lr = 0.1;
  weights.options.momentum = 0.9;
  biases.options.lr = 0.01;
  const auto parts = [&](const Mlp<float>& mlp) {
    weights.parameters.clear();
    biases.parameters.clear();
    for (std::size_t i = 0; i < mlp.parameters.size(); ++i)
      (i % 2 == 0 ? weights : biases).parameters.push_back(mlp.parameters[i]);
  };
  const Mlp<float> one(sizes, ActivationKind::Tanh, ActivationKind::Identity, 9);
  const Mlp<float> other(sizes, ActivationKind::Tanh, ActivationKind::Identity, 9);

  parts(one);
  Optimizer<float> both(OptimizerKind::SGD, {weights, biases});
  both.set_option(1, "lr", 0.02);
  both.take_options();
  Network<float> fused(one.layers);
  std::vector<double> losses(20);
  fused.acquire(rows, in, true)->steps(spec, batch, 20, true, {}, both, losses.data());

  parts(other);
  biases.options.lr = 0.02;
  Optimizer<float> first(OptimizerKind::SGD, {weights}), second(OptimizerKind::SGD, {biases});
  Network<float> plain(other.layers);
  const auto runner = plain.acquire(rows, in, true);
  for (int i = 0; i < 20; ++i) {
    for (const auto& parameter : other.parameters) parameter->has_grad = false;
    runner->step(spec, batch, nullptr, nullptr);
    first.step();
    second.step();
  }
  bool same = losses.front() > losses.back();
  for (std::size_t i = 0; i < one.parameters.size(); ++i)
    same &= std::memcmp(one.parameters[i]->value.data(), other.parameters[i]->value.data(),
                        static_cast<std::size_t>(one.parameters[i]->size()) * sizeof(float)) == 0;
  expect(same, what);
}

}  // namespace

int main() {
  try {
    active_isa();
  } catch (const std::invalid_argument& error) {
    std::printf("skipped: %s\n", error.what());
    return 77;
  }
  std::printf("instruction set: %s\n", active_isa().name);
  train_xor();
  threads_change_nothing();
  groups({3, 5, 2}, "groups of parameters of a tiny network have options of their own");
  groups({70, 90, 5}, "groups of parameters of a larger network have options of their own");
  shuffles();
  steps_allocate_nothing({3, 5, 2}, "steps of a tiny network allocate nothing");
  steps_allocate_nothing({60, 80, 2}, "steps of a larger network allocate nothing");
  gradients({3, 5, 2}, 9, "gradients of a tiny network");
  gradients({30, 80, 50, 3}, 37, "gradients of a larger network");
  return testing::report();
}
