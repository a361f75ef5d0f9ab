// The device's kernels of a network's head, emulated, against products in float64 and the CPU's scalar kernels: the
// loss, and what becomes of the gradients, for each loss, activation and way that the gradients can go.
#include <algorithm>

#include "cuda/runtime/kernels.h"
#include "cuda_testing.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;
using Doubles = std::vector<double>;

// Of a case, beside its shape.
struct Head {
  LossSpec loss;
  Activation activation{};
  int row_activation = -1;  // or a RowActivationKind
  bool logits = false, dense = true, weighted = false, has_bias = true;
};

enum class To { Grad, AddedGrad, SGD, Adam, Nowhere };

// What lies below, and where the gradients go.
struct Below {
  Activation activation{};
  bool wants_dx = true;
  To weight = To::Grad, bias = To::Grad;
};

template <class T>
struct Parameter {
  Values<T> value, grad, states[3];

  Parameter(Index n, std::uint32_t seed)
      : value(n, seed, -0.5, 0.5),
        grad(n, seed + 1, -1, 1),
        states{{n, seed + 2, 0, 1}, {n, seed + 3, 0, 1}, {n, seed + 4, 0, 1}} {}

  GradientSink<T> sink(To to, const Update* update) {
    switch (to) {
      case To::Nowhere:
        return {};
      case To::Grad:
      case To::AddedGrad:
        return {grad.data(), to == To::AddedGrad, nullptr, {}};
      default:
        return {nullptr, false, update, target(to)};
    }
  }
  UpdateTarget<T> target(To to) {
    if (to == To::SGD) return {value.data(), {}};
    return {value.data(), {states[0].data(), states[1].data(), nullptr}};
  }
};

Update update_of(To to) {
  Update update;
  update.kind = to == To::Adam ? UpdateKind::Adam : UpdateKind::SGD;
  update.constants.lr = 0.1;
  update.constants.beta1 = 0.9;
  update.constants.beta2 = 0.99;
  update.constants.eps = 1e-3;
  return update;
}

template <class T>
Doubles numbers(const Values<T>& values) {
  return Doubles(values.data(), values.data() + values.size());
}

template <class T>
class Test {
 public:
  Test(const Head& head, const Below& below, Index M, Index N, Index K, Index offset = 0)
      : head_(head),
        below_(below),
        M_(M),
        N_(N),
        K_(K),
        x_(M * K, 1, -1, 1, offset),
        saved_(M * K, 2, -1, 1),
        dense_(M * N, 3, 0, 1),
        row_weights_(M, 4, 0.5, 2),
        column_weights_(N, 5, 0.5, 2),
        column_params_(N, 6, 0.2, 0.8),
        classes_(M),
        weight_(K * N, 10),
        bias_(N, 20) {
    for (Index i = 0; i < M * N; i += 1 + i % 2) dense_[i] = std::round(dense_[i]);
    for (Index m = 0; m < M; ++m) classes_[m] = m * 7 % N;
    for (Index m = 1; m < M; m += 3) row_weights_[m] = 0;
    run();
  }

 private:
  struct Result {
    double loss = -1, loss_as_replayed = 0;
    Values<T> dz, dx;
    Parameter<T> weight, bias;
  };

  Targets<T> targets() const {
    Targets<T> targets;
    if (head_.dense)
      targets.dense = dense_.data();
    else
      targets.classes = classes_.data();
    if (head_.weighted) {
      targets.weights = row_weights_.data();
      targets.column_weights = column_weights_.data();
      targets.column_params = column_params_.data();
    }
    return targets;
  }
  // What the derivative below is formed from: the layer's input, or its own output, which is x.
  const T* saved() const {
    if (below_.activation.kind == ActivationKind::Identity) return nullptr;
    return saves_input(below_.activation.kind) ? saved_.data() : x_.data();
  }

