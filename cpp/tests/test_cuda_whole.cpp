// Training a whole network in one launch, emulated: trajectories of many steps against a plain float64 reference and the
// CPU core, for all activations, losses and update rules, by batches, and many networks at once.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "core/rng.h"
#include "core/trainer.h"
#include "cuda/by_kind.h"
#include "cuda/kernels.h"

namespace {

using namespace fastmlp;
using cuda::Real;

int failures = 0;

void check(bool fine, const std::string& what) {
  if (fine) return;
  std::printf("FAILED  %s\n", what.c_str());
  ++failures;
}

struct Case {
  std::vector<Index> sizes = {3, 5, 2};
  ActivationKind hidden = ActivationKind::Tanh, last = ActivationKind::Identity;
  bool has_row_activation = false;
  RowActivationKind row_activation = RowActivationKind::Softmax;
  LossSpec loss;
  bool classes = false;  // targets
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
  Activation activation_of(int l) const {
    Activation a{activation(l), 0, 0};
    switch (a.kind) {
      case ActivationKind::LeakyReLU:
        a.alpha = 0.1;
        break;
      case ActivationKind::Hardtanh:
        a.alpha = -0.5, a.beta = 0.75;
        break;
      case ActivationKind::ELU:
        a.alpha = 1.25;
        break;
      case ActivationKind::Softplus:
        a.alpha = 2, a.beta = 20;
        break;
      default:
        break;
    }
    return a;
  }
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
  std::vector<T> x, dense;
  std::vector<Index> classes, ids;
  Index count;

  explicit Data(const Case& c) : count(c.rows * (c.same_rows ? 1 : c.steps)) {
    const Philox random(11, 0);
    std::uint64_t n = 0;
    for (Index i = 0; i < count * c.in(); ++i) x.push_back(static_cast<T>(random.normal(n++)));
    for (Index r = 0; r < count; ++r) {
      classes.push_back(static_cast<Index>(random.below(n++, static_cast<std::uint64_t>(c.out()))));
      for (Index i = 0; i < c.out(); ++i)
        // Some are 0 or 1, so that BCE takes all its ways.
        dense.push_back(static_cast<T>(i % 3 == 1 ? static_cast<double>(random.below(n++, 2)) : random.uniform(n++)));
    }
    for (Index r = 0; r < count; ++r)
      ids.push_back(static_cast<Index>(random.below(n++, static_cast<std::uint64_t>(count))));
  }

