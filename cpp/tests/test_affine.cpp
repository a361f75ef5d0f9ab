// The three products of an affine layer against plain loops in double, for shapes on both sides of every choice between
// kernels and with every kind of tail; the same bits with one thread and with three; and nothing written beside the
// results.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "core/backend.h"
#include "core/thread_pool.h"

namespace {

using namespace fastmlp;

int failures = 0;

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
    const auto [M, K, N] = s_;
    const Activation tanh{ActivationKind::Tanh, 0, 0};

    auto y = result_of<T>(M * N), z = y;
    kernels.affine_forward({M, N, K, x_.data(), K, w_.data(), b_.data(), tanh, y.data(), N, z.data()}, context);
    expect("z", threads, z, M * N, K, [&](Index i) {
      double sum = b_[at(i % N)];
      for (Index k = 0; k < K; ++k) sum += term(x_[at(i / N * K + k)], w_[at(k * N + i % N)]);
      return sum;
    });
    expect("y", threads, y, M * N, 1, [&](Index i) { return std::tanh(double{z[at(i)]}); });

    auto dx = result_of<T>(M * K);
    kernels.affine_backward_input({M, N, K, dz_.data(), N, w_.data(), tanh, x_.data(), dx.data(), K}, context);
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
  }

  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }
  static double term(T a, T b) { return static_cast<double>(a) * static_cast<double>(b); }

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
    if (fine) return;
    std::printf("FAILED %s: batch %ld, %ld -> %ld features, %zu bytes a value, %d threads\n", what,
                static_cast<long>(s_.M), static_cast<long>(s_.K), static_cast<long>(s_.N), sizeof(T), threads);
    ++failures;
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
  test({3, 1200, 3});
  test({40, 1200, 10});
  if (failures == 0) std::puts("ok");
  return failures == 0 ? 0 : 1;
}
