// The device's kernels on single values, emulated, against the scalar kernels of the CPU: every formula and option, sizes
// on both sides of packs, warps and blocks, addresses that are not aligned, the same bits twice, and steps that are
// replayed.
#include <vector>

#include "activation_samples.h"
#include "core/dropout.h"
#include "core/optimizer.h"
#include "cuda/block/real.h"
#include "cuda/runtime/kernels.h"
#include "cuda_testing.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

// Real<T> ----------------------------------------------------------------------------------------------------------

// Relative errors against long double; where the exact result is below the normal numbers, absolute ones.
template <class T, class Function, class Exact>
void test_function(const char* name, const Function& function, const Exact& exact, double low, double high) {
  bool fine = true;
  for (int i = 0; i <= 4000; ++i) {
    const T x = static_cast<T>(low + (high - low) * i / 4000);
    const long double want = exact(static_cast<long double>(x));
    const long double size = std::max(std::abs(want), static_cast<long double>(std::numeric_limits<T>::min()));
    fine &= std::abs(static_cast<long double>(function(cuda::Real<T>(x)).value) - want) <=
            4 * static_cast<long double>(std::numeric_limits<T>::epsilon()) * size;
  }
  check(fine, name, 4000, 1, 0, sizeof(T));
}

template <class T>
void test_real() {
  using Real = cuda::Real<T>;
  const double most = sizeof(T) == 4 ? 100 : 740;
  const auto sigmoid_of = [](long double x) { return 1 / (1 + std::exp(-x)); };
  test_function<T>("sigmoid", [](Real x) { return sigmoid(x); }, sigmoid_of, -most, most);
  const auto log_sigmoid_of = [](long double x) {
    return x > 0 ? -std::log1p(std::exp(-x)) : x - std::log1p(std::exp(x));
  };
  test_function<T>("log_sigmoid", [](Real x) { return log_sigmoid(x); }, log_sigmoid_of, -most, most);
  const auto normal_of = [](long double x) { return std::erfc(-x * std::sqrt(0.5L)) / 2; };
  test_function<T>("normal_cdf", [](Real x) { return normal_cdf(x); }, normal_of, -12, 12);
  const auto log1p_of = [](long double x) { return std::log1p(x); };
  test_function<T>("log_shifted, 1", [](Real x) { return log_shifted(Real(1), x); }, log1p_of, -0.999, 3);

  const T nan = std::numeric_limits<T>::quiet_NaN();
  const bool second = std::isnan(min(Real(1), Real(nan)).value) && max(Real(nan), Real(1)).value == 1;
  const bool mask =
      !any(Real(nan) <= Real(nan)) && any(Real(0) <= Real(0)) && !any((Real(0) < Real(1)) & (Real(1) < Real(0)));
  check(second && mask, "NaNs and masks", 1, 1, 0, sizeof(T));
}

// Values one by one ------------------------------------------------------------------------------------------------

template <class T>
void test_activation(const Activation& activation, Index n, Index offset) {
  Values<T> x(n, 1, -9, 9, offset), dy(n, 2, -2, 2, offset), saved(n, 3, -9, 9, offset);
  const T special[] = {T(0), -T(0), T(100), T(-100), T(1e-30), std::numeric_limits<T>::quiet_NaN()};
  for (Index i = 0; i < 6 && i < n; ++i) x[n - 1 - i] = special[i];
  const int kind = static_cast<int>(activation.kind);
  Values<T> want(n), got(n, offset), again = x;
  cpu<T>().activation_forward(activation, n, x.data(), want.data(), kHost);
  cuda::activation_forward(activation, n, x.data(), got.data(), kHost);
  check(near(got, want, 8), "activation_forward", n, offset, kind, sizeof(T));
  cuda::activation_forward(activation, n, again.data(), again.data(), kHost);
  check(same_bits(got, again), "activation_forward in place", n, offset, kind, sizeof(T));

  if (!saves_input(activation.kind)) saved = got;
  again = dy;
  cpu<T>().activation_backward(activation, n, dy.data(), saved.data(), want.data(), kHost);
  cuda::activation_backward(activation, n, dy.data(), saved.data(), got.data(), kHost);
  check(near(got, want, 64), "activation_backward", n, offset, kind, sizeof(T));
  cuda::activation_backward(activation, n, again.data(), saved.data(), again.data(), kHost);
  check(same_bits(got, again), "activation_backward in place", n, offset, kind, sizeof(T));
}

