// Trains a Case by the device's kernels for small networks, and compares.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/runtime/kernels.h"
#include "expect.h"
#include "single_block_cases.h"

namespace fastmlp::testing {

// The kernels ------------------------------------------------------------------------------------------------------------

enum class Way { Block, Lanes };

inline int by_lanes = 0;  // tests that took that way

// Without losses where the network is none for rows in lanes.
template <class T>
Result<T> run(const Case& c, const std::vector<Index>& seeds, Way way = Way::Block, bool one_update = false) {
  const Index stride = c.parameters() + 3, models = static_cast<Index>(seeds.size());
  const auto size = static_cast<std::size_t>(stride * models);
  Result<T> result;
  result.parameters.assign(size, T(-7));
  bool needed[3];
  needed_states(c.optimizer, c.options, needed);
  for (int s = 0; s < 3; ++s) result.states[s].assign(size, T(0));
  for (Index m = 0; m < models; ++m)
    for (Index i = 0; i < c.parameters(); ++i)
      result.parameters[static_cast<std::size_t>(m * stride + i)] = static_cast<T>(first_value(seeds[m], i));

  const std::vector<Update> updates = updates_of(c);
  std::vector<SingleBlockLayer> layers;
  for (int l = 0; l < c.depth(); ++l) {
    const auto number = static_cast<std::size_t>(2 * l);
    layers.push_back({c.sizes[l], c.sizes[l + 1], c.activation_of(l), c.bias, !c.is_frozen(number),
                      c.bias && !c.is_frozen(number + 1)});
  }
  std::vector<UpdateTarget<T>> parameters;
  for (Index m = 0; m < models; ++m) {
    Index at = m * stride;
    for (const SingleBlockLayer& layer : layers)
      for (const bool bias : {false, true}) {
        UpdateTarget<T>& entry = parameters.emplace_back();
        if (!bias || c.bias) entry.value = result.parameters.data() + at;
        for (int s = 0; s < 3; ++s)
          if (needed[s] && (bias ? layer.trains_bias : layer.trains_weight))
            entry.state[s] = result.states[s].data() + at;
        at += (bias ? 1 : layer.in) * layer.out;
      }
  }
  const Data<T> data(c);
  result.losses.assign(static_cast<std::size_t>(c.steps * models), -1);
  SingleBlockTraining<T> args{};
  args.layers = layers.data();
  args.depth = c.depth();
  args.has_row_activation = c.has_row_activation;
  args.row_activation = c.row_activation;
  args.rows = c.rows;
  args.rule = updates[0].kind;
  std::copy_n(needed, 3, args.states);
  args.targets = data.targets(c);
  const SingleBlockRows<T> rows{data.x.data(), args.targets.dense, args.targets.classes, args.targets.weights,
                                c.by_ids ? data.ids.data() : nullptr};
  const std::vector<SingleBlockRows<T>> of_each(seeds.size(), rows);
  args.data = of_each.data();
  args.by_ids = c.by_ids;
  args.same_rows = c.same_rows;
  args.loss = c.loss;
  args.logits = c.logits();
  args.steps = c.steps;
  args.updates = updates.data();
  args.one_update = one_update;
  args.losses = result.losses.data();
  args.models = models;
  args.parameters = parameters.data();
  if (way == Way::Lanes) {
    if (!cuda::trains_in_lanes(args)) return {};
    ++by_lanes;
    cuda::train_in_lanes(args, {});
  } else {
    expect(cuda::trains_in_block(args), "the network is one for a block: " + std::to_string(c.in()) + "-" +
                                            std::to_string(c.sizes[1]) + ", " + std::to_string(c.rows) + " rows");
    cuda::train_in_block(args, {});
  }
  for (Index m = 0; m < models; ++m)
    for (Index i = c.parameters(); i < stride; ++i)
      expect(result.parameters[static_cast<std::size_t>(m * stride + i)] == T(-7), "what lies between stays as it is");
  return result;
}

// Comparisons ------------------------------------------------------------------------------------------------------------

template <class A, class B>
double difference(const std::vector<A>& a, const std::vector<B>& b, std::size_t n) {
  double most = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double d =
        std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])) / (1 + std::abs(static_cast<double>(b[i])));
    most = d <= most ? most : d;  // a NaN remains
    if (!(d == d)) return d;
  }
  return most;
}

template <class A, class B>
void compare(const Result<A>& a, const Result<B>& b, const Case& c, double tolerance, const std::string& what) {
  const double losses = difference(a.losses, b.losses, static_cast<std::size_t>(c.steps));
  const double parameters = difference(a.parameters, b.parameters, static_cast<std::size_t>(c.parameters()));
  expect(losses <= tolerance && parameters <= tolerance,
         what + ": losses differ by " + std::to_string(losses) + ", parameters by " + std::to_string(parameters));
}

// Rows in lanes, where there is a kernel for the network.
inline bool test_lanes(const Case& c, const Result<double>& expected, const std::string& what) {
  const Result<float> f32 = run<float>(c, {0}, Way::Lanes);
  if (f32.losses.empty()) return false;
  compare(f32, expected, c, 1e-3, what + ", rows in lanes");
  bool needed[3];
  needed_states(c.optimizer, c.options, needed);
  for (int s = 0; s < 3; ++s)
    if (needed[s])
      expect(difference(f32.states[s], expected.states[s], static_cast<std::size_t>(c.parameters())) <= 1e-3,
             what + ", rows in lanes: states");
  return true;
}

template <class T>
bool same_bits(const T* a, const T* b, Index n) {
  return std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(T)) == 0;
}

// A network's steps are the same whichever others are trained beside it.
template <class T>
void test_many(const Case& c, Index models, Way way = Way::Block) {
  std::vector<Index> seeds(static_cast<std::size_t>(models));
  for (Index m = 0; m < models; ++m) seeds[static_cast<std::size_t>(m)] = m;
  const Result<T> all = run<T>(c, seeds, way);
  std::reverse(seeds.begin(), seeds.end());
  const Result<T> reversed = run<T>(c, seeds, way);
  const Index stride = c.parameters() + 3;
  const auto same = [&](const Result<T>& other, Index m, Index at) {
    bool fine = same_bits(all.parameters.data() + m * stride, other.parameters.data() + at * stride, c.parameters()) &&
                same_bits(all.losses.data() + m * c.steps, other.losses.data() + at * c.steps, c.steps);
    for (int s = 0; s < 3; ++s)
      fine &= same_bits(all.states[s].data() + m * stride, other.states[s].data() + at * stride, c.parameters());
    return fine;
  };
  for (Index m = 0; m < models; ++m) {
    expect(same(reversed, m, models - 1 - m), "many networks, in another order");
    expect(same(run<T>(c, {m}, way), m, 0), "many networks, one after the other");
  }
  compare(all, reference(c), c, sizeof(T) == 4 ? 1e-3 : 1e-8, "many networks");
}

}  // namespace fastmlp::testing
