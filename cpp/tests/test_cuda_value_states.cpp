// What a network tells a device of its weights' states, from which copies of them are kept: the same for the same values,
// another one after every change, nothing while they are trained. On the emulated device, which checks it, too.
#include <stdexcept>
#include <vector>

#include "core/cuda_library.h"
#include "core/trainer.h"
#include "cuda/runtime/kernels.h"
#include "expect.h"
#include "mlp.h"

extern "C" const fastmlp::CudaLibrary* fastmlp_cuda_library();

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

std::vector<ValueState> seen;

bool known(const std::vector<ValueState>& states) {
  for (const ValueState& state : states)
    if (!state.known()) return false;
  return !states.empty();
}
bool all_other(const std::vector<ValueState>& a, const std::vector<ValueState>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i] == b[i]) return false;
  return a.size() == b.size();
}

void test_network(const Device& device) {
  constexpr Index kRows = 30, kIn = 16;
  fastmlp::testing::Mlp<float> mlp({kIn, 24, 12, 5}, ActivationKind::Tanh, ActivationKind::Identity, 1);
  for (const auto& parameter : mlp.parameters) parameter->take(parameter->moved_to(device));
  Network<float> network(Program<float>(mlp.layers, Precision::BF16));
  Optimizer<float> optimizer(OptimizerKind::Adam, {}, mlp.parameters);
  Buffer<float> x(kRows * kIn, device), y(kRows * 5, device);
  Buffer<Index> classes(kRows, device);
  const auto predict = [&](Index rows) {
    seen.clear();
    network.predict(x.data(), rows, kIn, nullptr, y.data());
    return seen;
  };
  const std::vector<ValueState> first = predict(kRows);
  expect(first.size() == 3 && known(first), "predictions say the weights' states");
  expect(first[0].parameter != first[1].parameter && first[1].parameter != first[2].parameter,
         "parameters have numbers");
  expect(predict(kRows) == first && predict(17) == first && predict(kRows) == first, "which stay while the values do");

  for (const auto& parameter : mlp.parameters) {
    const std::vector<float> ones(static_cast<std::size_t>(parameter->size()), 1);
    parameter->write_grad(ones.data());
  }
  optimizer.step();
  const std::vector<ValueState> stepped = predict(kRows);
  expect(known(stepped) && all_other(stepped, first), "an optimizer's step changes them");

  const std::vector<float> zeros(static_cast<std::size_t>(mlp.parameters[2]->size()));
  mlp.parameters[2]->write(zeros.data());
  mlp.parameters[2]->count_change();
  const std::vector<ValueState> written = predict(kRows);
  expect(written[0] == stepped[0] && !(written[1] == stepped[1]) && written[2] == stepped[2], "an assignment, its own");

  const auto fits = [&](int by) {
    for (const auto& parameter : mlp.parameters) parameter->fits += by;
  };
  fits(1);
  for (const ValueState& state : predict(kRows)) expect(!state.known(), "nothing is said during a training");
  History history;
  FitOptions options;
  options.max_epoch = 3;
  options.batch_size = 10;
  const DataSet<float> data{x.data(), {nullptr, classes.data()}, kRows, kIn};
  std::vector<Trainee<float>> trainees;
  trainees.emplace_back(network, optimizer, history);
  seen.clear();
  fit<float>(trainees, {LossKind::CrossEntropy}, data, &data, options);
  expect(!seen.empty(), "a training makes passes");
  for (const ValueState& state : seen) expect(!state.known(), "which say nothing");
  fits(-1);
  const std::vector<ValueState> trained = predict(kRows);
  expect(known(trained) && all_other(trained, written) && all_other(trained, stepped), "a training changes them");
  expect(predict(kRows) == trained, "once");
}

void test_check() {
  float w[4] = {1, 2, 3, 4}, x[2] = {1, 1}, y[2];
  std::vector<unsigned char> scratch(fastmlp_cuda_library()->device->f32->scratch_bytes);
  Context context{};
  context.scratch = scratch.data();
  AffineForward<float> a{1, 2, 2, x, 2, w, nullptr, {}, y, 2, nullptr};
  const auto refused = [&](ValueState state) {
    a.weight_state = state;
    try {
      cuda::affine_forward(a, context);
    } catch (const std::logic_error&) {
      return true;
    }
    return false;
  };
  constexpr std::uint64_t kOwn = ~std::uint64_t{0};
  expect(!refused({kOwn, 1}) && !refused({kOwn, 1}) && !refused({}), "equal values");
  w[1] = 7;
  expect(!refused({}) && !refused({kOwn - 1, 1}) && refused({kOwn, 1}), "another value in the same state");
  w[1] = 8;
  expect(!refused({kOwn, 2}), "in another one");
}

}  // namespace

int main() {
  const Device* const cuda = fastmlp_cuda_library()->device;
  static Backend<float> spy = *cuda->f32;
  spy.affine_forward = [](const AffineForward<float>& a, const Context& context) {
    seen.push_back(a.weight_state);
    cuda::affine_forward(a, context);
  };
  Device device = *cuda;
  device.f32 = &spy;
  test_network(device);
  test_check();
  return report();
}
