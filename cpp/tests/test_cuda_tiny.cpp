// Tiny networks, a row in each lane, emulated: all shapes, losses and activations against a plain float64 reference, and
// networks that share a warp. What holds for one block, test_cuda_single_block tests for both.
#include <tuple>

#include "cuda/tiny/takes.h"
#include "cuda/tiny/tiny.h"
#include "single_block_running.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

// All shapes that there are, and networks a little smaller, in batches of one and several turns.
void test_tiny() {
#define FASTMLP_CASE(...) cuda::TinyShape<__VA_ARGS__>{},
  const auto shapes = std::tuple{FASTMLP_TINY_SHAPES(FASTMLP_CASE) 0};
#undef FASTMLP_CASE
  const auto each = [](auto shape) {
    using S = decltype(shape);
    if constexpr (!std::is_same_v<S, int>)
      for (const int less : {0, 1})
        for (const Index rows : {1, 4, 9, 32, 33, 130, 300}) {
          Case c;
          c.sizes = {std::max<Index>(1, S::kIn - less)};
          for (int l = 0; l < S::kLayers; ++l)
            c.sizes.push_back(std::max<Index>(S::kLeast, S::kHidden - less * (l + 1)));
          c.sizes.push_back(std::max<Index>(1, S::kOut - less));
          c.rows = rows;
          c.steps = 5;
          c.by_ids = rows % 2;
          c.same_rows = less;
          c.bias = rows != 9;
          constexpr ActivationKind kinds[] = {ActivationKind::Sigmoid, ActivationKind::Tanh, ActivationKind::ReLU};
          c.hidden = kinds[rows % 3];
          c.weighted = rows == 130;
          if (c.out() > 1) {
            c.loss.kind = LossKind::CrossEntropy;
            c.classes = less;
            c.loss.label_smoothing = rows == 4 ? 0.1 : 0;
          }
          c.optimizer = rows > 100 ? OptimizerKind::Adam : OptimizerKind::SGD;
          c.options.eps = 1e-3;
          const std::string what = "tiny " + std::to_string(c.in()) + "-" + std::to_string(c.sizes[1]) + "-" +
                                   std::to_string(c.out()) + ", " + std::to_string(rows) + " rows";
          expect(test_lanes(c, reference(c), what), what + ": there is a kernel");
        }
  };
  std::apply([&](auto... shape) { (each(shape), ...); }, shapes);

  for (int kind = 0; kind < static_cast<int>(std::size(kLossNames)); ++kind)
    for (const bool weighted : {false, true}) {
      Case c;
      c.sizes = {2, 4, 3};
      c.loss = {static_cast<LossKind>(kind), 0.3};
      c.weighted = weighted;
      for (const bool binary : {false, true}) {
        if (!cuda::is_tiny<1>(c.loss.kind) || cuda::is_tiny<4>(c.loss.kind)) break;
        c.sizes = {2, 4, 1};
        c.last = binary ? ActivationKind::Sigmoid : ActivationKind::Identity;
        if (binary || c.loss.kind != LossKind::BCE)
          expect(test_lanes(c, reference(c), "tiny, one output"), "a kernel for one output");
      }
      if (test_lanes(c, reference(c), std::string("tiny, loss ") + kLossNames[kind])) continue;
      expect(!cuda::is_tiny<4>(c.loss.kind), std::string("no kernel for loss ") + kLossNames[kind]);
    }
  for (const ActivationKind kind : {ActivationKind::ReLU, ActivationKind::Sigmoid, ActivationKind::Tanh}) {
    Case c;
    c.sizes = {2, 4, 3};
    c.hidden = c.last = kind;
    expect(test_lanes(c, reference(c), "tiny, last activation"), "a kernel for the last activation");
  }
}

// Infinite inputs meet no unit that the network lacks: a sigmoid makes a number of them.
void test_infinite_inputs() {
  Case c;
  c.sizes = {2, 3, 1};
  c.hidden = ActivationKind::Sigmoid;
  c.frozen = {true, false, false, false};  // whose gradient is NaN
  c.infinite = true;
  const Result<float> f32 = run<float>(c, {0}, Way::Lanes);
  expect(std::isfinite(f32.losses.back()), "an infinite input of a sigmoid");
  compare(f32, run<float>(c, {0}), c, 1e-3, "an infinite input");
}

void test_groups() {
  Case c;
  c.sizes = {2, 10, 3};
  c.loss.kind = LossKind::CrossEntropy;
  c.classes = true;
  c.by_ids = true;
  c.steps = 4;
  c.optimizer = OptimizerKind::Adam;
  for (const Index rows : {4, 30, 70}) {
    c.rows = rows;
    test_many<float>(c, 5, Way::Lanes);
  }
  // So many that they share warps; the last warp is not full.
  c.classes = false;
  c.weighted = true;
  c.loss = {LossKind::BCE, 1, Reduction::Sum};
  c.last = ActivationKind::Sigmoid;
  for (const Index hidden : {2, 3})
    for (const Index rows : {1, 4})
      for (const OptimizerKind kind : {OptimizerKind::SGD, OptimizerKind::Adam}) {
        c.sizes = {2, hidden, 1};
        c.rows = rows;
        c.optimizer = kind;
        test_many<float>(c, 4 * cuda::multiprocessors() + 11, Way::Lanes);
      }
}

void test_one_update() {
  Case c;
  const Result<float> lanes = run<float>(c, {0}, Way::Lanes), one_lanes = run<float>(c, {0}, Way::Lanes, true);
  expect(same_bits(lanes.parameters.data(), one_lanes.parameters.data(), c.parameters()), "the same by rows in lanes");
}

}  // namespace

int main() {
  test_tiny();
  test_infinite_inputs();
  test_groups();
  test_one_update();
  return report();
}
