// A network's prediction in one launch, emulated, against plain loops in double: networks that one block runs, and such whose
// first layer is spread over the device, with every activation and both row activations; unaligned memory; the same bits
// for a row alone and among others, and twice; what is left to other kernels.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "activation_samples.h"
#include "cuda/affine/affine_strategy.h"
#include "cuda/predict/chain.h"
#include "cuda/runtime/kernels.h"
#include "cuda_testing.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::cuda;
using namespace fastmlp::testing;

struct Net {
  std::vector<Index> sizes;
  int row_activation = -1;
  Activation activation{ActivationKind::Tanh, 0, 0};
  bool bias = true;
  Index offset = 0;  // of all memory

  int depth() const { return static_cast<int>(sizes.size()) - 1; }
};

std::vector<unsigned char>& scratch() {
  static std::vector<unsigned char> memory(affine_scratch_bytes());
  return memory;
}

template <class T>
struct Network {
  const Net& net;
  std::vector<Values<T>> weights, biases;
  std::vector<LanesLayer<T>> layers;

  explicit Network(const Net& net_) : net(net_) {
    for (int l = 0; l < net.depth(); ++l) {
      const Index in = net.sizes[at(l)], out = net.sizes[at(l + 1)];
      const double scale = 1.5 / std::sqrt(static_cast<double>(in));
      weights.emplace_back(in * out, 7 + static_cast<std::uint32_t>(l), -scale, scale, net.offset);
      biases.emplace_back(out, 70 + static_cast<std::uint32_t>(l), -1, 1, net.offset);
    }
    for (int l = 0; l < net.depth(); ++l)
      layers.push_back({net.sizes[at(l)],
                        net.sizes[at(l + 1)],
                        weights[at(l)].data(),
                        net.bias ? biases[at(l)].data() : nullptr,
                        activation(l),
                        {},
                        {}});
  }
  Activation activation(int l) const {
    return l + 1 < net.depth() || net.row_activation < 0 ? net.activation : Activation{};
  }
  Index inputs() const { return net.sizes.front(); }
  Index outputs() const { return net.sizes.back(); }

  ChainPrediction<T> args(Index rows, const T* x, T* y) const {
    return {layers.data(),
            net.depth(),
            static_cast<RowActivationKind>(net.row_activation < 0 ? 0 : net.row_activation),
            net.row_activation >= 0,
            rows,
            x,
            y};
  }
  bool run(Index rows, const T* x, T* y) const {
    Context context = kHost;
    context.scratch = scratch().data();
    return predict_chain(args(rows, x, y), context);
  }

  std::vector<double> reference(const T* x) const {
    std::vector<double> values(x, x + inputs());
    for (int l = 0; l < net.depth(); ++l) {
      std::vector<double> next(at(net.sizes[at(l + 1)]));
      for (Index n = 0; n < layers[at(l)].out; ++n) {
        double sum = net.bias ? static_cast<double>(biases[at(l)][n]) : 0;
        for (Index k = 0; k < layers[at(l)].in; ++k)
          sum += values[at(k)] * static_cast<double>(weights[at(l)][k * layers[at(l)].out + n]);
        next[at(n)] = sum;
      }
      const Index n = static_cast<Index>(next.size());
      cpu<double>().activation_forward(activation(l), n, next.data(), next.data(), kHost);
      values = next;
    }
    if (net.row_activation >= 0)
      cpu<double>().row_forward(static_cast<RowActivationKind>(net.row_activation), 1, outputs(), values.data(),
                                values.data(), kHost);
    return values;
  }
};