  Targets<T> targets(const Case& c) const {
    return c.classes ? Targets<T>{nullptr, classes.data()} : Targets<T>{dense.data(), nullptr};
  }
};

double first_value(Index model, Index i) {
  return 0.6 * (2 * Philox(5, static_cast<std::uint64_t>(model)).uniform(static_cast<std::uint64_t>(i)) - 1);
}

template <class T>
struct Result {
  std::vector<T> parameters, states[3];  // of each model
  std::vector<double> losses;
};

std::vector<Update> updates_of(const Case& c) {
  std::vector<Update> updates;
  for (Index s = 1; s <= c.steps; ++s) updates.push_back(make_update(c.optimizer, c.options, s));
  return updates;
}

void needed_states(const Case& c, bool (&needed)[3]) {
  const bool adam = c.optimizer == OptimizerKind::Adam || c.optimizer == OptimizerKind::AdamW;
  const bool rms = c.optimizer == OptimizerKind::RMSprop, momentum = c.options.momentum != 0;
  needed[0] = adam || rms || momentum;
  needed[1] = adam || (rms && momentum);
  needed[2] = adam ? c.options.amsgrad : rms && c.options.centered;
}

// The kernel -------------------------------------------------------------------------------------------------------------

template <class T>
Result<T> run(const Case& c, const std::vector<Index>& seeds, bool one_update = false) {
  const Index stride = c.parameters() + 3, models = static_cast<Index>(seeds.size());
  const auto size = static_cast<std::size_t>(stride * models);
  Result<T> result;
  result.parameters.assign(size, T(-7));
  bool needed[3];
  needed_states(c, needed);
  for (int s = 0; s < 3; ++s) result.states[s].assign(size, T(0));
  for (Index m = 0; m < models; ++m)
    for (Index i = 0; i < c.parameters(); ++i)
      result.parameters[static_cast<std::size_t>(m * stride + i)] = static_cast<T>(first_value(seeds[m], i));

  const std::vector<Update> updates = updates_of(c);
  std::vector<LanesLayer<T>> layers;
  Index offset = 0;
  for (int l = 0; l < c.depth(); ++l) {
    LanesLayer<T> layer{c.sizes[l], c.sizes[l + 1], nullptr, nullptr, c.activation_of(l), {}, {}};
    const auto add = [&](Index n, std::size_t number, const T*& value, GradientSink<T>& sink) {
      value = result.parameters.data() + offset;
      if (!c.is_frozen(number)) {
        sink.update = updates.data();
        sink.target.value = result.parameters.data() + offset;
        for (int s = 0; s < 3; ++s)
          if (needed[s]) sink.target.state[s] = result.states[s].data() + offset;
      }
      offset += n;
    };
    add(layer.in * layer.out, 2 * l, layer.weight, layer.weight_sink);
    if (c.bias)
      add(layer.out, 2 * l + 1, layer.bias, layer.bias_sink);
    else
      offset += layer.out;
    layers.push_back(layer);
  }
  const Data<T> data(c);
  result.losses.assign(static_cast<std::size_t>(c.steps * models), -1);
  WholeTraining<T> args{};
  args.layers = layers.data();
  args.depth = c.depth();
  args.has_row_activation = c.has_row_activation;
  args.row_activation = c.row_activation;
  args.rows = c.rows;
  args.row_count = data.count;
  args.x = data.x.data();
  args.targets = data.targets(c);
  args.ids = c.by_ids ? data.ids.data() : nullptr;
  args.same_rows = c.same_rows;
  args.loss = c.loss;
  args.logits = c.logits();
  args.steps = c.steps;
  args.updates = updates.data();
  args.one_update = one_update;
  args.losses = result.losses.data();
  args.models = models;
  args.model_stride = stride;
  check(cuda::trains_whole(args), "the network is one for a block");
  cuda::train_whole(args, {});
  for (Index m = 0; m < models; ++m)
    for (Index i = c.parameters(); i < stride; ++i)
      check(result.parameters[static_cast<std::size_t>(m * stride + i)] == T(-7), "what lies between stays as it is");
  return result;
}

// The reference ----------------------------------------------------------------------------------------------------------

// Loops over a network of float64 values, with the formulas of cpp/ops.
Result<double> reference(const Case& c) {
  using V = Real<double>;
  const Data<double> data(c);
  const std::vector<Update> updates = updates_of(c);
  Result<double> result;
  const Index n = c.parameters();
  for (Index i = 0; i < n; ++i) result.parameters.push_back(first_value(0, i));
  for (auto& state : result.states) state.assign(static_cast<std::size_t>(n), 0);
  double* const w = result.parameters.data();
  const Index count = is_class_loss(c.loss.kind) ? c.rows : c.rows * c.out();
  const double scale = c.loss.mean ? 1.0 / static_cast<double>(count) : 1;
  for (Index step = 0; step < c.steps; ++step) {
    std::vector<double> gradient(static_cast<std::size_t>(n), 0.0);
    double total = 0;
    for (Index r = 0; r < c.rows; ++r) {
      Index row = r + (c.same_rows ? 0 : step * c.rows);
      if (c.by_ids) row = data.ids[static_cast<std::size_t>(row)];
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
      const auto target = [&](Index j) {
        return c.classes ? double(data.classes[static_cast<std::size_t>(row)] == j)
                         : data.dense[static_cast<std::size_t>(row * c.out() + j)];
      };
      double sum_t = 0;
      for (Index j = 0; j < c.out(); ++j) sum_t += target(j);
      for (Index j = 0; j < c.out(); ++j) {
        const double t = target(j), yj = y[j];
        if (c.loss.kind == LossKind::NLL) {
          total -= t * yj;
          dy.push_back(-t);
        } else if (c.loss.kind == LossKind::CrossEntropy) {
          total += t * (std::log(exponentials(y)) - yj);
          dy.push_back(std::exp(yj) / exponentials(y) * sum_t - t);
        } else {
          cuda::with_element_loss(c.loss.kind, [&](auto loss) {
            total += loss.value(V(yj), V(t), V(c.loss.delta)).value;
            dy.push_back(loss.gradient(V(yj), V(t), V(c.loss.delta)).value);
          });
        }
        dy.back() *= scale;
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
Result<T> core(const Case& c) {
  std::vector<Layer<T>> layers;
  std::vector<std::shared_ptr<Parameter<T>>> parameters;
  Index offset = 0;
  for (int l = 0; l < c.depth(); ++l) {
    Layer<T> layer;
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
    Layer<T> layer;
    layer.kind = LayerKind::RowActivation;
    layer.row_activation = c.row_activation;
    layers.push_back(layer);
  }
  Network<T> network(layers);
  Optimizer<T> optimizer(c.optimizer, c.options, network.parameters());
  const Data<T> data(c);
  Result<T> result;
  result.losses.resize(static_cast<std::size_t>(c.steps));
  const auto workspace = network.acquire(c.rows, c.in(), true);
  const Batch<T> batch{data.x.data(), data.targets(c), c.by_ids ? data.ids.data() : nullptr, c.rows};
  network.steps(*workspace, c.loss, batch, c.steps, c.same_rows, {}, optimizer, result.losses.data());
  for (const auto& parameter : parameters)
    result.parameters.insert(result.parameters.end(), parameter->value.data(),
                             parameter->value.data() + parameter->size());
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
  check(losses <= tolerance && parameters <= tolerance,
        what + ": losses differ by " + std::to_string(losses) + ", parameters by " + std::to_string(parameters));
}

// float32's distance grows with the steps, and with RMSprop's and Adam's quotients of small numbers.
void test(const Case& c, const std::string& what) {
  const Result<double> expected = reference(c), f64 = run<double>(c, {0});
  compare(f64, expected, c, 1e-8, what + ", float64");
  compare(f64, core<double>(c), c, 1e-8, what + ", float64 against the CPU core");
  const Result<float> f32 = run<float>(c, {0});
  compare(f32, expected, c, 1e-3, what + ", float32");
  compare(f32, core<float>(c), c, 1e-3, what + ", float32 against the CPU core");
  bool needed[3];
  needed_states(c, needed);
  for (int s = 0; s < 3; ++s)
    if (needed[s])
      check(difference(f64.states[s], expected.states[s], static_cast<std::size_t>(c.parameters())) <= 1e-8,
            what + ": states");
  check(c.steps == 1 || expected.losses.front() != expected.losses.back(), what + ": something is learnt");
}

// Tests ------------------------------------------------------------------------------------------------------------------

std::string name(ActivationKind kind) { return kActivationNames[static_cast<int>(kind)]; }

void test_activations() {
  for (int kind = 0; kind < static_cast<int>(std::size(kActivationNames)); ++kind) {
    Case c;
    c.hidden = static_cast<ActivationKind>(kind);
    c.sizes = {3, 6, 5, 2};
    test(c, "hidden " + name(c.hidden));
    c.last = c.hidden;
    c.sizes = {4, 3};
    test(c, "last " + name(c.last));
  }
}

void test_losses() {
  for (int kind = 0; kind < static_cast<int>(std::size(kLossNames)); ++kind)
    for (const bool mean : {true, false}) {
      Case c;
      c.loss = {static_cast<LossKind>(kind), 0.3, mean};
      c.options.lr = mean ? 0.1 : 0.01;
      c.sizes = {3, 4, 5};
      const std::string what = std::string("loss ") + kLossNames[kind];
      if (c.loss.kind == LossKind::BCE) {
        c.last = ActivationKind::Sigmoid;
        test(c, what + " of logits");
        continue;  // other outputs may leave (0, 1); see test_row_activations
      }
      test(c, what);
      if (!is_class_loss(c.loss.kind)) continue;
      c.classes = true;
      test(c, what + ", classes");
    }
}

void test_row_activations() {
  for (const RowActivationKind kind : {RowActivationKind::Softmax, RowActivationKind::LogSoftmax})
    for (const LossKind loss : {LossKind::MSE, LossKind::BCE, LossKind::NLL, LossKind::CrossEntropy})
      for (const bool classes : {false, true}) {
        if ((classes && !is_class_loss(loss)) || (kind == RowActivationKind::LogSoftmax && loss == LossKind::BCE))
          continue;
        Case c;
        c.sizes = {3, 4, classes ? 37 : 5};
        c.has_row_activation = true;
        c.row_activation = kind;
        c.loss.kind = loss;
        c.classes = classes;
        c.rows = 7;
        test(c, std::string(kRowActivationNames[static_cast<int>(kind)]) + ", " + kLossNames[static_cast<int>(loss)]);
      }
}

void test_optimizers() {
  const std::pair<const char*, const char*> extras[] = {{"", ""},
                                                        {"momentum", "nesterov"},
                                                        {"weight_decay", "amsgrad"},
                                                        {"momentum", "centered"},
                                                        {"maximize", "weight_decay"},
                                                        {"momentum", "dampening"}};
  for (int kind = 0; kind < static_cast<int>(std::size(kOptimizerNames)); ++kind)
    for (const auto& [first, second] : extras) {
      Case c;
      c.optimizer = static_cast<OptimizerKind>(kind);
      c.options.lr = 0.01;
      c.options.eps = 1e-3;
      c.steps = 15;
      for (const std::string extra : {first, second})
        if (!extra.empty()) c.options.set(extra, extra == "weight_decay" ? 0.05 : 0.5);
      test(c, std::string(kOptimizerNames[kind]) + " " + first + " " + second);
    }
}

// Plans of all kinds: threads, tiles, parts of a batch, several turns over rows and columns.
void test_shapes() {
  const std::vector<Index> shapes[] = {{1, 1},  {2, 2, 1},  {13, 10, 1}, {5, 40, 7}, {3, 9, 9, 9, 9, 4},
                                       {70, 3}, {2, 130, 2}};
  for (const auto& sizes : shapes)
    for (const Index rows : {1, 4, 30, 67, 300})
      for (const bool bias : {true, false}) {
        if (rows == 300 && (sizes[1] > 20 || sizes.size() > 3)) continue;  // float64 does not fit
        Case c;
        c.sizes = sizes;
        c.rows = rows;
        c.bias = bias;
        c.steps = rows > 60 ? 3 : 6;
        c.optimizer = bias ? OptimizerKind::Adam : OptimizerKind::SGD;
        c.options.lr = 0.02;
        c.options.eps = 1e-3;
        test(c, std::to_string(sizes[0]) + "-" + std::to_string(sizes[1]) + "-.. " + std::to_string(rows) + " rows");
      }
  Case c;
  c.sizes = {40, 64, 48, 10};
  c.rows = 48;
  c.steps = 3;
  c.loss.kind = LossKind::CrossEntropy;
  c.classes = true;
  test(c, "a larger network");
}

void test_batches() {
  for (const bool classes : {false, true})
    for (const bool by_ids : {false, true})
      for (const bool same_rows : {false, true})
        for (const Index steps : {1, 2, 9}) {
          Case c;
          c.steps = steps;
          c.by_ids = by_ids;
          c.same_rows = same_rows;
          c.classes = classes;
          c.rows = 33;
          if (classes) c.loss.kind = LossKind::CrossEntropy;
          c.optimizer = OptimizerKind::AdamW;
          test(c, "batches");
        }
}

void test_frozen() {
  for (int mask = 1; mask < 63; mask += 5) {
    Case c;
    c.sizes = {3, 4, 5, 2};
    c.optimizer = OptimizerKind::RMSprop;
    c.options.lr = 0.01;
    c.options.eps = 1e-3;
    for (int bit = 0; bit < 6; ++bit) c.frozen.push_back(mask >> bit & 1);
    test(c, "frozen parameters");
    const Result<float> result = run<float>(c, {0});
    Index i = 0;
    for (std::size_t number = 0; number < 6; ++number) {
      const Index size = (number % 2 ? 1 : c.sizes[number / 2]) * c.sizes[number / 2 + 1];
      for (const Index end = i + size; i < end; ++i)
        if (c.is_frozen(number))
          check(result.parameters[static_cast<std::size_t>(i)] == static_cast<float>(first_value(0, i)), "frozen");
    }
  }
}

template <class T>
bool same_bits(const T* a, const T* b, Index n) {
  return std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(T)) == 0;
}

// A network's steps are the same whichever others are trained beside it.
template <class T>
void test_many(const Case& c, Index models, bool alone) {
  std::vector<Index> seeds(static_cast<std::size_t>(models));
  for (Index m = 0; m < models; ++m) seeds[static_cast<std::size_t>(m)] = m;
  const Result<T> all = run<T>(c, seeds);
  std::reverse(seeds.begin(), seeds.end());
  const Result<T> reversed = run<T>(c, seeds);
  const Index stride = c.parameters() + 3;
  const auto same = [&](const Result<T>& other, Index m, Index at) {
    bool fine = same_bits(all.parameters.data() + m * stride, other.parameters.data() + at * stride, c.parameters()) &&
                same_bits(all.losses.data() + m * c.steps, other.losses.data() + at * c.steps, c.steps);
    for (int s = 0; s < 3; ++s)
      fine &= same_bits(all.states[s].data() + m * stride, other.states[s].data() + at * stride, c.parameters());
    return fine;
  };
  for (Index m = 0; m < models; ++m) {
    check(same(reversed, m, models - 1 - m), "many networks, in another order");
    if (alone) check(same(run<T>(c, {m}), m, 0), "many networks, one after the other");
  }
  compare(all, reference(c), c, sizeof(T) == 4 ? 1e-3 : 1e-8, "many networks");
}

void test_ensembles() {
  Case c;
  c.sizes = {2, 10, 3};
  c.rows = 30;
  c.loss.kind = LossKind::CrossEntropy;
  c.classes = true;
  c.by_ids = true;
  c.steps = 4;
  c.optimizer = OptimizerKind::Adam;
  test_many<float>(c, 5, true);
  test_many<double>(c, 5, true);
  test_many<float>(c, 150, false);  // more than multiprocessors: blocks of another size
  test_many<double>(c, 150, false);
}

void test_one_update() {
  Case c;
  const Result<float> each = run<float>(c, {0}), one = run<float>(c, {0}, true);
  check(same_bits(each.parameters.data(), one.parameters.data(), c.parameters()), "one update for all steps");
}

template <class T>
void test_limits() {
  WholeTraining<T> args{};
  const Update update;
  LanesLayer<T> layer{};
  layer.in = 4096;
  layer.out = 64;
  layer.weight_sink.update = &update;
  args.layers = &layer;
  args.depth = 1;
  args.rows = 4;
  args.steps = 1;
  check(!cuda::trains_whole(args), "a large network is none for a block");
  layer.in = 4;
  check(cuda::trains_whole(args), "a small one is");
  args.rows = 100000;
  check(!cuda::trains_whole(args), "but not with a large batch");
  args.rows = 4;
  layer.weight_sink.update = nullptr;
  check(!cuda::trains_whole(args), "nor if nothing is trained");
}

}  // namespace

int main() {
  test_activations();
  test_losses();
  test_row_activations();
  test_optimizers();
  test_shapes();
  test_batches();
  test_frozen();
  test_ensembles();
  test_one_update();
  test_limits<float>();
  test_limits<double>();
  std::printf(failures ? "%d failures\n" : "all is well\n", failures);
  return failures ? 1 : 0;
}