  // `data`: where the targets are found, by the numbers of rows.
  Result device(const Context& context, const Index* ids = nullptr, const Targets<T>* data = nullptr) const {
    Result r{-1, 0, Values<T>(M_ * head_columns(N_)), Values<T>(M_ * K_), weight_, bias_};
    Values<double> partial(cuda::loss_partials(M_));
    HeadForward<T> forward{};
    forward.M = M_, forward.N = N_, forward.K = forward.ldx = K_;
    forward.x = x_.data();
    forward.weight = r.weight.value.data();
    if (head_.has_bias) forward.bias = r.bias.value.data();
    forward.activation = head_.activation;
    forward.has_row_activation = head_.row_activation >= 0;
    if (forward.has_row_activation) forward.row_activation = static_cast<RowActivationKind>(head_.row_activation);
    forward.loss = head_.loss;
    forward.targets = data ? *data : targets();
    forward.chosen = data != nullptr;
    forward.ids = ids;
    forward.logits = head_.logits;
    forward.dz = r.dz.data();
    forward.partial = partial.data();
    cuda::head_forward(forward, context);

    const Index ld = head_columns(N_);
    const Update of_weight = update_of(below_.weight), of_bias = update_of(below_.bias);
    HeadBackward<T> backward{};
    backward.input = {M_, N_, K_, r.dz.data(), ld, r.weight.value.data(), below_.activation, saved(), nullptr, K_};
    if (below_.wants_dx) backward.input.dx = r.dx.data();
    backward.weight = {M_, N_, K_, x_.data(), K_, r.dz.data(), ld, r.weight.sink(below_.weight, &of_weight), {}};
    if (head_.has_bias) backward.weight.bias = r.bias.sink(below_.bias, &of_bias);
    backward.partial = partial.data();
    backward.value = &r.loss;
    cuda::head_backward(backward, context);
    return r;
  }

  void run() const {
    const Result got = device(kHost);
    compare(got);

    const Result again = device(kHost);
    expect(again.loss == got.loss && same_bits(again.dx, got.dx) && same_bits(again.weight.value, got.weight.value) &&
               same_bits(again.bias.grad, got.bias.grad),
           "the same again");
    choose(got);
    if (below_.weight != To::SGD || below_.bias != To::SGD) return;
    // A replayed step takes its constants and puts its loss elsewhere.
    const Index first[] = {3, 0};
    Update updates[6] = {};
    for (Update& update : updates) update.constants.lr = 0;
    updates[5] = update_of(To::SGD);
    double losses[6] = {};
    const Replay replay{first, 2, updates, false, nullptr, false, nullptr, losses};
    Context context = kHost;
    context.replay = &replay;
    const Result replayed = device(context);
    expect(losses[5] == got.loss && losses[4] == 0 && replayed.loss == -1 &&
               same_bits(replayed.weight.value, got.weight.value) && same_bits(replayed.bias.value, got.bias.value),
           "replayed");
  }

  // The same targets, found by number among those of a larger data set, in a step of its own and in a replayed one.
  void choose(const Result& got) const {
    const Targets<T> own = targets();
    Values<T> dense(2 * M_ * N_), weights(2 * M_);
    Values<Index> classes(2 * M_), ids(3 * M_);
    for (Index m = 0; m < M_; ++m) {
      const Index from = (7 * m + 3) % (2 * M_) % 2 == 0 ? m : 2 * M_ - 1 - m;
      ids[m] = ids[2 * M_ + m] = from;
      ids[M_ + m] = 0;
      for (Index c = 0; c < N_; ++c) dense[from * N_ + c] = dense_[m * N_ + c];
      classes[from] = classes_[m];
      weights[from] = row_weights_[m];
    }
    Targets<T> data = own;
    if (own.dense) data.dense = dense.data();
    if (own.classes) data.classes = classes.data();
    if (own.weights) data.weights = weights.data();
    const Result chosen = device(kHost, ids.data(), &data);
    // The third step of a replay.
    const Index first[] = {0, 0};
    const Update updates[1] = {update_of(below_.weight)};
    double losses[3] = {};
    const Replay replay{first, 2, updates, true, ids.data(), false, nullptr, losses};
    Context context = kHost;
    context.replay = &replay;
    const Result replayed = device(context, nullptr, &data);
    expect(chosen.loss == got.loss && losses[2] == got.loss && same_bits(chosen.dz, got.dz) &&
               same_bits(replayed.dz, got.dz),
           "chosen targets");
  }

