// Times the three products of an affine layer, each alone, and prints JSON: one round for gemm.py.
//   gemm THREADS SECONDS float32|float64 [BATCHxOUTxIN ...]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/optimizer_options.h"
#include "core/rng.h"
#include "core/thread_pool.h"

namespace {

using namespace fastmlp;

// The rate of `product`, which takes so many operations, in GFLOP/s.
template <class Product>
double rate(double operations, double seconds, const Product& product) {
  using Clock = std::chrono::steady_clock;
  product();
  long calls = 0;
  const auto begin = Clock::now();
  double elapsed = 0;
  do {
    product();
    ++calls;
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  } while (elapsed < seconds);
  return operations * static_cast<double>(calls) / elapsed * 1e-9;
}

template <class T>
Buffer<T> random_values(Index n, std::uint64_t stream) {
  const Philox random(1, stream);
  Buffer<T> values(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) values.data()[i] = static_cast<T>(0.1 * random.normal(static_cast<std::uint64_t>(i)));
  return values;
}

template <class T>
void measure(Index M, Index N, Index K, double seconds, bool first) {
  const Backend<T>& kernels = active_backend<T>();
  const Executor executor = thread_pool_executor();
  Buffer<unsigned char> scratch(static_cast<std::size_t>(executor.workers) * kernels.scratch_bytes);
  const Context context{executor, scratch.data()};
  auto x = random_values<T>(M * K, 0), w = random_values<T>(K * N, 1), b = random_values<T>(N, 2);
  auto dz = random_values<T>(M * N, 3), y = random_values<T>(M * N, 4), dx = random_values<T>(M * K, 5);
  auto grad = random_values<T>(K * N, 6), mean = random_values<T>(K * N, 7);
  Buffer<T> square(static_cast<std::size_t>(K * N));
  const double operations = 2.0 * static_cast<double>(M * N * K);

  std::vector<std::pair<std::string, double>> rates;
  for (const auto kind : {ActivationKind::ReLU, ActivationKind::Tanh}) {
    const AffineForward<T> args{M, N, K, x.data(), K, w.data(), b.data(), {kind, 0, 0}, y.data(), N, nullptr};
    rates.emplace_back(std::string("x W, ") + kActivationNames[static_cast<int>(kind)],
                       rate(operations, seconds, [&] { kernels.affine_forward(args, context); }));
  }
  for (const auto kind : {ActivationKind::ReLU, ActivationKind::Tanh}) {
    const AffineBackwardInput<T> args{M, N, K, dz.data(), N, w.data(), {kind, 0, 0}, x.data(), dx.data(), K};
    rates.emplace_back(std::string("dz W^T, ") + kActivationNames[static_cast<int>(kind)],
                       rate(operations, seconds, [&] { kernels.affine_backward_input(args, context); }));
  }
  for (const auto kind : {OptimizerKind::SGD, OptimizerKind::Adam}) {
    OptimizerOptions options;
    options.lr = 1e-9;
    const Update update = make_update(kind, options, 1000);
    AffineBackwardWeight<T> args{M, N, K, x.data(), K, dz.data(), N, {}, {}};
    args.weight.update = &update;
    args.weight.grad = grad.data();
    args.weight.target = {w.data(), {mean.data(), square.data(), nullptr}};
    rates.emplace_back(std::string("dW, ") + kOptimizerNames[static_cast<int>(kind)],
                       rate(operations, seconds, [&] { kernels.affine_backward_weight(args, context); }));
  }
  for (const auto& [product, gflops] : rates) {
    std::printf("%s  {\"shape\": [%lld, %lld, %lld], \"product\": \"%s\", \"gflops\": %.3f}", first ? "" : ",\n",
                static_cast<long long>(M), static_cast<long long>(N), static_cast<long long>(K), product.c_str(),
                gflops);
    first = false;
  }
}

}  // namespace

int main(int count, char** arguments) try {
  if (count < 5) throw std::invalid_argument("usage: gemm THREADS SECONDS float32|float64 BATCHxOUTxIN ...");
  set_num_threads(std::atoi(arguments[1]));
  const double seconds = std::atof(arguments[2]);
  const bool single = std::strcmp(arguments[3], "float32") == 0;
  const double peak = active_isa().fma_flops(0.1) * (single ? 1 : 0.5) * num_threads();
  std::printf("{\"isa\": \"%s\", \"threads\": %d, \"dtype\": \"%s\", \"peak\": %.3f, \"results\": [\n",
              active_isa().name, num_threads(), arguments[3], peak * 1e-9);
  for (int i = 4; i < count; ++i) {
    long long m = 0, n = 0, k = 0;
    if (std::sscanf(arguments[i], "%lldx%lldx%lld", &m, &n, &k) != 3 || m < 1 || n < 1 || k < 1)
      throw std::invalid_argument(std::string("a shape: expected BATCHxOUTxIN, got ") + arguments[i]);
    single ? measure<float>(m, n, k, seconds, i == 4) : measure<double>(m, n, k, seconds, i == 4);
  }
  std::printf("\n]}\n");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
