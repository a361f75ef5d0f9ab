// Training across blocks, on the host: the phases that the device's kernel has, of all blocks, interleaved in the order of
// their numbers, backwards and in random legal orders. Trajectories are compared with a plain float64 reference and the
// CPU core; every order has to come to the same bits. Vector clocks check that the counters order each pair of accesses to
// a value that blocks exchange.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda/medium/interleaved.h"
#include "cuda/runtime/kernels.h"
#include "exchange_races.h"
#include "expect.h"
#include "single_block_cases.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::cuda;
using namespace fastmlp::testing;

struct Grid {
  int rows = 8, columns = 16;
  std::size_t room = 227 * 1024;  // shared memory of a block
  bool clusters = true;
};

Grid without_clusters(Grid grid) {
  grid.clusters = false;
  return grid;
}

using Choose = std::function<int(const std::vector<int>&)>;

Choose randomly(std::uint32_t seed) {
  return [seed](const std::vector<int>& ready) mutable {
    seed = seed * 1664525U + 1013904223U;
    return ready[(seed >> 8) % ready.size()];
  };
}
int first(const std::vector<int>& ready) { return ready.front(); }
int last(const std::vector<int>& ready) { return ready.back(); }

// The kernel -------------------------------------------------------------------------------------------------------------

struct Setup {
  Result<float> result;
  std::vector<Update> updates;
  std::vector<SingleBlockLayer> layers;
  std::vector<UpdateTarget<float>> parameters;
  Data<float> data;
  SingleBlockRows<float> rows;
  SingleBlockTraining<float> args{};

  explicit Setup(const Case& c, bool one_update) : updates(updates_of(c)), data(c) {
    const auto size = static_cast<std::size_t>(c.parameters());
    bool needed[3];
    needed_states(c.optimizer, c.options, needed);
    for (Index i = 0; i < c.parameters(); ++i) result.parameters.push_back(static_cast<float>(first_value(0, i)));
    for (int s = 0; s < 3; ++s) result.states[s].assign(size, 0.0F);
    result.losses.assign(static_cast<std::size_t>(c.steps), -1);
    Index at = 0;
    for (int l = 0; l < c.depth(); ++l) {
      const SingleBlockLayer layer{c.sizes[l], c.sizes[l + 1], c.activation_of(l), c.bias, true, c.bias};
      layers.push_back(layer);
      for (const bool bias : {false, true}) {
        UpdateTarget<float>& entry = parameters.emplace_back();
        if (!bias || c.bias) entry.value = result.parameters.data() + at;
        for (int s = 0; s < 3; ++s)
          if (needed[s] && entry.value) entry.state[s] = result.states[s].data() + at;
        at += (bias ? 1 : layer.in) * layer.out;
      }
    }
    args.layers = layers.data();
    args.depth = c.depth();
    args.has_row_activation = c.has_row_activation;
    args.row_activation = c.row_activation;
    args.rows = c.rows;
    args.rule = updates[0].kind;
    std::copy_n(needed, 3, args.states);
    args.targets = data.targets(c);
    rows = {data.x.data(), args.targets.dense, args.targets.classes, nullptr, c.by_ids ? data.ids.data() : nullptr};
    args.data = &rows;
    args.by_ids = c.by_ids;
    args.same_rows = c.same_rows;
    args.loss = c.loss;
    args.logits = c.logits();
    args.steps = c.steps;
    args.models = 1;
    args.parameters = parameters.data();
    args.updates = updates.data();
    args.one_update = one_update;
    args.losses = result.losses.data();
  }
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;
};

