// Networks, data and optimizers to train by, and what they come to: by a plain float64 reference, and by the CPU core.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "activation_samples.h"
#include "core/rng.h"
#include "core/trainer.h"
#include "cuda/block/by_kind.h"

namespace fastmlp::testing {

using cuda::Real;

struct Case {
  std::vector<Index> sizes = {3, 5, 2};
  ActivationKind hidden = ActivationKind::Tanh, last = ActivationKind::Identity;
  bool has_row_activation = false;
  RowActivationKind row_activation = RowActivationKind::Softmax;
  LossSpec loss;
  bool classes = false;   // targets
  bool weighted = false;  // rows and columns
  bool infinite = false;  // the first input
  OptimizerKind optimizer = OptimizerKind::SGD;
  OptimizerOptions options = with_lr(0.05);
  bool bias = true;
  Index rows = 6, steps = 12;
  bool by_ids = false, same_rows = false;
  std::vector<bool> frozen = {};  // of the parameters
  Index models = 1;

  static OptimizerOptions with_lr(double lr) {
    OptimizerOptions options;
    options.lr = lr;
    return options;
  }

  int depth() const { return static_cast<int>(sizes.size()) - 1; }
  Index in() const { return sizes.front(); }
  Index out() const { return sizes.back(); }
  bool is_frozen(std::size_t parameter) const { return parameter < frozen.size() && frozen[parameter]; }
  ActivationKind activation(int l) const { return l + 1 < depth() ? hidden : last; }
  Activation activation_of(int l) const { return sample_of(activation(l)); }
  bool logits() const {
    return has_row_activation ? loss.kind == LossKind::NLL && row_activation == RowActivationKind::LogSoftmax
                              : loss.kind == LossKind::BCE && last == ActivationKind::Sigmoid;
  }
  Index parameters() const {
    Index n = 0;
    for (int l = 0; l < depth(); ++l) n += (sizes[l] + 1) * sizes[l + 1];
    return n;
  }
};

template <class T>
struct Data {
  std::vector<T> x, dense, weights, column_weights, column_params;
  std::vector<Index> classes, ids;
  Index count;

  explicit Data(const Case& c) : count(c.rows * (c.same_rows ? 1 : c.steps)) {
    const Philox random(11, 0);
    std::uint64_t n = 0;
    for (Index i = 0; i < count * c.in(); ++i) x.push_back(static_cast<T>(random.normal(n++)));
    if (c.infinite) x[0] = std::numeric_limits<T>::infinity();
    for (Index r = 0; r < count; ++r) {
      classes.push_back(static_cast<Index>(random.below(n++, static_cast<std::uint64_t>(c.out()))));
      for (Index i = 0; i < c.out(); ++i)
        // Some are 0 or 1, so that BCE takes all its ways.
        dense.push_back(static_cast<T>(i % 3 == 1 ? static_cast<double>(random.below(n++, 2)) : random.uniform(n++)));
    }
    for (Index r = 0; r < count; ++r)
      ids.push_back(static_cast<Index>(random.below(n++, static_cast<std::uint64_t>(count))));
    for (Index r = 0; r < count; ++r) weights.push_back(static_cast<T>(r % 4 == 3 ? 0 : 0.5 + random.uniform(n++)));
    for (Index i = 0; i < c.out(); ++i) {
      column_weights.push_back(static_cast<T>(0.5 + random.uniform(n++)));
      column_params.push_back(static_cast<T>(0.2 + 0.6 * random.uniform(n++)));
    }
  }

