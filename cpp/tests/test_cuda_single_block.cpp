// Training a whole network in one launch, emulated: trajectories of many steps against a plain float64 reference and the
// CPU core, for all activations, losses and update rules, by batches, and many networks at once.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/single_block/layout.h"
#include "single_block_running.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

// float32's distance grows with the steps, and with RMSprop's and Adam's quotients of small numbers.
void test(const Case& c, const std::string& what) {
  const Result<double> expected = reference(c), f64 = run<double>(c, {0});
  compare(f64, expected, c, 1e-8, what + ", float64");
  compare(f64, on_cpu<double>(c), c, 1e-8, what + ", float64 against the CPU core");
  const Result<float> f32 = run<float>(c, {0});
  compare(f32, expected, c, 1e-3, what + ", float32");
  compare(f32, on_cpu<float>(c), c, 1e-3, what + ", float32 against the CPU core");
  test_lanes(c, expected, what);
  bool needed[3];
  needed_states(c.optimizer, c.options, needed);
  for (int s = 0; s < 3; ++s)
    if (needed[s])
      expect(difference(f64.states[s], expected.states[s], static_cast<std::size_t>(c.parameters())) <= 1e-8,
             what + ": states");
  expect(c.steps == 1 || expected.losses.front() != expected.losses.back(), what + ": something is learnt");
}

// Tests ------------------------------------------------------------------------------------------------------------------

std::string name(ActivationKind kind) { return kActivationNames[static_cast<int>(kind)]; }

void test_activations() {
  for (int kind = 0; kind < static_cast<int>(std::size(kActivationNames)); ++kind) {
    Case c;
    c.hidden = static_cast<ActivationKind>(kind);
    c.sizes = {3, 6, 5, 2};
    test(c, "hidden " + name(c.hidden));
    c.last = c.hidden;
    c.sizes = {4, 3};
    test(c, "last " + name(c.last));
  }
}

void test_losses() {
  for (int number = 0; number < 4 * static_cast<int>(std::size(kLossNames)); ++number) {
    const int kind = number / 4;
    const bool mean = number % 2 == 0;
    Case c;
    c.weighted = number % 4 >= 2;
    c.loss = {static_cast<LossKind>(kind), 0.3, mean ? Reduction::Mean : Reduction::Sum, c.weighted};
    c.options.lr = mean ? 0.1 : 0.01;
    c.sizes = {3, 4, is_pair_loss(c.loss.kind) ? 6 : 5};
    const std::string what = std::string("loss ") + kLossNames[kind] + (c.weighted ? ", weighted" : "");
    if (is_pair_loss(c.loss.kind) || c.loss.kind == LossKind::PoissonNLL) c.last = ActivationKind::Softplus;
    if (c.loss.kind == LossKind::CrossEntropy && c.weighted) c.loss.label_smoothing = 0.1;
    if (c.loss.kind == LossKind::BCE) {
      c.last = ActivationKind::Sigmoid;
      test(c, what + " of logits");
      continue;  // other outputs may leave (0, 1); see test_row_activations
    }
    test(c, what);
    if (!is_class_loss(c.loss.kind)) continue;
    c.classes = true;
    test(c, what + ", classes");
  }
}

void test_row_activations() {
  for (const RowActivationKind kind : {RowActivationKind::Softmax, RowActivationKind::LogSoftmax})
    for (const LossKind loss : {LossKind::MSE, LossKind::BCE, LossKind::NLL, LossKind::CrossEntropy})
      for (const bool classes : {false, true}) {
        if ((classes && !is_class_loss(loss)) || (kind == RowActivationKind::LogSoftmax && loss == LossKind::BCE))
          continue;
        Case c;
        c.sizes = {3, 4, classes ? 37 : 5};
        c.has_row_activation = true;
        c.row_activation = kind;
        c.loss.kind = loss;
        c.classes = classes;
        c.rows = 7;
        test(c, std::string(kRowActivationNames[static_cast<int>(kind)]) + ", " + kLossNames[static_cast<int>(loss)]);
      }
}

void test_optimizers() {
  const std::pair<const char*, const char*> extras[] = {{"", ""},
                                                        {"momentum", "nesterov"},
                                                        {"weight_decay", "amsgrad"},
                                                        {"momentum", "centered"},
                                                        {"maximize", "weight_decay"},
                                                        {"momentum", "dampening"},
                                                        {"weight_decay", "decoupled_weight_decay"},
                                                        {"momentum_decay", "lr_decay"}};
  for (int kind = 0; kind < static_cast<int>(std::size(kOptimizerNames)); ++kind)
    for (const auto& [first, second] : extras) {
      Case c;
      c.optimizer = static_cast<OptimizerKind>(kind);
      c.options.lr = 0.01;
      c.options.eps = 1e-3;
      c.steps = 15;
      for (const std::string extra : {first, second})
        if (!extra.empty()) c.options.set(extra, extra == "weight_decay" ? 0.05 : 0.5);
      test(c, std::string(kOptimizerNames[kind]) + " " + first + " " + second);
    }
}