  void compare(const Result& got) const {
    const Backend<double>& host = cpu<double>();
    const Doubles x = numbers(x_), w = numbers(weight_.value), b = numbers(bias_.value);
    const Index n = M_ * N_;
    Doubles z(at(n)), y(at(n)), dy(at(n)), dx(at(M_ * K_)), dw(at(K_ * N_)), db(at(N_));
    for (Index m = 0; m < M_; ++m)
      for (Index c = 0; c < N_; ++c) {
        double sum = head_.has_bias ? b[at(c)] : 0;
        for (Index k = 0; k < K_; ++k) sum += x[at(m * K_ + k)] * w[at(k * N_ + c)];
        z[at(m * N_ + c)] = sum;
      }
    host.activation_forward(head_.activation, n, z.data(), y.data(), kHost);
    if (head_.row_activation >= 0)
      host.row_forward(static_cast<RowActivationKind>(head_.row_activation), M_, N_, y.data(), y.data(), kHost);

    const Doubles dense = numbers(dense_), rows = numbers(row_weights_), columns = numbers(column_weights_),
                  params = numbers(column_params_);
    const Targets<T> own = targets();
    const Targets<double> targets{own.dense ? dense.data() : nullptr, own.classes, own.weights ? rows.data() : nullptr,
                                  own.column_weights ? columns.data() : nullptr,
                                  own.column_params ? params.data() : nullptr};
    Doubles partial(at(host.loss_partials(M_)));
    double loss = -1;
    LossSpec spec = head_.loss;
    host.loss({spec, M_, N_, y.data(), targets, head_.logits, dy.data(), partial.data(), &loss}, kHost);
    if (!head_.logits) {
      if (head_.row_activation >= 0)
        host.row_backward(static_cast<RowActivationKind>(head_.row_activation), M_, N_, dy.data(), y.data(), dy.data(),
                          kHost);
      const bool input = saves_input(head_.activation.kind);
      host.activation_backward(head_.activation, n, dy.data(), (input ? z : y).data(), dy.data(), kHost);
    }
    for (Index m = 0; m < M_; ++m)
      for (Index c = 0; c < N_; ++c) {
        const double d = dy[at(m * N_ + c)];
        db[at(c)] += d;
        for (Index k = 0; k < K_; ++k) {
          dx[at(m * K_ + k)] += d * w[at(k * N_ + c)];
          dw[at(k * N_ + c)] += d * x[at(m * K_ + k)];
        }
      }
    if (const T* const from = saved()) {
      const Doubles saved(from, from + M_ * K_);
      host.activation_backward(below_.activation, M_ * K_, dx.data(), saved.data(), dx.data(), kHost);
    }

    expect(close(got.loss, loss, 1 + std::abs(loss)), "loss");
    bool fine = true;
    for (Index m = 0; m < M_; ++m)
      for (Index c = 0; c < head_columns(N_); ++c) {
        const T d = got.dz[m * head_columns(N_) + c];
        fine &= c < N_ ? close(d, dy[at(m * N_ + c)], largest(dy)) : d == 0;
      }
    expect(fine, "dz");
    if (below_.wants_dx) expect(close(got.dx, dx), "dx");
    if (!below_.wants_dx) expect(same_bits(got.dx, Values<T>(M_ * K_)), "an unwanted dx");
    went(below_.weight, got.weight, weight_, dw, "weight");
    went(head_.has_bias ? below_.bias : To::Nowhere, got.bias, bias_, db, "bias");
  }

  // Whether the gradient went where it should have gone, and nothing else changed.
  void went(To to, const Parameter<T>& got, const Parameter<T>& before, const Doubles& gradient,
            const char* what) const {
    Doubles grad = numbers(before.grad), value = numbers(before.value), states[3];
    for (int s = 0; s < 3; ++s) states[s] = numbers(before.states[s]);
    if (to == To::Grad) grad = gradient;
    if (to == To::AddedGrad)
      for (std::size_t i = 0; i < grad.size(); ++i) grad[i] += gradient[i];
    if (to == To::SGD || to == To::Adam) {
      UpdateTarget<double> target{value.data(), {}};
      if (to == To::Adam) target = {value.data(), {states[0].data(), states[1].data(), nullptr}};
      cpu<double>().update(update_of(to), static_cast<Index>(value.size()), target, gradient.data(), kHost);
    }
    bool fine = close(got.grad, grad, largest(gradient)) && close(got.value, value, 1);
    for (int s = 0; s < 3; ++s) fine &= close(got.states[s], states[s], 1);
    expect(fine, what);
  }

  static double largest(const Doubles& values) {
    double size = 0;
    for (const double v : values) size = std::max(size, std::abs(v));
    return size;
  }
  // To rounding of sums of so many terms, relative to `size`.
  bool close(double got, double want, double size) const {
    const double terms = std::sqrt(static_cast<double>(M_)) + std::sqrt(static_cast<double>(K_)) + 16;
    return std::abs(got - want) <= 4 * terms * static_cast<double>(std::numeric_limits<T>::epsilon()) * (size + 1e-3);
  }
  bool close(const Values<T>& got, const Doubles& want, double size = 0) const {
    size = std::max(size, largest(want));
    for (std::size_t i = 0; i < want.size(); ++i)
      if (!close(static_cast<double>(got[static_cast<Index>(i)]), want[i], size)) return false;
    return true;
  }
  void expect(bool fine, const char* what) const {
    if (!fine)
      std::printf("K %ld, activation %d below %d: ", static_cast<long>(K_), static_cast<int>(head_.activation.kind),
                  static_cast<int>(below_.activation.kind));
    check(fine, what, M_, N_, static_cast<int>(head_.loss.kind), sizeof(T));
  }

