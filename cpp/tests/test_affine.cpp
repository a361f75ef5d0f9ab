// The three products of an affine layer against plain loops in double, for shapes on both sides of every choice between
// kernels, around the edges of blocks and tiles, and with every kind of tail; the same bits with one thread and with
// three; nothing written beside the results; and every update rule, fused, to the bits of the rule by itself.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "core/backend.h"
#include "core/thread_pool.h"
#include "expect.h"

namespace {

using namespace fastmlp;

constexpr Index kBeside = 32;  // values after each result that must stay as they are
constexpr double kMark = 77, kRate = 0.5;

template <class T>
std::vector<T> values(Index n, std::uint32_t seed) {
  std::vector<T> result(static_cast<std::size_t>(n));
  for (T& v : result) {
    seed = seed * 1664525U + 1013904223U;
    v = static_cast<T>(static_cast<double>(seed >> 8) * 0x1p-23 - 1);
  }
  return result;
}

template <class T>
std::vector<T> result_of(Index n) {
  return std::vector<T>(static_cast<std::size_t>(n + kBeside), T(kMark));
}

struct Shape {
  Index M, K, N;
};

template <class T>
class Affine {
 public:
  explicit Affine(const Shape& shape)
      : s_(shape),
        x_(values<T>(s_.M * s_.K, 1)),
        w_(values<T>(s_.K * s_.N, 2)),
        b_(values<T>(s_.N, 3)),
        dz_(values<T>(s_.M * s_.N, 4)) {
    const std::size_t scratch = active_backend<T>().scratch_bytes;
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      scratch_.resize(scratch * static_cast<std::size_t>(threads));
      run(threads);
    }
  }

 private:
  void run(int threads) {
    const Backend<T>& kernels = active_backend<T>();
    const Context context{thread_pool_executor(), scratch_.data()};
    const Index M = s_.M, K = s_.K, N = s_.N;
    const Activation tanh{ActivationKind::Tanh, 0, 0}, relu{ActivationKind::ReLU, 0, 0};
    const auto forward = [&](const Activation& activation, std::vector<T>& y, std::vector<T>* z) {
      kernels.affine_forward(
          {M, N, K, x_.data(), K, w_.data(), b_.data(), activation, y.data(), N, z ? z->data() : nullptr}, context);
    };
    const auto backward = [&](const Activation& activation, const T* saved, std::vector<T>& dx) {
      kernels.affine_backward_input({M, N, K, dz_.data(), N, w_.data(), activation, saved, dx.data(), K}, context);
    };

    auto y = result_of<T>(M * N), z = y, other = y;
    forward(tanh, y, &z);
    expect("z", threads, z, M * N, K, [&](Index i) {
      double sum = b_[at(i % N)];
      for (Index k = 0; k < K; ++k) sum += term(x_[at(i / N * K + k)], w_[at(k * N + i % N)]);
      return sum;
    });
    expect("y", threads, y, M * N, 1, [&](Index i) { return std::tanh(double{z[at(i)]}); });

    // Others go other ways, to the same sums.
    forward({}, other, nullptr);
    expect_same("identity", other, M * N, [&](Index i) { return z[at(i)]; });
    forward(relu, other, &y);
    expect_same("relu", other, M * N, [&](Index i) { return z[at(i)] <= 0 ? T(0) : z[at(i)]; });
    expect_same("relu's z", y, M * N, [&](Index i) { return z[at(i)]; });

    auto dx = result_of<T>(M * K), plain = dx, other_dx = dx;
    backward({}, nullptr, plain);
    backward(relu, x_.data(), other_dx);
    expect_same("dx, relu", other_dx, M * K, [&](Index i) { return x_[at(i)] <= 0 ? T(0) : plain[at(i)]; });
    backward(tanh, x_.data(), dx);
    expect("dx", threads, dx, M * K, N, [&](Index i) {
      double sum = 0;
      for (Index n = 0; n < N; ++n) sum += term(dz_[at(i / K * N + n)], w_[at(i % K * N + n)]);
      return sum * (1 - term(x_[at(i)], x_[at(i)]));
    });

    const auto gradient = [&](Index i) {
      double sum = 0;
      for (Index m = 0; m < M; ++m) sum += term(x_[at(m * K + i / N)], dz_[at(m * N + i % N)]);
      return sum;
    };
    AffineBackwardWeight<T> a{M, N, K, x_.data(), K, dz_.data(), N, {}, {}};
    auto dw = result_of<T>(K * N), db = result_of<T>(N);
    a.weight.grad = dw.data();
    a.bias.grad = db.data();
    kernels.affine_backward_weight(a, context);
    expect("dW", threads, dw, K * N, M, gradient);
    expect("db", threads, db, N, M, [&](Index n) {
      double sum = 0;
      for (Index m = 0; m < M; ++m) sum += dz_[at(m * N + n)];
      return sum;
    });
    a.weight.accumulate = true;
    kernels.affine_backward_weight(a, context);
    expect("dW, added", threads, dw, K * N, M, [&](Index i) { return 2 * gradient(i); });

    Update update;
    update.constants.lr = kRate;
    auto w = w_, sums = result_of<T>(K * N);
    w.resize(w.size() + kBeside, T(kMark));
    a.weight = {sums.data(), false, &update, {w.data(), {}}};
    kernels.affine_backward_weight(a, context);
    expect("W", threads, w, K * N, M, [&](Index i) { return w_[at(i)] - kRate * gradient(i); });
    for (int rule = 0; rule < kUpdateKinds; ++rule)
      for (const bool options : {false, true}) run_rule(static_cast<UpdateKind>(rule), options, context);
  }