Result<float> run(const Case& c, const Grid& grid, const Choose& choose, bool races = false, bool one_update = false) {
  Setup setup(c, one_update);
  GridPlan plan;
  if (!plan_grid(setup.args, grid.rows, grid.columns, grid.clusters, grid.room, plan)) {
    expect(false, "the network is one for this grid");
    return setup.result;
  }
  // Full of NaNs but for the counters: nothing may be read that nobody has written.
  const std::size_t bytes = plan.workspace_bytes(c.steps);
  std::vector<double> workspace(bytes / sizeof(double) + 1);
  std::memset(workspace.data(), 0xff, workspace.size() * sizeof(double));
  std::memset(workspace.data(), 0, plan.counter_bytes());
  const auto params = grid_params(setup.args, plan, workspace.data());
  Interleaving all(params);
  bool fine;
  if (races) {
    Races watch(plan.blocks());
    fine = all.run(
        choose, [&](int block, const unsigned* counter) { watch.enter(block, counter); },
        [&](int block, const unsigned* counter) { watch.leave(block, counter); });
    expect(watch.touched() > static_cast<std::size_t>(c.parameters()), "accesses are seen");
    expect(watch.races() == 0, std::to_string(watch.races()) + " accesses that no counter orders");
  } else {
    fine = all.run(choose, [](int, const unsigned*) {}, [](int, const unsigned*) {});
  }
  expect(fine, "all blocks come to their end");
  const auto* const parts =
      reinterpret_cast<const double*>(reinterpret_cast<const unsigned char*>(workspace.data()) + plan.losses_at());
  for (Index s = 0; s < c.steps; ++s) {
    double sum = 0;
    for (int r = 0; r < plan.rows; ++r)
      if (GridRange::of(r, plan.row_part, plan.batch).count > 0) sum += parts[s * plan.rows + r];
    setup.result.losses[static_cast<std::size_t>(s)] = sum * params.scale;
  }
  return setup.result;
}

// Comparisons ------------------------------------------------------------------------------------------------------------

template <class A, class B>
double difference(const std::vector<A>& a, const std::vector<B>& b) {
  double most = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const double d =
        std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])) / (1 + std::abs(static_cast<double>(b[i])));
    if (!(d == d)) return d;
    most = std::max(most, d);
  }
  return most;
}

bool same(const Result<float>& a, const Result<float>& b) {
  const auto equal = [](const auto& one, const auto& other) {
    return one.size() == other.size() && std::memcmp(one.data(), other.data(), one.size() * sizeof one[0]) == 0;
  };
  bool fine = equal(a.parameters, b.parameters) && equal(a.losses, b.losses);
  for (int s = 0; s < 3; ++s) fine &= equal(a.states[s], b.states[s]);
  return fine;
}

std::string text(const Case& c, const Grid& grid) {
  std::string result;
  for (const Index size : c.sizes) {
    if (!result.empty()) result += '-';
    result += std::to_string(size);
  }
  return result + ", " + std::to_string(c.rows) + " rows, " + kOptimizerNames[static_cast<int>(c.optimizer)] + ", " +
         kLossNames[static_cast<int>(c.loss.kind)] + ", " + std::to_string(grid.rows) + " x " +
         std::to_string(grid.columns) + " blocks";
}

// float32's distance from float64 grows with the steps, and with Adam's quotients of small numbers.
void test(const Case& c, const Grid& grid = {}, double tolerance = 1e-3) {
  const std::string what = text(c, grid);
  const Result<float> got = run(c, grid, first);
  const Result<double> expected = reference(c);
  const double losses = difference(got.losses, expected.losses);
  const double parameters = difference(got.parameters, expected.parameters);
  double states = 0;
  bool needed[3];
  needed_states(c.optimizer, c.options, needed);
  for (int s = 0; s < 3; ++s)
    if (needed[s]) states = std::max(states, difference(got.states[s], expected.states[s]));
  expect(losses <= tolerance && parameters <= tolerance && states <= tolerance,
         what + ": losses differ by " + std::to_string(losses) + ", parameters by " + std::to_string(parameters) +
             ", states by " + std::to_string(states));
  expect(difference(got.parameters, on_cpu<float>(c).parameters) <= tolerance, what + ": against the CPU core");
  expect(c.steps == 1 || expected.losses.front() != expected.losses.back(), what + ": something is learnt");
  double moved = 0;
  for (Index i = 0; i < c.parameters(); ++i)
    moved = std::max(moved, std::abs(expected.parameters[static_cast<std::size_t>(i)] - first_value(0, i)));
  expect(moved > 10 * tolerance, what + ": weights move by more than what is allowed");
}

// Tests ------------------------------------------------------------------------------------------------------------------

Case make(std::vector<Index> sizes, Index rows, OptimizerKind optimizer, LossKind loss, bool classes) {
  Case c;
  c.sizes = std::move(sizes);
  c.rows = rows;
  c.optimizer = optimizer;
  c.loss.kind = loss;
  c.classes = classes;
  c.options.lr = optimizer == OptimizerKind::SGD ? 0.05 : 0.01;
  c.options.eps = 1e-3;
  if (loss == LossKind::BCE) c.last = ActivationKind::Sigmoid;
  return c;
}

