// The large products of the CUDA backend on a device: against plain loops; a recorded training against the same one
// unrecorded; a weight's copy, kept while its state is the same. Skipped (77) without a device.
//
// The operands are small multiples of 1/8, so bfloat16 holds them and float32 all sums, in any order: what comes before
// an activation must be exact.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "activation_samples.h"
#include "core/cuda_library.h"
#include "cuda/block/real.h"
#include "cuda/large/large.h"
#include "device_values.h"

extern "C" const fastmlp::CudaLibrary* fastmlp_cuda_library();

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

std::vector<float> transposed(const std::vector<float>& a, Index rows, Index columns) {
  std::vector<float> result(a.size());
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < columns; ++c)
      result[static_cast<std::size_t>(c * rows + r)] = a[static_cast<std::size_t>(r * columns + c)];
  return result;
}

// a (rows x depth) times b (depth x columns).
std::vector<float> product(const std::vector<float>& a, const std::vector<float>& b, Index rows, Index columns,
                           Index depth) {
  std::vector<float> result(static_cast<std::size_t>(rows * columns));
  for (Index r = 0; r < rows; ++r) {
    float* const sums = result.data() + r * columns;
    for (Index d = 0; d < depth; ++d) {
      const float factor = a[static_cast<std::size_t>(r * depth + d)];
      const float* const row = b.data() + d * columns;
      for (Index c = 0; c < columns; ++c) sums[c] += factor * row[c];
    }
  }
  return result;
}

// `want` may be changed by a formula first.
template <class Formula>
void compare(const std::string& what, const std::vector<float>& got, const std::vector<float>& want, double tolerance,
             const Formula& formula) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double wanted = formula(want[i], i);
    if (std::abs(got[i] - wanted) <= tolerance * (1 + std::abs(wanted))) continue;
    std::printf("FAILED %s: value %zu is %.9g instead of %.9g\n", what.c_str(), i, static_cast<double>(got[i]), wanted);
    ++failures;
    return;
  }
}

using Number = cuda::Real<float>;

ops::ActivationParams<Number> params_of(const Activation& a) { return {Number(a.alpha), Number(a.beta)}; }

template <class Functor>
float forward(const Activation& a, float z) {
  return Functor::forward(Number(z), params_of(a)).value;
}
template <class Functor>
float backward(const Activation& a, float dy, float saved) {
  return Functor::backward(Number(dy), Number(saved), params_of(a)).value;
}

struct Shape {
  Index M, K, N;
};

class Layer {
 public:
  explicit Layer(const Shape& shape)
      : s(shape),
        x(eighths(s.M * s.K, 1)),
        w(eighths(s.K * s.N, 2)),
        b(eighths(s.N, 3)),
        dz(eighths(s.M * s.N, 4)),
        device_x(x),
        device_w(w),
        device_b(b),
        device_dz(dz) {
    context.precision = Precision::BF16;
  }

  void run() {
    const std::vector<float> xw = product(x, w, s.M, s.N, s.K);
    const auto z_of = [&](float sum, std::size_t i) { return sum + b[i % static_cast<std::size_t>(s.N)]; };
    const std::vector<float> dzw = product(dz, transposed(w, s.K, s.N), s.M, s.K, s.N);
    Values y(s.M * s.N), z(s.M * s.N), dx(s.M * s.K);
#define FASTMLP_CASE(functor, name)                                                                                    \
  {                                                                                                                    \
    const Activation activation = fastmlp::testing::sample_of(ActivationKind::functor);                                \
    const bool input = saves_input(ActivationKind::functor);                                                           \
    AffineForward<float> a{                                                                                            \
        s.M,        s.N,      s.K, device_x.data(),           s.K, device_w.data(), device_b.data(),                   \
        activation, y.data(), s.N, input ? z.data() : nullptr};                                                        \
    expect(cuda::large_forward(a, context), "forward " name);                                                          \
    if (input) compare("z, " name, z.read(), xw, 0, z_of);                                                             \
    compare("y, " name, y.read(), xw, 1e-5,                                                                            \
            [&](float sum, std::size_t i) { return forward<ops::functor>(activation, z_of(sum, i)); });                \
    const bool identity = ActivationKind::functor == ActivationKind::Identity;                                         \
    AffineBackwardInput<float> d{                                                                                      \
        s.M,       s.N, s.K, device_dz.data(), s.N, device_w.data(), activation, identity ? nullptr : device_x.data(), \
        dx.data(), s.K};                                                                                               \
    expect(cuda::large_backward_input(d, context), "backward input " name);                                            \
    compare("dx, " name, dx.read(), dzw, identity ? 0 : 1e-5,                                                          \
            [&](float sum, std::size_t i) { return backward<ops::functor>(activation, sum, x[i]); });                  \
  }
    FASTMLP_ACTIVATIONS(FASTMLP_CASE)
#undef FASTMLP_CASE
    AffineForward<float> no_bias{s.M, s.N,      s.K, device_x.data(), s.K, device_w.data(), nullptr,
                                 {},  y.data(), s.N, nullptr};
    expect(cuda::large_forward(no_bias, context), "forward without bias");
    compare("y without bias", y.read(), xw, 0, [](float sum, std::size_t) { return sum; });
    weight();
  }

