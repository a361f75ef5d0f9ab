// Products in bfloat16: each set of instructions that the processor has, and AMX's tiles emulated, against sums in double of
// operands rounded as the format says, for shapes around the edges of tiles and blocks; the same bits with one thread and
// with three, and for a row alone; every update rule fused; nothing written beside the results.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "core/backend.h"
#include "core/thread_pool.h"
#include "cpu/bf16.h"
#include "cpu/processor.h"
#include "expect.h"
#include "ops/bfloat16.h"

namespace fastmlp::amx_emulated {
extern const Bf16Instructions kBf16;
}
namespace fastmlp::scalar {
extern const Bf16Products kBf16Products;
}
bool fastmlp::processor::amx_emulated() { return true; }

namespace {

using namespace fastmlp;

constexpr std::size_t kBeside = 40;
constexpr float kMark = 77;

void fail(const char* what, const char* name, Index M, Index N, Index K) {
  std::printf("%s, %s, %td x %td x %td: FAILED\n", name, what, M, N, K);
  ++testing::failures;
}

std::vector<float> values(Index n, std::uint32_t seed) {
  std::vector<float> result(static_cast<std::size_t>(n));
  for (float& v : result) {
    seed = seed * 1664525U + 1013904223U;
    v = static_cast<float>(static_cast<double>(seed >> 8) * 0x1p-23 - 1);
  }
  return result;
}

double rounded(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = ops::bfloat16_of(bits) << 16;
  std::memcpy(&x, &bits, sizeof bits);
  return static_cast<double>(x);
}

std::size_t at(Index i) { return static_cast<std::size_t>(i); }
std::vector<float> result_of(Index n) { return std::vector<float>(at(n) + kBeside, kMark); }

class Products {
 public:
  Products(const Bf16& bf16, Index M, Index N, Index K)
      : p_(*bf16.products),
        by_(bf16.instructions),
        M_(M),
        N_(N),
        K_(K),
        x_(values(M * K, 1)),
        w_(values(K * N, 2)),
        b_(values(N, 3)),
        dz_(values(M * N, 4)),
        saved_(values(M * K, 5)) {
    std::vector<float> first[4];
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      scratch_.resize(active_backend<float>().scratch_bytes * at(threads) + (std::size_t{4} << 20) * at(threads));
      context_ = {thread_pool_executor(), scratch_.data()};
      const std::vector<float> results[] = {forward(), backward_input(), gradient(), updated()};
      for (int i = 0; i < 4; ++i) {
        if (threads == 1)
          first[i] = results[i];
        else if (first[i] != results[i])
          fail("other bits with more threads", by_->name, M_, N_, K_);
      }
    }
    rows_alone(first[0]);
  }

 private:
  template <class Wanted>
  void expect(const char* what, const std::vector<float>& got, Index size, Index terms, const Wanted& wanted) {
    for (Index i = 0; i < size; ++i) {
      const double want = wanted(i), error = std::abs(static_cast<double>(got[at(i)]) - want);
      if (!(error <= 1e-6 * (2 + std::sqrt(static_cast<double>(terms))) * (1 + std::abs(want))))
        return fail(what, by_->name, M_, N_, K_);
    }
    for (std::size_t i = at(size); i < got.size(); ++i)
      if (got[i] != kMark) return fail("written beside", by_->name, M_, N_, K_);
  }

  std::vector<float> forward() {
    auto y = result_of(M_ * N_), z = y;
    const Activation tanh{ActivationKind::Tanh, 0, 0}, relu{ActivationKind::ReLU, 0, 0};
    const auto sum = [&](Index i) {
      double result = static_cast<double>(b_[at(i % N_)]);
      for (Index k = 0; k < K_; ++k) result += rounded(x_[at(i / N_ * K_ + k)]) * rounded(w_[at(k * N_ + i % N_)]);
      return result;
    };
    p_.forward({M_, N_, K_, x_.data(), K_, w_.data(), b_.data(), tanh, y.data(), N_, z.data()}, context_, by_);
    expect("z", z, M_ * N_, K_, sum);
    expect("tanh", y, M_ * N_, K_, [&](Index i) { return std::tanh(sum(i)); });
    p_.forward({M_, N_, K_, x_.data(), K_, w_.data(), b_.data(), relu, y.data(), N_, nullptr}, context_, by_);
    expect("relu", y, M_ * N_, K_, [&](Index i) { return std::fmax(sum(i), 0); });
    return z;
  }