template <class T>
void test_activations() {
  for (const Activation& activation : all_activations())
    for (const Index n : {1, 2, 3, 4, 5, 31, 255, 1023, 1024, 1027})
      for (const Index offset : {0, 1}) test_activation<T>(activation, n, offset);
  test_activation<T>({ActivationKind::Tanh, 0, 0}, 132 * 8 * 256 * 4 + 5, 0);  // more than one pack a thread
}

template <class T>
void test_dropout(double p, Index n, Index offset) {
  const Values<T> x(n, 5, -1, 1, offset);
  Values<T> want(n), got(n, offset), replayed(n, offset), in_place = x;
  const DropoutState state{77, 1000};
  cpu<T>().dropout(state, 3, p, 0, n, x.data(), want.data(), kHost);
  cuda::dropout(state, 3, p, 0, n, x.data(), got.data(), kHost);
  check(same_bits(got, want), "dropout", n, offset, 0, sizeof(T));
  cuda::dropout(state, 3, p, 0, n, in_place.data(), in_place.data(), kHost);
  check(same_bits(in_place, want), "dropout in place", n, offset, 0, sizeof(T));
  for (const auto drop : {cpu<T>().dropout, cuda::dropout<T>}) {
    Values<T> parts(n, offset);
    const Index half = n / 8 * 4;
    drop(state, 3, p, 0, half, x.data(), parts.data(), kHost);
    drop(state, 3, p, half, n - half, x.data() + half, parts.data() + half, kHost);
    check(same_bits(parts, want), "dropout in parts", n, offset, 0, sizeof(T));
  }
  const Index first[] = {20, 0};
  const std::uint64_t step = 973;
  const Replay replay{first, 7, nullptr, false, nullptr, false, &step, nullptr};
  Context context = kHost;
  context.replay = &replay;
  cuda::dropout({77, 0}, 3, p, 0, n, x.data(), replayed.data(), context);
  check(same_bits(replayed, want), "dropout, replayed", n, offset, 0, sizeof(T));
}

template <class T>
void test_gather(Index rows, Index in, Index out, bool classes, Index offset) {
  constexpr Index kSourceRows = 700;
  const Values<T> x(kSourceRows * in, 1, -1, 1, offset), dense(kSourceRows * out, 2, -1, 1),
      weights(kSourceRows, 3, 0, 1);
  Values<Index> labels(kSourceRows), ids(kSourceRows);
  for (Index i = 0; i < kSourceRows; ++i) {
    labels[i] = i * 7 % 10;
    ids[i] = i * 37 % kSourceRows;
  }
  Values<T> x_rows(rows * in), dense_rows(rows * out), weight_rows(rows);
  Values<Index> class_rows(rows);
  Targets<T> targets;
  if (classes)
    targets.classes = labels.data();
  else
    targets.dense = dense.data();
  targets.weights = weights.data();

  const auto expect = [&](const char* what, const auto& source) {
    bool fine = true;
    for (Index r = 0; r < rows; ++r) {
      for (Index c = 0; c < in; ++c) fine &= x_rows[r * in + c] == x[source(r) * in + c];
      for (Index c = 0; c < out && !classes; ++c) fine &= dense_rows[r * out + c] == dense[source(r) * out + c];
      if (classes) fine &= class_rows[r] == labels[source(r)];
      fine &= weight_rows[r] == weights[source(r)];
    }
    check(fine, what, rows, in, static_cast<int>(out), sizeof(T));
    std::fill_n(x_rows.data(), rows * in, T(9));
    std::fill_n(dense_rows.data(), rows * out, T(9));
    std::fill_n(class_rows.data(), rows, Index{9});
    std::fill_n(weight_rows.data(), rows, T(9));
  };
  GatherArgs<T> args{rows,
                     in,
                     out,
                     x.data(),
                     targets,
                     ids.data(),
                     x_rows.data(),
                     dense_rows.data(),
                     class_rows.data(),
                     weight_rows.data()};
  cpu<T>().gather(args, kHost);
  expect("gather on the CPU", [&](Index r) { return ids[r]; });
  cuda::gather(args, kHost);
  expect("gather", [&](Index r) { return ids[r]; });
  args.ids = nullptr;
  cuda::gather(args, kHost);
  expect("gather of consecutive rows", [](Index r) { return r; });

  const Index first[] = {3, 2};  // step 3 + 1 of steps that begin at row 2
  Replay replay{first, 1, nullptr, false, ids.data(), false, nullptr, nullptr};
  Context context = kHost;
  context.replay = &replay;
  if (2 + 5 * rows > kSourceRows) return;
  cuda::gather(args, context);
  expect("gather, replayed", [&](Index r) { return ids[2 + 4 * rows + r]; });
  replay.ids = nullptr;
  cuda::gather(args, context);
  expect("gather of consecutive rows, replayed", [&](Index r) { return 2 + 4 * rows + r; });
  replay.same_rows = true;
  cuda::gather(args, context);
  expect("gather of the same rows, replayed", [&](Index r) { return 2 + r; });
}

