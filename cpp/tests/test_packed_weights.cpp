// Packed weights: products of them have the bits of products of the weights where they lie, and a network reads its copies
// as long as nobody has changed a value.
#include <vector>

#include "core/network.h"
#include "core/rng.h"
#include "core/thread_pool.h"
#include "expect.h"
#include "mlp.h"

namespace {

using namespace fastmlp;
using fastmlp::testing::expect;
using fastmlp::testing::Mlp;

template <class T>
std::vector<T> random_values(Index n, std::uint64_t seed) {
  const Philox random(seed, stream(StreamUse::Values, 0));
  std::vector<T> all(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<T>(random.normal(i));
  return all;
}

template <class T>
void test_sizes() {
  const Backend<T>& kernels = active_backend<T>();
  expect(kernels.packed_weight_size(16, 16) == 0, "a small weight has no packed form");
  for (const Index N : {1, 3})
    expect(kernels.packed_weight_size(10'000'000, N) == 0, "nor has one whose rows are short");
}

template <class T>
void test_products(Index K, Index N) {
  const Backend<T>& kernels = active_backend<T>();
  const Index size = kernels.packed_weight_size(K, N);
  expect(size >= K * N, "a large weight has a packed form");
  if (size < K * N) return;
  const Executor executor = thread_pool_executor();
  std::vector<unsigned char> scratch(static_cast<std::size_t>(executor.workers) * kernels.scratch_bytes);
  const Context context{executor, scratch.data()};
  const std::vector<T> w = random_values<T>(K * N, 1), other = random_values<T>(K * N, 2),
                       bias = random_values<T>(N, 3);
  std::vector<T> packed(static_cast<std::size_t>(size));
  for (const Index M : {1, 2, 3, 5, 6, 7, 12, 13, 25, 61, 200}) {
    const std::vector<T> x = random_values<T>(M * K, 4);
    const auto product = [&](const std::vector<T>& weight, const T* slivers) {
      std::vector<T> y(static_cast<std::size_t>(M * N));
      AffineForward<T> a{M,        N, K,      x.data(), K, weight.data(), bias.data(), {ActivationKind::Tanh},
                         y.data(), N, nullptr};
      a.weight_slivers = slivers;
      kernels.affine_forward(a, context);
      return y;
    };
    kernels.pack_weight(K, N, w.data(), packed.data(), context);
    expect(product(w, packed.data()) == product(w, nullptr), "the bits of a product of packed weights");
    kernels.pack_weight(K, N, other.data(), packed.data(), context);
    expect(product(w, packed.data()) == product(M == 1 ? w : other, nullptr),
           "it is the packed weights that are read, but by a single row");
  }
}

template <class T>
void test_network() {
  const Index in = 1100, rows = 5;
  Mlp<T> mlp({in, 1000, 2}, ActivationKind::Tanh, ActivationKind::Identity, 1);
  Network<T> network(mlp.layers);
  Parameter<T>& weight = *mlp.parameters[0];
  const std::vector<T> x = random_values<T>(rows * in, 5);
  const auto predict = [&](Index n) {
    std::vector<T> y(static_cast<std::size_t>(n * 2));
    network.predict(x.data(), n, in, nullptr, y.data());
    return y;
  };
  const auto change_unseen = [&] {
    for (Index i = 0; i < weight.size(); ++i) weight.value.data()[i] *= 2;
  };
  const auto predict_often = [&] {
    for (int i = 0; i < 20; ++i) predict(rows);
    return predict(rows);
  };
  const std::vector<T> first = predict(rows);
  change_unseen();
  const std::vector<T> second = predict_often();
  expect(second != first, "a first prediction copies nothing");
  change_unseen();
  expect(predict(rows) == second, "many do");
  expect(predict(1) != std::vector<T>(second.begin(), second.begin() + 2), "a single row reads the weights");
  mlp.parameters[1]->count_change();
  expect(predict(rows) == second, "a bias has no copy");
  weight.count_change();
  const std::vector<T> third = predict(rows);
  expect(third != second, "a change that is counted is seen");
  expect(predict_often() == third, "and copied again");
  ++weight.watch.views;
  change_unseen();
  expect(predict(rows) != third, "what somebody has a view of is read where it lies");
  --weight.watch.views;
  ++weight.fits;
  expect(predict(rows) != third, "and what is being trained");
  --weight.fits;
}

}  // namespace

int main() {
  test_sizes<float>();
  test_sizes<double>();
  for (const auto& [K, N] : {std::pair<Index, Index>{1500, 1030}, {1037, 1100}, {2500, 513}}) {
    test_products<float>(K, N);
    test_products<double>(K, N);
  }
  test_network<float>();
  test_network<double>();
  return fastmlp::testing::report();
}