  std::vector<float> backward_input() {
    auto dx = result_of(M_ * K_);
    const auto sum = [&](Index i) {
      double result = 0;
      for (Index n = 0; n < N_; ++n) result += rounded(dz_[at(i / K_ * N_ + n)]) * rounded(w_[at(i % K_ * N_ + n)]);
      return result;
    };
    p_.backward_input({M_, N_, K_, dz_.data(), N_, w_.data(), {}, nullptr, dx.data(), K_}, context_, by_);
    expect("dx", dx, M_ * K_, N_, sum);
    const Activation relu{ActivationKind::ReLU, 0, 0};
    p_.backward_input({M_, N_, K_, dz_.data(), N_, w_.data(), relu, saved_.data(), dx.data(), K_}, context_, by_);
    expect("dx of relu", dx, M_ * K_, N_, [&](Index i) { return saved_[at(i)] > 0 ? sum(i) : 0; });
    return dx;
  }

  double weight_gradient(Index i) const {
    double sum = 0;
    for (Index m = 0; m < M_; ++m) sum += rounded(x_[at(m * K_ + i / N_)]) * rounded(dz_[at(m * N_ + i % N_)]);
    return sum;
  }
  AffineBackwardWeight<float> weight_args(const GradientSink<float>& sink) const {
    return {M_, N_, K_, x_.data(), K_, dz_.data(), N_, sink, {}};
  }

  std::vector<float> gradient() {
    auto dw = result_of(K_ * N_);
    p_.backward_weight(weight_args({dw.data(), false, nullptr, {}}), context_, by_);
    expect("dW", dw, K_ * N_, M_, [&](Index i) { return weight_gradient(i); });
    p_.backward_weight(weight_args({dw.data(), true, nullptr, {}}), context_, by_);
    expect("dW added", dw, K_ * N_, M_, [&](Index i) { return 2 * weight_gradient(i); });
    return dw;
  }

  // The rules are tested with the float products; here, that their tiles arrive.
  std::vector<float> updated() {
    constexpr double kRate = 0.25;
    auto w = result_of(K_ * N_), state = result_of(K_ * N_), grad = result_of(K_ * N_);
    std::copy(w_.begin(), w_.end(), w.begin());
    Update update;
    update.constants.lr = kRate;
    p_.backward_weight(weight_args({grad.data(), false, &update, {w.data(), {}}}), context_, by_);
    const auto want = [&](Index i) { return static_cast<double>(w_[at(i)]) - kRate * weight_gradient(i); };
    expect("SGD", w, K_ * N_, M_, want);
    std::copy(w_.begin(), w_.end(), w.begin());
    std::fill(state.begin(), state.begin() + static_cast<std::ptrdiff_t>(K_ * N_), 0.0F);
    update.kind = UpdateKind::SGDMomentum;
    update.constants.momentum = 0.5;
    p_.backward_weight(weight_args({grad.data(), false, &update, {w.data(), {state.data()}}}), context_, by_);
    expect("SGD with momentum", w, K_ * N_, M_, want);
    return w;
  }

  void rows_alone(const std::vector<float>& together) {
    std::vector<float> z(at(N_)), y(at(N_));
    for (Index m = 0; m < M_; m += 1 + M_ / 3) {
      p_.forward({1,
                  N_,
                  K_,
                  x_.data() + m * K_,
                  K_,
                  w_.data(),
                  b_.data(),
                  {ActivationKind::Tanh, 0, 0},
                  y.data(),
                  N_,
                  z.data()},
                 context_, by_);
      if (std::memcmp(z.data(), together.data() + m * N_, at(N_) * sizeof(float)) != 0)
        return fail("a row alone has other bits", by_->name, M_, N_, K_);
    }
  }

  const Bf16Products& p_;
  const Bf16Instructions* const by_;
  const Index M_, N_, K_;
  const std::vector<float> x_, w_, b_, dz_, saved_;
  std::vector<unsigned char> scratch_;
  Context context_{};
};

void test(const Bf16& bf16) {
  for (const Index M : {1, 2, 13, 33})
    for (const Index N : {1, 15, 16, 33, 70})
      for (const Index K : {1, 2, 7, 31, 32, 33, 65}) Products(bf16, M, N, K);
  Products(bf16, 130, 97, 1031);
  Products(bf16, 1030, 40, 50);
  Products(bf16, 300, 512, 20);
  Products(bf16, 40000, 3, 5);
  std::printf("%s: done\n", bf16.instructions->name);
}

}  // namespace

int main() {
  int count = 0;
  const Bf16* const all = compiled_bf16(count);
  for (int i = 0; i < count; ++i)
    if (all[i].instructions->supported()) test(all[i]);
  test({&scalar::kBf16Products, &amx_emulated::kBf16});
  return testing::report();
}