template <class T>
struct Weights {
  Values<T> value, state[3];
  Weights(Index n, Index offset)
      : value(n, 1, -1, 1, offset), state{{n, 2, 0, 1, offset}, {n, 3, 0.1, 1, offset}, {n, 4, 0, 0.05, offset}} {}
  UpdateTarget<T> target(const bool (&used)[3]) {
    UpdateTarget<T> target{value.data(), {}};
    for (int s = 0; s < 3; ++s)
      if (used[s]) target.state[s] = state[s].data();
    return target;
  }
  bool near(const Weights& other) const {
    bool fine = ::near(value, other.value, 4);
    for (int s = 0; s < 3; ++s) fine &= ::near(state[s], other.state[s], 4);
    return fine;
  }
};

template <class T>
void test_update(OptimizerKind kind, const OptimizerOptions& options, const bool (&used)[3], Index n, Index offset) {
  const Values<T> grad(n, 9, -1, 1, offset);
  Weights<T> want(n, 0), got(n, offset), replayed(n, offset);
  for (Index i = 0; i < n; ++i) {  // the offset shifts the sequence of random numbers
    want.value[i] = got.value[i];
    for (int s = 0; s < 3; ++s) want.state[s][i] = got.state[s][i];
  }
  std::vector<Update> updates;
  for (Index step = 1; step <= 5; ++step) updates.push_back(make_update(kind, options, step));
  cpu<T>().update(updates[3], n, want.target(used), grad.data(), kHost);
  cuda::update(updates[3], n, got.target(used), grad.data(), kHost);
  check(got.near(want), "update", n, offset, static_cast<int>(kind), sizeof(T));

  const Index first[] = {2, 0};
  Replay replay{first, 1, updates.data(), false, nullptr, false, nullptr, nullptr};
  Context context = kHost;
  context.replay = &replay;
  cuda::update(updates[0], n, replayed.target(used), grad.data(), context);
  check(same_bits(replayed.value, got.value), "update, replayed", n, offset, static_cast<int>(kind), sizeof(T));
  Weights<T> one(n, offset);
  replay.updates += 3;
  replay.one_update = true;
  cuda::update(updates[0], n, one.target(used), grad.data(), context);
  check(same_bits(one.value, got.value), "one update, replayed", n, offset, static_cast<int>(kind), sizeof(T));
}

