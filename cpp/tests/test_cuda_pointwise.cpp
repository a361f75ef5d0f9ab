// The device's kernels on single values and on rows, emulated, against the scalar kernels of the CPU: every formula and
// option, sizes on both sides of packs, warps and blocks, addresses that are not aligned, the same bits twice, and
// steps that are replayed.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "core/dropout.h"
#include "core/optimizer.h"
#include "cuda/block/real.h"
#include "cuda/runtime/kernels.h"

namespace {

using namespace fastmlp;

int failures = 0;

void check(bool fine, const char* what, Index n, Index columns = 0, int kind = 0, std::size_t bytes = 0) {
  if (fine) return;
  std::printf("FAILED %s: %ld x %ld values of %zu bytes, kind %d\n", what, static_cast<long>(n),
              static_cast<long>(columns), bytes, kind);
  ++failures;
}

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

template <class T>
const Backend<T>& cpu() {
  int count = 0;
  const Isa* const* isas = compiled_isas(count);
  const Isa& scalar = *isas[count - 1];
  if constexpr (sizeof(T) == 4)
    return *scalar.f32;
  else
    return *scalar.f64;
}

const Context kHost{{nullptr, nullptr, 1}, nullptr};

// Memory with `offset` values before the n that are used, and none behind them, so that a sanitizer sees what goes
// beyond.
template <class T>
class Values {
 public:
  explicit Values(Index n, Index offset = 0) : all_(at(n + offset)), offset_(offset) {}
  // Random numbers in [low, high).
  Values(Index n, std::uint32_t seed, double low, double high, Index offset = 0) : Values(n, offset) {
    for (T& v : all_) {
      seed = seed * 1664525U + 1013904223U;
      v = static_cast<T>(low + (high - low) * static_cast<double>(seed >> 8) * 0x1p-24);
    }
  }
  T* data() { return all_.data() + offset_; }
  const T* data() const { return all_.data() + offset_; }
  Index size() const { return static_cast<Index>(all_.size()) - offset_; }
  T& operator[](Index i) { return all_[at(i + offset_)]; }
  const T& operator[](Index i) const { return all_[at(i + offset_)]; }
  friend bool same_bits(const Values& a, const Values& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), at(a.size()) * sizeof(T)) == 0;
  }

 private:
  std::vector<T> all_;
  Index offset_;
};

// Whether `got` is near `want`, relative to values of size 1 and more; NaNs and infinities alike.
template <class T>
bool near(T got, T want, double ulps) {
  const double g = static_cast<double>(got), w = static_cast<double>(want);
  if (std::isnan(w) || std::isinf(w)) return std::isnan(w) ? std::isnan(g) : g == w;
  return std::abs(g - w) <= ulps * static_cast<double>(std::numeric_limits<T>::epsilon()) * (1 + std::abs(w));
}
template <class T>
bool near(const Values<T>& got, const Values<T>& want, double ulps) {
  for (Index i = 0; i < want.size(); ++i)
    if (!near(got[i], want[i], ulps)) return false;
  return true;
}

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
  const Activation activations[] = {
      {ActivationKind::Identity, 0, 0}, {ActivationKind::ReLU, 0, 0},     {ActivationKind::LeakyReLU, 0.1, 0},
      {ActivationKind::Sigmoid, 0, 0},  {ActivationKind::Tanh, 0, 0},     {ActivationKind::Hardtanh, -1, 2},
      {ActivationKind::GELU, 0, 0},     {ActivationKind::GELUTanh, 0, 0}, {ActivationKind::SiLU, 0, 0},
      {ActivationKind::ELU, 1.5, 0},    {ActivationKind::Softplus, 2, 20}};
  static_assert(std::size(activations) == std::size(kActivationNames));
  for (const Activation& activation : activations)
    for (const Index n : {1, 2, 3, 4, 5, 31, 255, 1023, 1024, 1027})
      for (const Index offset : {0, 1}) test_activation<T>(activation, n, offset);
  test_activation<T>(activations[4], 132 * 8 * 256 * 4 + 5, 0);  // more than one pack a thread
}