 private:
  void weight() {
    const std::vector<float> gradient = product(transposed(x, s.M, s.K), dz, s.K, s.N, s.M);
    AffineBackwardWeight<float> a{s.M, s.N, s.K, device_x.data(), s.K, device_dz.data(), s.N, {}, {}};
    Values dw(s.K * s.N);
    a.weight.grad = dw.data();
    expect(cuda::large_backward_weight(a, context), "gradient");
    compare("dW", dw.read(), gradient, 0, [](float sum, std::size_t) { return sum; });
    a.weight.accumulate = true;
    expect(cuda::large_backward_weight(a, context), "gradient, added");
    compare("dW, added", dw.read(), gradient, 0, [](float sum, std::size_t) { return 2 * sum; });

    for (const bool all : {false, true}) {  // of the states
      update<ops::SGD>(UpdateKind::SGD, all, a, gradient);
      update<ops::SGDMomentum>(UpdateKind::SGDMomentum, all, a, gradient);
      update<ops::Adam>(UpdateKind::Adam, all, a, gradient);
      update<ops::RMSprop>(UpdateKind::RMSprop, all, a, gradient);
      update<ops::NAdam>(UpdateKind::NAdam, all, a, gradient);
      update<ops::Adagrad>(UpdateKind::Adagrad, all, a, gradient);
      update<ops::Lion>(UpdateKind::Lion, all, a, gradient);
    }
  }

  template <class Rule>
  void update(UpdateKind kind, bool all, AffineBackwardWeight<float> a, const std::vector<float>& gradient) {
    Update update;
    update.kind = kind;
    update.constants = {.lr = 0.125, .l2 = 0.25, .momentum = 0.5, .beta1 = 0.75, .beta2 = 0.875, .eps = 0.5};
    update.constants.amsgrad = update.constants.centered = all;
    const int states = kind == UpdateKind::Adam && !all ? 2 : Rule::kStates;
    std::vector<float> start[3];
    Values target(w);
    std::vector<Values*> memory;
    a.weight = {};
    a.weight.update = &update;
    a.weight.target.value = target.data();
    for (int i = 0; i < states; ++i) {
      start[i] = eighths(s.K * s.N, static_cast<std::uint32_t>(10 + i));
      // Squares, that RMSprop's centered ones stay positive.
      for (float& v : start[i]) v = i == 2 && kind == UpdateKind::RMSprop ? v / 8 : std::abs(v) + 2;
      memory.push_back(new Values(start[i]));
      a.weight.target.state[i] = memory.back()->data();
    }
    expect(cuda::large_backward_weight(a, context), "update");
    const ops::UpdateValues<Number> constants(update.constants);
    std::vector<float> want[3];
    for (int i = 0; i < states; ++i) want[i] = start[i];
    std::vector<float> weights(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) {
      Number state[3] = {Number(0), Number(0), Number(0)};
      for (int k = 0; k < states; ++k) state[k] = Number(start[k][i]);
      weights[i] = Rule::apply(Number(w[i]), Number(gradient[i]), state, constants).value;
      for (int k = 0; k < states; ++k) want[k][i] = state[k].value;
    }
    const auto same = [](float v, std::size_t) { return v; };
    const std::string rule = "rule " + std::to_string(static_cast<int>(kind)) + (all ? ", all states" : "");
    compare("W, " + rule, target.read(), weights, 1e-5, same);
    for (int i = 0; i < states; ++i) {
      compare("state, " + rule, memory[static_cast<std::size_t>(i)]->read(), want[i], 1e-5, same);
      delete memory[static_cast<std::size_t>(i)];
    }
  }