template <class T>
void test_updates(Index n, Index offset) {
  OptimizerOptions o;
  o.lr = 0.05;
  test_update<T>(OptimizerKind::SGD, o, {false, false, false}, n, offset);
  test_update<T>(OptimizerKind::Adam, o, {true, true, false}, n, offset);
  test_update<T>(OptimizerKind::RMSprop, o, {true, false, false}, n, offset);
  test_update<T>(OptimizerKind::NAdam, o, {true, true, false}, n, offset);
  test_update<T>(OptimizerKind::Adagrad, o, {true, false, false}, n, offset);
  test_update<T>(OptimizerKind::Lion, o, {true, false, false}, n, offset);
  o.momentum = 0.9;
  o.dampening = 0.1;
  o.weight_decay = 0.01;
  o.maximize = true;
  test_update<T>(OptimizerKind::SGD, o, {true, false, false}, n, offset);
  test_update<T>(OptimizerKind::AdamW, o, {true, true, false}, n, offset);
  test_update<T>(OptimizerKind::NAdam, o, {true, true, false}, n, offset);
  test_update<T>(OptimizerKind::Adagrad, o, {true, false, false}, n, offset);
  test_update<T>(OptimizerKind::Lion, o, {true, false, false}, n, offset);
  o.amsgrad = o.nesterov = o.centered = true;
  test_update<T>(OptimizerKind::SGD, o, {true, false, false}, n, offset);
  test_update<T>(OptimizerKind::Adam, o, {true, true, true}, n, offset);
  test_update<T>(OptimizerKind::RMSprop, o, {true, true, true}, n, offset);
}

template <class T>
void test_clip(const std::vector<Index>& sizes, double max_norm, Index offset, double scale = 1) {
  std::vector<Values<T>> want, got, again;
  std::vector<T*> want_grads, got_grads, again_grads;
  for (const Index n : sizes) got.emplace_back(n, static_cast<std::uint32_t>(n), -scale, scale, offset);
  again = want = got;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    want_grads.push_back(want[i].data());
    got_grads.push_back(got[i].data());
    again_grads.push_back(again[i].data());
  }
  std::vector<unsigned char> scratch(cuda::kClipScratchBytes);
  Context context = kHost;
  context.scratch = scratch.data();
  const int count = static_cast<int>(sizes.size());
  double want_norm = -1, norm = -1, again_norm = -1;
  cpu<T>().clip(count, want_grads.data(), sizes.data(), max_norm, &want_norm, kHost);
  cuda::clip(count, got_grads.data(), sizes.data(), max_norm, &norm, context);
  cuda::clip(count, again_grads.data(), sizes.data(), max_norm, &again_norm, context);
  bool fine = near(static_cast<T>(norm), static_cast<T>(want_norm), 64) && norm == again_norm;
  for (std::size_t i = 0; i < sizes.size(); ++i) fine &= near(got[i], want[i], 64) && same_bits(got[i], again[i]);
  check(fine, "clip", count, offset, 0, sizeof(T));
}

template <class T>
void test_all() {
  test_real<T>();
  test_activations<T>();
  for (const double p : {0.0, 0.3, 0.5, 1.0})
    for (const Index n : {1, 3, 4, 5, 8, 1021, 1024, 4100})
      for (const Index offset : {0, 1}) test_dropout<T>(p, n, offset);
  for (const Index rows : {1, 5, 64, 130})
    for (const Index in : {1, 2, 4, 20, 33, 784, 1028})
      for (const Index offset : {0, 1})
        for (const Index out : {1, 12}) {
          test_gather<T>(rows, in, out, false, offset);
          test_gather<T>(rows, in, out, true, offset);
        }
  for (const Index n : {1, 4, 7, 1024, 1030})
    for (const Index offset : {0, 1}) test_updates<T>(n, offset);
  for (const double max_norm : {0.5, 1e6})
    for (const Index offset : {0, 1}) {
      test_clip<T>({}, max_norm, offset);
      if (sizeof(T) == 8)
        for (const double scale : {1e200, 1e-200}) test_clip<T>({5000, 3}, max_norm, offset, scale);
      test_clip<T>({1}, max_norm, offset);
      test_clip<T>({5000, 3, 1025, 64}, max_norm, offset);
      test_clip<T>(std::vector<Index>(150, 77), max_norm, offset);
    }
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  return report();
}