void test_shapes() {
  const Grid grids[] = {{8, 16}, {8, 8}, {2, 4}, {1, 1}};
  const std::vector<Index> shapes[] = {{100, 64, 10}, {13, 37, 3}, {50, 41, 29, 5}, {40, 100, 30, 20, 1}, {9, 130, 2}};
  int number = 0;
  for (const auto& sizes : shapes)
    for (const Index rows : {32, 45}) {
      const OptimizerKind optimizer = number % 2 ? OptimizerKind::Adam : OptimizerKind::SGD;
      Case c = make(sizes, rows, optimizer, sizes.back() > 2 ? LossKind::CrossEntropy : LossKind::MSE, false);
      c.classes = is_class_loss(c.loss.kind) && number % 3 > 0;
      c.by_ids = number % 2 == 0;
      c.steps = 24;
      if (number % 4 == 1) c.options.momentum = 0.9;
      test(c, grids[number++ % 4]);
    }
  // Batches of one row to the most.
  for (const Index rows : {1, 7, 128, 200, 256}) {
    Case c = make({30, 70, 90, 4}, rows, OptimizerKind::Adam, LossKind::CrossEntropy, true);
    c.steps = 6;
    test(c, {4, 8});
  }
  // More tiles than threads, in each of the products.
  const std::size_t much = 1 << 20;
  test(make({30, 280, 2}, 128, OptimizerKind::SGD, LossKind::MSE, false), {2, 2, much});
  test(make({300, 70, 3}, 32, OptimizerKind::SGD, LossKind::MSE, false), {1, 1, much});
  test(make({9, 70, 150, 2}, 128, OptimizerKind::SGD, LossKind::MSE, false), {1, 2, much});
}

void test_rules_and_losses() {
  for (const OptimizerKind optimizer : {OptimizerKind::SGD, OptimizerKind::Adam, OptimizerKind::RMSprop})
    for (const bool momentum : {false, true})
      for (const LossKind loss : {LossKind::MSE, LossKind::BCE, LossKind::CrossEntropy})
        for (const bool classes : {false, true}) {
          if (classes && loss != LossKind::CrossEntropy) continue;
          Case c = make({20, 34, 18, 6}, 40, optimizer, loss, classes);
          if (momentum) c.options.set(optimizer == OptimizerKind::Adam ? "weight_decay" : "momentum", 0.5);
          c.steps = 20;
          c.by_ids = momentum;
          test(c, {4, 4});
        }
  Case c = make({20, 34, 6}, 40, OptimizerKind::Adam, LossKind::NLL, true);
  c.has_row_activation = true;
  c.row_activation = RowActivationKind::LogSoftmax;
  test(c, {4, 4});
  c.bias = false;
  c.same_rows = true;
  test(c, {4, 4});
}

void test_activations() {
  for (int kind = 0; kind < static_cast<int>(std::size(kActivationNames)); ++kind) {
    Case c = make({12, 20, 17, 3}, 16, OptimizerKind::SGD, LossKind::MSE, false);
    c.hidden = c.last = static_cast<ActivationKind>(kind);
    test(c, {2, 4});
  }
}

// The networks that the design was made for, with the partition that a device would have.
[[maybe_unused]] void test_real() {
  for (const bool wide : {true, false}) {
    Case c = wide ? make({3072, 512, 2}, 64, OptimizerKind::SGD, LossKind::MSE, false)
                  : make({784, 512, 512, 10}, 128, OptimizerKind::SGD, LossKind::MSE, false);
    c.hidden = ActivationKind::ReLU;
    c.options.lr = 2e-5;
    c.by_ids = wide;
    c.steps = 2;
    test(c, {}, 1e-4);
  }
  Case adam = make({100, 256, 256, 256, 10}, 256, OptimizerKind::Adam, LossKind::CrossEntropy, true);
  adam.hidden = ActivationKind::Tanh;
  adam.by_ids = true;
  adam.steps = 2;
  test(adam);
}