template <class T>
void check_net(const Net& net, bool in_one_block) {
  const Network<T> network(net);
  const Index in = network.inputs(), out = network.outputs();
  const auto told = [&](bool fine, const char* what, Index rows) {
    check(fine, what, rows, in, net.depth(), sizeof(T));
  };
  told(
      plan_chain(network.layers.data(), net.depth(), in, network.args(1, nullptr, nullptr)).has_value() == in_one_block,
      "the number of blocks", 0);
  const Values<T> x(kFewRows * in, 3, -1, 1, net.offset);
  Values<T> whole(kFewRows * out, net.offset);
  told(network.run(kFewRows, x.data(), whole.data()), "eight rows taken", kFewRows);
  for (Index rows = 1; rows <= kFewRows; ++rows) {
    const Values<T> own(rows * in, 3, -1, 1, net.offset);  // the first ones
    Values<T> y(rows * out, net.offset), again = y;
    told(network.run(rows, own.data(), y.data()), "rows taken", rows);
    told(network.run(rows, own.data(), again.data()) && same_bits(y, again), "the same bits again", rows);
    bool fine = true, same = true;
    for (Index r = 0; r < rows; ++r) {
      const std::vector<double> want = network.reference(own.data() + r * in);
      for (Index n = 0; n < out; ++n) {
        const double got = static_cast<double>(y[r * out + n]), ulps = 40 + 4 * std::sqrt(static_cast<double>(in));
        fine &= std::abs(got - want[at(n)]) <=
                ulps * static_cast<double>(std::numeric_limits<T>::epsilon()) * (1 + std::abs(want[at(n)]));
        same &= y[r * out + n] == whole[r * out + n];
      }
    }
    told(fine, "values", rows);
    if (in_one_block) told(same, "a row's bits", rows);
  }
  bool zeros = true;
  for (std::size_t i = kPartBytes; i < kPartBytes + kCounterBytes; ++i) zeros &= scratch()[i] == 0;
  told(zeros, "counters left at zero", 0);
}

void check_net(const Net& net, bool in_one_block, bool both = true) {
  check_net<float>(net, in_one_block);
  if (both) check_net<double>(net, in_one_block);
}

// What other kernels do.
void check_refusals() {
  const auto refused = [](const Net& net, Index rows, const char* what) {
    const Network<float> network(net);
    const Values<float> x(rows * network.inputs(), 3, -1, 1);
    Values<float> y(rows * network.outputs());
    check(!network.run(rows, x.data(), y.data()), what, rows, network.inputs());
  };
  refused({{2, 10, 3}}, kFewRows + 1, "many rows");
  refused({{4, 3}}, 1, "a single layer");
  refused({{64, 300, 300, 3}}, 1, "a wide second layer");
  refused({{2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 3}}, 1, "many layers");
  refused({{2, 3, 40'000}}, 1, "a wide last layer");
}

}  // namespace

int main() {
  using Sizes = std::vector<std::vector<Index>>;
  for (const int row : {-1, 0, 1}) {
    const Activation gelu{ActivationKind::GELU, 0, 0};
    for (const auto& sizes : Sizes{{2, 10, 3},
                                   {1, 1, 1},
                                   {5, 3, 7, 2, 9, 4, 6, 5, 3},
                                   {33, 17, 40, 1},
                                   {13, 40, 40, 6},
                                   {4, 150, 2},
                                   {100, 6, 5}})
      for (const Index offset : {Index{0}, Index{1}}) check_net({sizes, row, gelu, true, offset}, true);
    for (const auto& sizes : Sizes{{13, 64, 64, 6}, {4, 300, 3}, {600, 6, 5}}) check_net({sizes, row}, true, false);
    for (const auto& sizes : Sizes{{784, 100, 10}, {100, 150, 8, 3}, {12'000, 3, 2}, {9000, 1, 1}})
      check_net({sizes, row}, false);
    check_net({{3072, 512, 2}, row}, false, false);
    check_net({{784, 101, 10}, row, {ActivationKind::ReLU, 0, 0}, false, 3}, false);
  }
  check_net({{3000, 30}, 0}, false);  // softmax alone is left to the last block
  check_net({{20, 30}, 1}, true);
  check_net({{20, 30, 5}, 0, {ActivationKind::ReLU, 0, 0}, false}, true);
  for (const Activation& activation : all_activations()) check_net({{6, 9, 4}, -1, activation}, true);
  check_refusals();
  return report();
}