  const Shape s;
  const std::vector<float> x, w, b, dz;
  Values device_x, device_w, device_b, device_dz;
  Context context{};
};

// Three layers, trained for four steps by gradients that are not exact: all at once, and as a recording of two steps,
// in which copies are used again.
void test_recording() {
  constexpr Index kRows = 320, kWidth = 1536, kSteps = 2;
  constexpr int kLayers = 3;
  std::vector<float> results[2];
  for (const bool recorded : {false, true}) {
    std::vector<Values*> w, y, dz;
    Values x(eighths(kRows * kWidth, 1));
    for (int l = 0; l < kLayers; ++l) {
      std::vector<float> start = eighths(kWidth * kWidth, static_cast<std::uint32_t>(20 + l));
      for (float& v : start) v /= 30;
      w.push_back(new Values(start));
      y.push_back(new Values(kRows * kWidth));
    }
    for (int i = 0; i < 2; ++i) dz.push_back(new Values(kRows * kWidth));
    Update update;
    update.constants.lr = 1e-3;
    // Steps and updates as a replay has them.
    Values first_memory(4), update_memory(static_cast<Index>(sizeof(Update) / sizeof(float) + 1));
    const Index first[2] = {0, 0};
    need(device->upload(first_memory.data(), first, sizeof first, nullptr));
    need(device->upload(update_memory.data(), &update, sizeof update, nullptr));
    Replay replay{};
    replay.first = reinterpret_cast<const Index*>(first_memory.data());
    replay.updates = reinterpret_cast<const Update*>(update_memory.data());
    replay.one_update = true;
    Context context{};
    context.precision = Precision::BF16;
    context.replay = &replay;

    const Activation tanh{ActivationKind::Tanh, 0, 0};
    const auto step = [&] {
      bool done = true;
      for (int l = 0; l < kLayers; ++l) {
        const std::size_t at = static_cast<std::size_t>(l);
        done &= cuda::large_forward({kRows, kWidth, kWidth, l ? y[at - 1]->data() : x.data(), kWidth, w[at]->data(),
                                     nullptr, tanh, y[at]->data(), kWidth, nullptr},
                                    context);
      }
      const float* gradient = y[kLayers - 1]->data();  // of half the sum of squares
      int turn = 0;
      for (int l = kLayers; l-- > 0;) {
        const std::size_t at = static_cast<std::size_t>(l);
        const float* const own = gradient;
        if (l > 0) {
          float* const below = dz[static_cast<std::size_t>(turn ^= 1)]->data();
          done &= cuda::large_backward_input(
              {kRows, kWidth, kWidth, own, kWidth, w[at]->data(), tanh, y[at - 1]->data(), below, kWidth}, context);
          gradient = below;
        }
        AffineBackwardWeight<float> a{kRows,  kWidth, kWidth, l ? y[at - 1]->data() : x.data(), kWidth, own,
                                      kWidth, {},     {}};
        a.weight.update = &update;
        a.weight.target.value = w[at]->data();
        done &= cuda::large_backward_weight(a, context);
      }
      expect(done, "a step of large products");
    };
    if (recorded) {
      step();  // makes the copies; undone below
      for (int l = 0; l < kLayers; ++l) {
        std::vector<float> start = eighths(kWidth * kWidth, static_cast<std::uint32_t>(20 + l));
        for (float& v : start) v /= 30;
        w[static_cast<std::size_t>(l)]->write(start);
      }
      need(device->begin_recording(nullptr));
      for (replay.offset = 0; replay.offset < kSteps; ++replay.offset) step();
      void* const recording = device->end_recording(nullptr);
      expect(recording != nullptr, "recording");
      for (int i = 0; i < 2; ++i) need(device->replay(recording, nullptr));
      need(device->synchronize(nullptr));
      device->release_recording(recording);
    } else {
      for (Index i = 0; i < 2 * kSteps; ++i) step();
    }
    for (Values* values : w) {
      const std::vector<float> got = values->read();
      results[recorded].insert(results[recorded].end(), got.begin(), got.end());
    }
    for (auto* list : {&w, &y, &dz})
      for (Values* values : *list) delete values;
    cuda::large_tidy();
  }
  expect(std::memcmp(results[0].data(), results[1].data(), results[0].size() * sizeof(float)) == 0,
         "a recorded training has the bits of the same one unrecorded");
}