  // A fused update gives the bits of the rule by itself on the gradient.
  void run_rule(UpdateKind kind, bool options, const Context& context) {
    const Backend<T>& kernels = active_backend<T>();
    const Index M = s_.M, K = s_.K, N = s_.N;
    Update update;
    update.kind = kind;
    update.constants.lr = 0.01;
    update.constants.momentum = 0.9;
    update.constants.beta1 = 0.9;
    update.constants.beta2 = 0.99;
    update.constants.eps = 1e-3;
    update.constants.root_scale = 1.5;
    update.constants.nesterov = update.constants.amsgrad = update.constants.centered = options;
    update.constants.l2 = options ? 0.1 : 0;
    update.constants.decays = options;
    auto gradient = result_of<T>(K * N), sums = gradient;
    std::vector<T> values[2][4];
    for (auto& side : values)
      for (auto& array : side) {
        array = &array == &side[0] ? w_ : std::vector<T>(static_cast<std::size_t>(K * N), T(0.25));
        array.resize(static_cast<std::size_t>(K * N + kBeside), T(kMark));
      }
    const auto target = [](std::vector<T>(&side)[4]) {
      return UpdateTarget<T>{side[0].data(), {side[1].data(), side[2].data(), side[3].data()}};
    };
    AffineBackwardWeight<T> a{M, N, K, x_.data(), K, dz_.data(), N, {}, {}};
    a.weight.grad = gradient.data();
    kernels.affine_backward_weight(a, context);
    kernels.update(update, K * N, target(values[0]), gradient.data(), context);
    a.weight = {sums.data(), false, &update, target(values[1])};
    kernels.affine_backward_weight(a, context);
    for (std::size_t v = 0; v < 4; ++v)
      expect_same("a fused update", values[1][v], K * N, [&](Index i) { return values[0][v][at(i)]; });
  }

  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }
  static double term(T a, T b) { return static_cast<double>(a) * static_cast<double>(b); }

  template <class Want>
  void expect_same(const char* what, const std::vector<T>& got, Index n, const Want& want) {
    bool fine = true;
    for (Index i = 0; i < n; ++i) fine &= got[at(i)] == want(i);
    for (Index i = n; i < n + kBeside; ++i) fine &= got[at(i)] == T(kMark);
    if (!fine) fail(what, 0);
  }

  void fail(const char* what, int threads) const {
    std::printf("FAILED %s: batch %ld, %ld -> %ld features, %zu bytes a value, %d threads\n", what,
                static_cast<long>(s_.M), static_cast<long>(s_.K), static_cast<long>(s_.N), sizeof(T), threads);
    ++testing::failures;
  }

  // `terms` of a sum bound its error; several threads must give the bits of one.
  template <class Want>
  void expect(const char* what, int threads, const std::vector<T>& got, Index n, Index terms, const Want& want) {
    const double epsilon = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;
    const double tolerance = epsilon * (8 + 2 * static_cast<double>(terms));
    bool fine = true;
    if (threads == 1) {
      for (Index i = 0; i < n; ++i) fine &= std::abs(static_cast<double>(got[at(i)]) - want(i)) <= tolerance;
      first_.push_back(got);
    } else {
      fine = std::memcmp(got.data(), first_[next_++].data(), got.size() * sizeof(T)) == 0;
    }
    for (Index i = n; i < n + kBeside; ++i) fine &= got[at(i)] == T(kMark);
    if (!fine) fail(what, threads);
  }

  const Shape s_;
  const std::vector<T> x_, w_, b_, dz_;
  std::vector<unsigned char> scratch_;
  std::vector<std::vector<T>> first_;  // what one thread gave
  std::size_t next_ = 0;
};