  const Head head_;
  const Below below_;
  const Index M_, N_, K_;
  Values<T> x_, saved_, dense_, row_weights_, column_weights_, column_params_;
  Values<Index> classes_;
  const Parameter<T> weight_, bias_;
};

constexpr Activation kIdentity{}, kSigmoid{ActivationKind::Sigmoid, 0, 0}, kSoftplus{ActivationKind::Softplus, 1, 20},
    kTanh{ActivationKind::Tanh, 0, 0}, kReLU{ActivationKind::ReLU, 0, 0}, kGELU{ActivationKind::GELU, 0, 0};
constexpr int kLogSoftmax = static_cast<int>(RowActivationKind::LogSoftmax);

// Every loss, with the outputs that it can take.
template <class T>
void test_losses(Index M, Index N, Index K, bool weighted) {
  for (const Reduction reduction : {Reduction::Mean, Reduction::Sum, Reduction::BatchMean}) {
    const auto test = [&](Head head, const Below& below = {kTanh}) {
      head.weighted = weighted;
      Test<T>(head, below, M, N, K);
    };
    for (int number = 0; !is_class_loss(static_cast<LossKind>(number)); ++number) {
      const auto kind = static_cast<LossKind>(number);
      if (is_pair_loss(kind))
        N % 2 == 0 ? test({{kind, 0.3, reduction}, kSoftplus}) : void();
      else
        test({{kind, 0.3, reduction}, kSigmoid});
    }
    test({{LossKind::BCE, 1, reduction}, kSigmoid, -1, true});
    test({{LossKind::MSE, 1, reduction}, kIdentity, static_cast<int>(RowActivationKind::Softmax)});
    test({{LossKind::MSE, 1, reduction}, kIdentity, kLogSoftmax});
    for (const bool dense : {true, false}) {
      test({{LossKind::CrossEntropy, 1, reduction}, kIdentity, -1, false, dense});
      test({{LossKind::CrossEntropy, 1, reduction, false, 0.2}, kReLU, -1, false, dense});
      test({{LossKind::NLL, 1, reduction}, kIdentity, kLogSoftmax, false, dense});
      test({{LossKind::NLL, 1, reduction}, kIdentity, kLogSoftmax, true, dense});
    }
    // A part of a batch.
    test({{LossKind::CrossEntropy, 1, reduction, false, 0, 7.5}, kIdentity, -1, false, false});
  }
}

template <class T>
void test_ways(Index M, Index N, Index K) {
  const Head head{{LossKind::MSE}, kTanh};
  for (const Activation& below : {kIdentity, kTanh, kGELU}) Test<T>(head, {below}, M, N, K);
  for (const To to : {To::AddedGrad, To::SGD, To::Adam, To::Nowhere}) {
    Test<T>(head, {kTanh, true, to, to}, M, N, K);
    Test<T>(head, {kTanh, false, To::Nowhere, to}, M, N, K);
    Test<T>(head, {kIdentity, true, to, To::Nowhere}, M, N, K, 1);
  }
  Head without = head;
  without.has_bias = false;
  Test<T>(without, {kGELU, true, To::SGD, To::SGD}, M, N, K);
}

template <class T>
void test_all() {
  struct Shape {
    Index M, N, K;
  };
  for (const auto& [M, N, K] :
       {Shape{1, 1, 1}, Shape{5, 3, 7}, Shape{64, 2, 512}, Shape{128, 10, 96}, Shape{33, 31, 65}, Shape{100, 13, 40},
        Shape{37, 22, 130}, Shape{512, 32, 24}, Shape{256, 1, 256}, Shape{6, 5, 1024}}) {
    check(cuda::takes_head<T>(M, N, K), "takes_head", M, N, 0, sizeof(T));
    if (sizeof(T) == 8 && M * N * K > 50'000) continue;  // as long in float32
    test_ways<T>(M, N, K);
  }
  test_losses<T>(19, 10, 33, false);
  test_losses<T>(19, 10, 33, true);
  test_losses<T>(7, 1, 8, true);
  test_losses<T>(130, 4, 64, true);
  check(!cuda::takes_head<T>(513, 1, 8) && !cuda::takes_head<T>(8, 33, 8) && !cuda::takes_head<T>(8, 1, 1025) &&
            cuda::takes_head<T>(512, 32, 1024),
        "takes_head", 0);
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  return report();
}