// Where the environment asks for kernels that no device has run: the column sums of a gradient beside it, at edges, too.
void test_column_sums() {
  if (!cuda::unproved()) return;
  for (const Shape& shape : {Shape{320, 1536, 1536}, Shape{517, 1096, 1032}}) {
    const std::vector<float> w = eighths(shape.K * shape.N, 2), saved = eighths(shape.M * shape.K, 3);
    Values dz(eighths(shape.M * shape.N, 1)), weight(w), below(saved), dx(shape.M * shape.K), none(shape.K * shape.K);
    Replay replay{};
    Context context{};
    context.precision = Precision::BF16;
    const AffineBackwardInput<float> a{
        shape.M,      shape.N,   shape.K, dz.data(), shape.N, weight.data(), {ActivationKind::Tanh, 0, 0},
        below.data(), dx.data(), shape.K};
    const AffineBackwardInput<float> next{shape.M,     shape.K, shape.K, dx.data(),    shape.K,
                                          none.data(), {},      nullptr, below.data(), shape.K};
    expect(cuda::large_backward_input(a, context) && cuda::large_backward_input(next, context), "copies are made");
    below.write(saved);
    context.replay = &replay;
    AffineBackwardWeight<float> bias{shape.M, shape.K, shape.K, nullptr, shape.K, dx.data(), shape.K, {}, {}};
    need(device->begin_recording(nullptr));
    expect(cuda::large_backward_input(a, context), "backward input");
    cuda::large_column_sums(bias, context);
    void* const recording = device->end_recording(nullptr);
    need(device->replay(recording, nullptr));
    need(device->synchronize(nullptr));
    device->release_recording(recording);
    expect(bias.M == (shape.M + 15) / 16 && bias.dz != dx.data(), "there are sums");
    std::vector<float> sums(static_cast<std::size_t>(bias.M * shape.K));
    need(device->download(sums.data(), bias.dz, sums.size() * sizeof(float), nullptr));
    const std::vector<float> got = dx.read();
    for (Index c = 0; c < shape.K; ++c) {
      double sum = 0;
      for (Index r = 0; r < bias.M; ++r) sum += static_cast<double>(sums[static_cast<std::size_t>(r * bias.lddz + c)]);
      for (Index r = 0; r < shape.M; ++r) sum -= static_cast<double>(got[static_cast<std::size_t>(r * shape.K + c)]);
      expect(std::abs(sum) <= 1e-4 * static_cast<double>(shape.M), "a column's sum");
    }
    cuda::large_tidy();
  }
}

// A copy is made when the weight is in another state, and not before.
void test_kept_weight() {
  constexpr Index kRows = 320, kWidth = 1536;
  const std::vector<float> w = eighths(kWidth * kWidth, 2), other = eighths(kWidth * kWidth, 3);
  Values x(eighths(kRows * kWidth, 1)), weight(w), y(kRows * kWidth);
  Context context{};
  context.precision = Precision::BF16;
  AffineForward<float> a{kRows,   kWidth, kWidth,   x.data(), kWidth, weight.data(),
                         nullptr, {},     y.data(), kWidth,   nullptr};
  const auto forward = [&](const ValueState& state) {
    a.weight_state = state;
    expect(cuda::large_forward(a, context), "forward");
    return y.read();
  };
  const std::vector<float> first = forward({1, 1});
  weight.write(other);  // unseen
  expect(forward({1, 1}) == first, "a weight in the same state is not rounded again");
  const std::vector<float> second = forward({1, 2});
  expect(second != first && forward({}) == second && forward({2, 2}) == second, "in another one it is");
  cuda::large_tidy();
}

}  // namespace

int main() {
  const CudaLibrary* const library = fastmlp_cuda_library();
  const Context context{.executor = {}, .scratch = nullptr, .precision = Precision::BF16};
  const bool suits = library->count() > 0 && cuda::capability() == 90;
  if (!suits)
    expect(
        !cuda::large_forward({512, 4096, 4096, nullptr, 4096, nullptr, nullptr, {}, nullptr, 4096, nullptr}, context),
        "refused without the device for it");
  if (failures > 0) return 1;
  if (!suits) {
    std::puts("skipped: needs a device of capability 9.0");
    return 77;
  }
  device = library->device;
  for (const Shape& shape :
       {Shape{256, 2048, 1024}, Shape{264, 2056, 1000}, Shape{517, 1096, 1032}, Shape{1024, 512, 1536}})
    Layer(shape).run();
  test_recording();
  test_kept_weight();
  test_column_sums();
  return report();
}