template <class T>
void test_dropout(double p, Index n, Index offset) {
  const Values<T> x(n, 5, -1, 1, offset);
  Values<T> want(n), got(n, offset), replayed(n, offset), in_place = x;
  const DropoutState state{77, 1000};
  cpu<T>().dropout(state, 3, p, n, x.data(), want.data(), kHost);
  cuda::dropout(state, 3, p, n, x.data(), got.data(), kHost);
  check(same_bits(got, want), "dropout", n, offset, 0, sizeof(T));
  cuda::dropout(state, 3, p, n, in_place.data(), in_place.data(), kHost);
  check(same_bits(in_place, want), "dropout in place", n, offset, 0, sizeof(T));
  const Index first[] = {20, 0};
  const std::uint64_t step = 973;
  const Replay replay{first, 7, nullptr, false, nullptr, false, &step, nullptr};
  Context context = kHost;
  context.replay = &replay;
  cuda::dropout({77, 0}, 3, p, n, x.data(), replayed.data(), context);
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
  o.momentum = 0.9;
  o.dampening = 0.1;
  o.weight_decay = 0.01;
  o.maximize = true;
  test_update<T>(OptimizerKind::SGD, o, {true, false, false}, n, offset);
  test_update<T>(OptimizerKind::AdamW, o, {true, true, false}, n, offset);
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

// Rows -------------------------------------------------------------------------------------------------------------

template <class T>
void test_row_activation(RowActivationKind kind, Index rows, Index columns) {
  const Index n = rows * columns;
  const Values<T> x(n, 1, -6, 6), dy(n, 2, -1, 1);
  Values<T> want(n), got(n), again = x;
  const int number = static_cast<int>(kind);
  cpu<T>().row_forward(kind, rows, columns, x.data(), want.data(), kHost);
  cuda::row_forward(kind, rows, columns, x.data(), got.data(), kHost);
  check(near(got, want, 16), "row_forward", rows, columns, number, sizeof(T));
  cuda::row_forward(kind, rows, columns, again.data(), again.data(), kHost);
  check(same_bits(got, again), "row_forward in place", rows, columns, number, sizeof(T));

  const Values<T> y = got;
  again = dy;
  cpu<T>().row_backward(kind, rows, columns, dy.data(), y.data(), want.data(), kHost);
  cuda::row_backward(kind, rows, columns, dy.data(), y.data(), got.data(), kHost);
  check(near(got, want, 64), "row_backward", rows, columns, number, sizeof(T));
  cuda::row_backward(kind, rows, columns, again.data(), y.data(), again.data(), kHost);
  check(same_bits(got, again), "row_backward in place", rows, columns, number, sizeof(T));
}

template <class T>
class Loss {
 public:
  Loss(const LossSpec& spec, bool logits, bool dense, Index rows, Index columns, Index offset = 0)
      : spec_(spec),
        logits_(logits),
        rows_(rows),
        columns_(columns),
        y_(rows * columns, 1, 0.01, 0.99, offset),
        t_(rows * columns, 2, 0, 1, offset),
        classes_(rows) {
    // Targets of 0 and 1 alone take another way through BCE.
    for (Index i = 0; i < t_.size(); i += 1 + i % 2) t_[i] = std::round(t_[i]);
    for (Index r = 0; r < rows; ++r) classes_[r] = r * 7 % columns;
    if (spec.kind == LossKind::NLL) take_logarithms();
    if (dense)
      targets_.dense = t_.data();
    else
      targets_.classes = classes_.data();
    run(offset);
  }

 private:
  void take_logarithms() {
    for (Index i = 0; i < y_.size(); ++i) y_[i] = std::log(y_[i]);
  }

  LossArgs<T> args(const T* y, T* dy, Values<double>& partial, double& value) const {
    return {spec_, rows_, columns_, y, targets_, logits_, dy, partial.data(), &value};
  }

  void run(Index offset) {
    const Index n = rows_ * columns_;
    Values<T> want(n), got(n, offset), in_place = y_;
    Values<double> want_partial(cpu<T>().loss_partials(rows_)), partial(cuda::loss_partials(rows_));
    double want_value = -1, value = -1, without = -1, again = -1, replayed[6] = {};
    cpu<T>().loss(args(y_.data(), want.data(), want_partial, want_value), kHost);
    cuda::loss(args(y_.data(), got.data(), partial, value), kHost);
    const double scale = static_cast<double>(spec_.mean ? 1 : is_class_loss(spec_.kind) ? rows_ : n);
    expect(std::abs(value - want_value) <= tolerance() * (std::abs(want_value) + scale * 0.01), "loss");
    expect(near(got, want, 64), "loss: gradient");
    cuda::loss(args(y_.data(), nullptr, partial, without), kHost);
    cuda::loss(args(in_place.data(), in_place.data(), partial, again), kHost);
    expect(value == without && value == again && same_bits(got, in_place), "loss in place, and without gradient");

    const Index first[] = {3, 0};
    const Replay replay{first, 2, nullptr, false, nullptr, false, nullptr, replayed};
    Context context = kHost;
    context.replay = &replay;
    cuda::loss(args(y_.data(), got.data(), partial, without), context);
    expect(replayed[5] == value && replayed[4] == 0, "loss, replayed");
  }

  // The CPU sums 64 rows in T.
  double tolerance() const {
    return static_cast<double>(std::numeric_limits<T>::epsilon()) * (64 + 2 * static_cast<double>(columns_));
  }
  void expect(bool fine, const char* what) const {
    check(fine, what, rows_, columns_, static_cast<int>(spec_.kind), sizeof(T));
  }

  const LossSpec spec_;
  const bool logits_;
  const Index rows_, columns_;
  Values<T> y_, t_;
  Values<Index> classes_;
  Targets<T> targets_;
};

template <class T>
void test_losses(Index rows, Index columns, Index offset) {
  for (const bool mean : {true, false}) {
    for (const LossKind kind : {LossKind::MSE, LossKind::L1, LossKind::Huber, LossKind::BCE, LossKind::BCEWithLogits})
      Loss<T>({kind, 0.3, mean}, false, true, rows, columns, offset);
    Loss<T>({LossKind::BCE, 1, mean}, true, true, rows, columns, offset);
    for (const bool dense : {true, false}) {
      Loss<T>({LossKind::CrossEntropy, 1, mean}, false, dense, rows, columns, offset);
      Loss<T>({LossKind::NLL, 1, mean}, false, dense, rows, columns, offset);
      Loss<T>({LossKind::NLL, 1, mean}, true, dense, rows, columns, offset);
    }
  }
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
  const std::pair<Index, Index> shapes[] = {{1, 1},   {1, 5},    {7, 10},   {128, 10},  {33, 31},  {520, 4},
                                            {3, 130}, {20, 257}, {2, 5000}, {40, 1000}, {5000, 10}};
  for (const auto& [rows, columns] : shapes) {
    for (const RowActivationKind kind : {RowActivationKind::Softmax, RowActivationKind::LogSoftmax})
      test_row_activation<T>(kind, rows, columns);
    for (const Index offset : {0, 1}) test_losses<T>(rows, columns, offset);
  }
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  if (failures == 0) std::puts("ok");
  return failures == 0 ? 0 : 1;
}