void test(const Shape& shape) {
  Affine<float>{shape};
  Affine<double>{shape};
}

}  // namespace

int main() {
  try {
    active_isa();
  } catch (const std::invalid_argument& error) {
    std::printf("skipped: %s\n", error.what());
    return 77;
  }
  // Few rows: around each limit on the batch, with whole vectors and tails; enough work for several threads.
  for (Index M = 1; M <= 18; ++M)
    for (const Index N : {1, 2, 3, 4, 5, 7, 8, 10, 12, 13, 16, 17, 31, 40, 67})
      for (const Index K : {1, 4, 5, 16, 17, 45}) test({M, K, N});
  for (const Index M : {1, 2, 3, 4, 6, 7, 8, 9, 12, 13, 16, 17}) test({M, 530, 521});
  for (const Index M : {1, 2, 3, 6, 7, 8, 9})  // sums in blocks that threads share out
    for (const Index N : {63, 64, 130}) test({M, 1300, N});
  for (const Index M : {1, 2, 8}) test({M, 33, 2100});  // longer than what the sink takes at once
  // Narrow: batches that several threads share, and sums in several blocks.
  for (const Index M : {19, 64, 200, 1100})
    for (const Index narrow : {1, 2, 4, 5, 10, 12, 13, 16, 17}) {
      test({M, 100, narrow});
      test({M, narrow, 100});
    }
  for (const Index M : {15, 16, 17, 40, 300})
    for (const Index narrow : {18, 19, 20, 23, 24, 25, 30, 31}) test({M, 70, narrow});
  // Where packing begins to pay, forward and for dW.
  for (const Index size : {179, 180, 181}) test({size, 41, size});
  for (const Index size : {95, 96, 97})
    for (const Index M : {31, 32, 33, 200}) test({M, size, size});
  // Tiles and blocks: heights and widths around multiples of both sets of registers, depths around L1's share.
  for (const Index M : {20, 24, 25, 47, 48, 49, 71, 95, 96, 97})
    for (const Index N : {24, 31, 32, 33, 64, 65, 96}) test({M, 37, N});
  for (const Index K : {239, 240, 241, 479, 481, 577, 700}) {
    test({26, K, 40});
    test({26, 40, K});
  }
  for (const Index M : {240, 512, 513, 1023, 1024, 1025, 2049}) test({M, 50, 33});  // dW's depth
  test({530, 700, 70});                                                             // several blocks of rows
  test({12, 1040, 1040});                                                           // weights beyond L2
  test({3, 1200, 3});
  test({40, 1200, 10});
  return testing::report();
}