  Targets<T> targets(const Case& c) const {
    Targets<T> targets = c.classes ? Targets<T>{nullptr, classes.data()} : Targets<T>{dense.data(), nullptr};
    if (c.weighted) {
      targets.weights = weights.data();
      targets.column_weights = column_weights.data();
      targets.column_params = column_params.data();
    }
    return targets;
  }
};

inline double first_value(Index model, Index i) {
  return 0.6 * (2 * Philox(5, static_cast<std::uint64_t>(model)).uniform(static_cast<std::uint64_t>(i)) - 1);
}

template <class T>
struct Result {
  std::vector<T> parameters, states[3];  // of each model
  std::vector<double> losses;
};

inline std::vector<Update> updates_of(const Case& c) {
  std::vector<Update> updates;
  double momentum_product = 1;
  for (Index s = 1; s <= c.steps; ++s) {
    updates.push_back(make_update(c.optimizer, c.options, s, momentum_product));
    momentum_product = updates.back().momentum_product;
  }
  return updates;
}

// The reference ----------------------------------------------------------------------------------------------------------

// Loops over a network of float64 values, with the formulas of cpp/ops.
inline Result<double> reference(const Case& c) {
  using V = Real<double>;
  const Data<double> data(c);
  const std::vector<Update> updates = updates_of(c);
  Result<double> result;
  const Index n = c.parameters();
  for (Index i = 0; i < n; ++i) result.parameters.push_back(first_value(0, i));
  for (auto& state : result.states) state.assign(static_cast<std::size_t>(n), 0);
  double* const w = result.parameters.data();
  const Targets<double> targets = data.targets(c);
  const ops::LabelSmoothing smoothing(c.loss.label_smoothing, static_cast<double>(c.out()));
  const auto source = [&](Index step, Index r) {
    const Index row = r + (c.same_rows ? 0 : step * c.rows);
    return c.by_ids ? data.ids[static_cast<std::size_t>(row)] : row;
  };
  for (Index step = 0; step < c.steps; ++step) {
    std::vector<double> gradient(static_cast<std::size_t>(n), 0.0);
    double total = 0, share = 0;
    for (Index r = 0; r < c.rows; ++r) share += targets.share(source(step, r));
    const double scale = c.loss.scale(share, c.out());
    for (Index r = 0; r < c.rows; ++r) {
      const Index row = source(step, r);
      const double weight = targets.weights ? targets.weights[row] : 1;
      std::vector<std::vector<double>> a = {{data.x.begin() + row * c.in(), data.x.begin() + (row + 1) * c.in()}},
                                       z = {{}};
      std::vector<Index> offsets;
      Index offset = 0;
      for (int l = 0; l < c.depth(); ++l) {
        const Index in = c.sizes[l], out = c.sizes[l + 1];
        const auto params = cuda::activation_params<double>(c.activation_of(l));
        offsets.push_back(offset);
        z.emplace_back();
        a.emplace_back();
        for (Index j = 0; j < out; ++j) {
          double sum = c.bias ? w[offset + in * out + j] : 0;
          for (Index i = 0; i < in; ++i) sum += a[l][i] * w[offset + i * out + j];
          z.back().push_back(sum);
          a.back().push_back(cuda::apply_activation(c.activation(l), V(sum), params).value);
        }
        offset += (in + 1) * out;
      }
      std::vector<double> y = a.back(), dy;
      const auto exponentials = [](const std::vector<double>& v) {
        double sum = 0;
        for (const double value : v) sum += std::exp(value);
        return sum;
      };
      if (c.has_row_activation) {
        const double sum = exponentials(y);
        for (double& value : y)
          value = c.row_activation == RowActivationKind::Softmax ? std::exp(value) / sum : value - std::log(sum);
      }
      const auto column_weight = [&](Index j) { return targets.column_weights ? targets.column_weights[j] : 1; };
      const auto target = [&](Index j) {
        const double t = c.classes ? double(data.classes[static_cast<std::size_t>(row)] == j)
                                   : data.dense[static_cast<std::size_t>(row * c.out() + j)];
        return is_class_loss(c.loss.kind) ? (t * smoothing.kept + smoothing.rest) * column_weight(j) : t;
      };
      double sum_t = 0;
      for (Index j = 0; j < c.out(); ++j) sum_t += target(j);
      for (Index j = 0; j < c.out(); ++j) {
        const double t = target(j), yj = y[j];
        if (c.loss.kind == LossKind::NLL) {
          total -= weight * t * yj;
          dy.push_back(-t);
        } else if (c.loss.kind == LossKind::CrossEntropy) {
          total += weight * t * (std::log(exponentials(y)) - yj);
          dy.push_back(std::exp(yj) / exponentials(y) * sum_t - t);
        } else if (is_pair_loss(c.loss.kind)) {
          const Index mean = j % (c.out() / 2);
          const V m(y[mean]), v(y[mean + c.out() / 2]), own(target(mean));
          cuda::with_pair_loss(c.loss.kind, [&](auto loss) {
            const ops::LossParams<V> params{V(c.loss.alpha), c.loss.full, V(1)};
            if (j == mean) total += weight * loss.value(m, v, own, params).value;
            dy.push_back(
                (j == mean ? loss.mean_gradient(m, v, own, params) : loss.variance_gradient(m, v, own, params)).value);
          });
        } else {
          const V param(targets.column_params ? targets.column_params[j] : 1);
          const ops::LossParams<V> params{V(c.loss.alpha), c.loss.full, param};
          cuda::with_element_loss(c.loss.kind, [&](auto loss) {
            total += weight * column_weight(j) * loss.value(V(yj), V(t), params).value;
            dy.push_back(column_weight(j) * loss.gradient(V(yj), V(t), params).value);
          });
        }
        dy.back() *= scale * weight;
      }
      if (c.has_row_activation) {
        double sum = 0;
        const bool softmax = c.row_activation == RowActivationKind::Softmax;
        for (Index j = 0; j < c.out(); ++j) sum += softmax ? dy[j] * y[j] : dy[j];
        for (Index j = 0; j < c.out(); ++j) dy[j] = softmax ? y[j] * (dy[j] - sum) : dy[j] - std::exp(y[j]) * sum;
      }
      for (int l = c.depth(); l-- > 0;) {
        const Index in = c.sizes[l], out = c.sizes[l + 1];
        const auto params = cuda::activation_params<double>(c.activation_of(l));
        std::vector<double> below(static_cast<std::size_t>(in), 0.0);
        for (Index j = 0; j < out; ++j) {
          const double saved = saves_input(c.activation(l)) ? z[l + 1][j] : a[l + 1][j];
          const double dz = cuda::activation_gradient(c.activation(l), V(dy[j]), V(saved), params).value;
          gradient[offsets[l] + in * out + j] += dz;
          for (Index i = 0; i < in; ++i) {
            gradient[offsets[l] + i * out + j] += a[l][i] * dz;
            below[i] += w[offsets[l] + i * out + j] * dz;
          }
        }
        dy = below;
      }
    }
    result.losses.push_back(total * scale);
    const Update& update = updates[static_cast<std::size_t>(step)];
    const ops::UpdateValues<V> values(update.constants);
    Index i = 0;
    for (int l = 0; l < c.depth(); ++l)
      for (const int bias : {0, 1}) {
        const Index size = (bias ? 1 : c.sizes[l]) * c.sizes[l + 1];
        const bool kept = c.is_frozen(static_cast<std::size_t>(2 * l + bias)) || (bias && !c.bias);
        const UpdateTarget<double> to{w, {result.states[0].data(), result.states[1].data(), result.states[2].data()}};
        for (Index end = i + size; i < end; ++i)
          if (!kept) cuda::update_value(update.kind, to, i, V(gradient[static_cast<std::size_t>(i)]), values);
      }
  }
  return result;
}

// The CPU core -----------------------------------------------------------------------------------------------------------

template <class T>
std::vector<Operation<T>> make_layers(const Case& c, std::vector<std::shared_ptr<Parameter<T>>>& parameters) {
  std::vector<Operation<T>> layers;
  Index offset = 0;
  for (int l = 0; l < c.depth(); ++l) {
    Operation<T> layer;
    const auto make = [&](Index in, Index out, std::size_t number, bool exists) {
      auto parameter = std::make_shared<Parameter<T>>(in, out);
      for (Index i = 0; i < in * out; ++i) parameter->value.data()[i] = static_cast<T>(first_value(0, offset + i));
      parameter->requires_grad = exists && !c.is_frozen(number);
      offset += in * out;
      parameters.push_back(parameter);
      return exists ? parameter : nullptr;
    };
    layer.weight = make(c.sizes[l], c.sizes[l + 1], 2 * l, true);
    layer.bias = make(1, c.sizes[l + 1], 2 * l + 1, c.bias);
    layer.activation = c.activation_of(l);
    layers.push_back(layer);
  }
  if (c.has_row_activation) {
    Operation<T> layer;
    layer.kind = OperationKind::RowActivation;
    layer.row_activation = c.row_activation;
    layers.push_back(layer);
  }
  return layers;
}

template <class T>
Result<T> on_cpu(const Case& c) {
  std::vector<std::shared_ptr<Parameter<T>>> parameters;
  Network<T> network(make_layers(c, parameters));
  Optimizer<T> optimizer(c.optimizer, c.options, network.parameters());
  const Data<T> data(c);
  Result<T> result;
  result.losses.resize(static_cast<std::size_t>(c.steps));
  const auto runner = network.acquire(c.rows, c.in(), true);
  const Batch<T> batch{data.x.data(), data.targets(c), c.by_ids ? data.ids.data() : nullptr, c.rows};
  runner->steps(c.loss, batch, c.steps, c.same_rows, {}, optimizer, result.losses.data());
  for (const auto& parameter : parameters)
    result.parameters.insert(result.parameters.end(), parameter->value.data(),
                             parameter->value.data() + parameter->size());
  return result;
}

}  // namespace fastmlp::testing