// Plans of all kinds: threads, tiles, parts of a batch, several turns over rows and columns.
void test_shapes() {
  const std::vector<Index> shapes[] = {{1, 1},  {2, 2, 1},  {13, 10, 1}, {5, 40, 7}, {3, 9, 9, 9, 9, 4},
                                       {70, 3}, {2, 130, 2}};
  for (const auto& sizes : shapes)
    for (const Index rows : {1, 4, 30, 67, 300})
      for (const bool bias : {true, false}) {
        if (rows == 300 && sizes != std::vector<Index>{13, 10, 1}) continue;  // float64 does not fit
        Case c;
        c.sizes = sizes;
        c.rows = rows;
        c.bias = bias;
        c.steps = rows > 60 ? 3 : 6;
        c.optimizer = bias ? OptimizerKind::Adam : OptimizerKind::SGD;
        c.options.lr = 0.02;
        c.options.eps = 1e-3;
        test(c, std::to_string(sizes[0]) + "-" + std::to_string(sizes[1]) + "-.. " + std::to_string(rows) + " rows");
      }
  Case c;
  c.sizes = {40, 48, 32, 10};
  c.rows = 32;
  c.steps = 3;
  c.loss.kind = LossKind::CrossEntropy;
  c.classes = true;
  test(c, "a larger network");
}

void test_batches() {
  for (const bool classes : {false, true})
    for (const bool by_ids : {false, true})
      for (const bool same_rows : {false, true})
        for (const Index steps : {1, 2, 9}) {
          Case c;
          c.steps = steps;
          c.by_ids = by_ids;
          c.same_rows = same_rows;
          c.classes = classes;
          c.rows = 33;
          if (classes) c.loss.kind = LossKind::CrossEntropy;
          c.optimizer = OptimizerKind::AdamW;
          test(c, "batches");
        }
}

void test_frozen() {
  for (int mask = 1; mask < 63; mask += 5) {
    Case c;
    c.sizes = {3, 4, 5, 2};
    c.optimizer = OptimizerKind::RMSprop;
    c.options.lr = 0.01;
    c.options.eps = 1e-3;
    for (int bit = 0; bit < 6; ++bit) c.frozen.push_back(mask >> bit & 1);
    test(c, "frozen parameters");
    const Result<float> result = run<float>(c, {0});
    Index i = 0;
    for (std::size_t number = 0; number < 6; ++number) {
      const Index size = (number % 2 ? 1 : c.sizes[number / 2]) * c.sizes[number / 2 + 1];
      for (const Index end = i + size; i < end; ++i)
        if (c.is_frozen(number))
          expect(result.parameters[static_cast<std::size_t>(i)] == static_cast<float>(first_value(0, i)), "frozen");
    }
  }
}

void test_groups() {
  Case c;
  c.sizes = {2, 10, 3};
  c.rows = 30;
  c.loss.kind = LossKind::CrossEntropy;
  c.classes = true;
  c.by_ids = true;
  c.steps = 4;
  c.optimizer = OptimizerKind::Adam;
  test_many<float>(c, 5);
  test_many<double>(c, 5);
  test_many<float>(c, 150);  // more than multiprocessors
  test_many<double>(c, 150);
}

void test_one_update() {
  Case c;
  const Result<float> each = run<float>(c, {0}), one = run<float>(c, {0}, Way::Block, true);
  expect(same_bits(each.parameters.data(), one.parameters.data(), c.parameters()), "one update for all steps");
}

// Threads enough for a team for each row have one for each: the rows go through the network in one pass.
void test_passes() {
  struct Network {
    Index in, hidden, out, rows;
  };
  for (const Network& n : {Network{2, 10, 3, 30}, {2, 4, 1, 500}, {2, 2, 1, 4}, {1, 13, 1, 9}}) {
    const SingleBlockLayer layers[] = {{n.in, n.hidden, {}, true, true, true}, {n.hidden, n.out, {}, true, true, true}};
    SingleBlockTraining<float> args{};
    args.layers = layers;
    args.depth = 2;
    args.rows = n.rows;
    args.models = args.steps = 1;
    cuda::BlockPlan plan;
    expect(cuda::plan_block(args, plan), "a plan");
    expect((plan.threads >> plan.log_lanes) * plan.row_tile >= n.rows, std::to_string(n.rows) + " rows in one pass");
  }
}

template <class T>
void test_limits() {
  SingleBlockTraining<T> args{};
  SingleBlockLayer layer{4096, 64, {}, true, true, false};
  args.layers = &layer;
  args.depth = 1;
  args.rows = 4;
  args.steps = 1;
  args.models = 1;
  expect(!cuda::trains_in_block(args), "a large network is none for a block");
  layer.in = 4;
  expect(cuda::trains_in_block(args), "a small one is");
  args.rows = 100000;
  expect(!cuda::trains_in_block(args), "but not with a large batch");
  args.rows = 4;
  layer.trains_weight = false;
  expect(!cuda::trains_in_block(args), "nor if nothing is trained");
}

}  // namespace

int main() {
  test_activations();
  test_losses();
  test_row_activations();
  test_optimizers();
  test_shapes();
  test_batches();
  test_frozen();
  test_groups();
  test_one_update();
  test_passes();
  test_limits<float>();
  test_limits<double>();
  expect(by_lanes > 50, std::to_string(by_lanes) + " tests take rows in lanes");
  return report();
}