void test_orders() {
  for (const auto& sizes : {std::vector<Index>{20, 34, 6}, {20, 34, 18, 6}, {20, 34, 41, 18, 6}})
    for (const Grid& grid : {Grid{2, 4}, Grid{4, 4}, Grid{8, 16}, without_clusters({2, 4}), without_clusters({4, 4})}) {
      Case c = make(sizes, 40, OptimizerKind::Adam, LossKind::CrossEntropy, true);
      c.by_ids = true;
      c.steps = grid.columns == 16 ? 3 : 8;
      const Result<float> expected = run(c, grid, first, true);
      if (grid.clusters)
        expect(same(run(c, without_clusters(grid), first), expected), "without clusters the same bits");
      expect(same(run(c, grid, last, true), expected), text(c, grid) + ": backwards");
      for (std::uint32_t seed = 1; seed <= (grid.columns == 16 ? 2U : 12U); ++seed)
        expect(same(run(c, grid, randomly(seed), seed < 3), expected), text(c, grid) + ": in a random order");
      // One block as far behind, or ahead, as it can be.
      for (const int odd : {0, 1, grid.rows * grid.columns - 1})
        for (const bool ahead : {false, true})
          expect(same(run(c, grid,
                          [&](const std::vector<int>& ready) {
                            for (const int block : ready)
                              if ((block == odd) == ahead) return block;
                            return ready[0];
                          }),
                      expected),
                 text(c, grid) + ": one block ahead, or behind");
    }
}

void test_one_update() {
  const Case c = make({20, 34, 6}, 40, OptimizerKind::SGD, LossKind::CrossEntropy, true);
  expect(same(run(c, {4, 4}, first), run(c, {4, 4}, first, false, true)), "one update for all steps");
}

// A burst of steps comes to the same bits as several shorter ones.
void test_bursts() {
  Case c = make({20, 34, 18, 6}, 32, OptimizerKind::SGD, LossKind::CrossEntropy, true);
  c.steps = 9;
  const Result<float> whole = run(c, {4, 8}, first);
  Setup setup(c, false);
  const Index steps[] = {1, 2, 6};
  Index done = 0;
  for (const Index count : steps) {
    GridPlan plan;
    setup.args.steps = count;
    setup.args.row = done * c.rows;
    setup.args.updates = setup.updates.data() + done;
    expect(plan_grid(setup.args, 4, 8, true, Grid{}.room, plan), "a plan");
    std::vector<double> workspace(plan.workspace_bytes(count) / sizeof(double) + 1);
    const auto params = grid_params(setup.args, plan, workspace.data());
    expect(Interleaving(params).run(first, [](int, const unsigned*) {}, [](int, const unsigned*) {}), "an end");
    done += count;
  }
  expect(whole.parameters == setup.result.parameters, "bursts of other lengths");
}

// What the core calls: it is off unless it is asked for.
void test_table() {
  Case c = make({60, 200, 130, 10}, 32, OptimizerKind::Adam, LossKind::CrossEntropy, true);
  c.steps = 5;
  c.by_ids = true;
  Setup setup(c, false);
  unsetenv("FASTMLP_CUDA_UNPROVED");
  expect(workspace_across_blocks(setup.args) == 0, "off");
  setenv("FASTMLP_CUDA_UNPROVED", "1", 1);
  const std::size_t bytes = workspace_across_blocks(setup.args);
  expect(bytes > 0, "on");
  std::vector<double> workspace(bytes / sizeof(double) + 1);
  train_across_blocks(setup.args, workspace.data(), {});
  expect(same(setup.result, run(c, {}, first)), "the same bits in the emulated device's order");
  unsetenv("FASTMLP_CUDA_UNPROVED");
}

void test_limits() {
  const auto plans = [](const Case& c) {
    const Setup setup(c, false);
    GridPlan plan;
    return plan_grid(setup.args, 8, 16, true, Grid{}.room, plan);
  };
  expect(plans(make({64, 64, 4}, 32, OptimizerKind::SGD, LossKind::MSE, false)), "a medium network is for the grid");
  expect(!plans(make({64, 4}, 32, OptimizerKind::SGD, LossKind::MSE, false)), "not one without a hidden layer");
  expect(!plans(make({64, 64, 65}, 32, OptimizerKind::SGD, LossKind::MSE, false)), "nor with a wide head");
  expect(!plans(make({64, 64, 4}, 257, OptimizerKind::SGD, LossKind::MSE, false)), "nor with a large batch");
  expect(!plans(make({2000, 2000, 4}, 64, OptimizerKind::Adam, LossKind::MSE, false)), "nor too large a one");
  Case weighted = make({64, 64, 4}, 32, OptimizerKind::SGD, LossKind::MSE, false);
  weighted.weighted = true;
  expect(!plans(weighted), "nor with weights of rows");
}

}  // namespace

int main() {
  test_limits();
  test_table();
  test_shapes();
  test_rules_and_losses();
  test_activations();
  test_orders();
  test_one_update();
  test_bursts();
#if !defined(__SANITIZE_ADDRESS__)  // minutes
  test_real();
#endif
  return testing::report();
}
