#include "core/optimizer_options.h"

#include <cmath>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "core/planned_options.h"

namespace fastmlp {

namespace {

// visit(name, option) for all of them.
template <class Options, class Visit>
void for_each_option(Options& o, const Visit& visit) {
  visit("lr", o.lr);
  visit("momentum", o.momentum);
  visit("dampening", o.dampening);
  visit("weight_decay", o.weight_decay);
  visit("beta1", o.beta1);
  visit("beta2", o.beta2);
  visit("eps", o.eps);
  visit("alpha", o.alpha);
  visit("momentum_decay", o.momentum_decay);
  visit("lr_decay", o.lr_decay);
  visit("initial_accumulator_value", o.initial_accumulator_value);
  visit("nesterov", o.nesterov);
  visit("amsgrad", o.amsgrad);
  visit("centered", o.centered);
  visit("maximize", o.maximize);
  visit("decoupled_weight_decay", o.decoupled_weight_decay);
}

}  // namespace

void OptimizerOptions::set(const std::string& name, double value) {
  bool known = false;
  for_each_option(*this, [&](const char* key, auto& option) {
    if (name != key) return;
    known = true;
    if constexpr (std::is_same_v<decltype(option), bool&>)
      option = value != 0;
    else
      option = value;
  });
  if (!known) throw std::invalid_argument("option: unknown optimizer option '" + name + "'");
}

std::vector<std::pair<std::string, double>> OptimizerOptions::all() const {
  std::vector<std::pair<std::string, double>> options;
  for_each_option(*this, [&](const char* name, auto value) { options.emplace_back(name, static_cast<double>(value)); });
  return options;
}

const std::vector<std::string>& state_names(OptimizerKind kind) {
  static const std::vector<std::string> sgd = {"momentum_buffer"}, adam = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
                                        rmsprop = {"square_avg", "momentum_buffer", "grad_avg"},
                                        nadam = {"exp_avg", "exp_avg_sq"}, adagrad = {"sum"}, lion = {"exp_avg"};
  switch (kind) {
    case OptimizerKind::SGD:
      return sgd;
    case OptimizerKind::RMSprop:
      return rmsprop;
    case OptimizerKind::NAdam:
      return nadam;
    case OptimizerKind::Adagrad:
      return adagrad;
    case OptimizerKind::Lion:
      return lion;
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
      break;
  }
  return adam;
}

namespace {

// The constants that rules with two running means share.
void set_betas(const OptimizerOptions& o, ops::UpdateConstants& c) {
  c.beta1 = o.beta1;
  c.beta2 = o.beta2;
}

// 1 - beta^step, the share that a running mean has seen. beta^step is at most exp(-step (1 - beta)). Where that is below
// 2^-54, half of what lies between 1 and the next smaller number, the difference rounds to 1; a power takes as long as the
// step of a small network.
double seen_share(double beta, Index step) {
  const double steps = static_cast<double>(step);
  return steps * (1 - beta) > 38 ? 1 : 1 - std::pow(beta, steps);
}

double root_scale(const OptimizerOptions& o, Index step) { return 1 / std::sqrt(seen_share(o.beta2, step)); }

// NAdam's momentum in a step.
double warmed_up(const OptimizerOptions& o, Index step) {
  return o.beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(step) * o.momentum_decay));
}

}  // namespace

Update make_update(OptimizerKind kind, const OptimizerOptions& o, Index step, double momentum_product) {
  Update update;
  ops::UpdateConstants& c = update.constants;
  c.lr = o.lr;
  c.sign = o.maximize ? -1 : 1;
  if (has_decoupled_decay(kind, o))
    c.keep = 1 - o.lr * o.weight_decay;
  else
    c.l2 = o.weight_decay;
  c.eps = o.eps;
  switch (kind) {
    case OptimizerKind::SGD:
      update.kind = o.momentum == 0 ? UpdateKind::SGD : UpdateKind::SGDMomentum;
      c.momentum = o.momentum;
      c.gradient_share = step == 1 ? 1 : 1 - o.dampening;
      c.nesterov = o.nesterov;
      break;
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
      update.kind = UpdateKind::Adam;
      set_betas(o, c);
      c.moves_far = o.beta1 <= 0.5;
      c.lr = o.lr / seen_share(o.beta1, step);
      c.root_scale = root_scale(o, step);
      c.amsgrad = o.amsgrad;
      break;
    case OptimizerKind::RMSprop:
      update.kind = UpdateKind::RMSprop;
      c.beta2 = o.alpha;
      c.moves_far = o.alpha <= 0.5;
      c.momentum = o.momentum;
      c.centered = o.centered;
      break;
    case OptimizerKind::NAdam: {
      update.kind = UpdateKind::NAdam;
      set_betas(o, c);
      c.root_scale = root_scale(o, step);
      const double now = warmed_up(o, step), next = warmed_up(o, step + 1);
      update.momentum_product = momentum_product * now;
      c.gradient_share = (1 - now) / (1 - update.momentum_product);
      c.momentum = next / (1 - update.momentum_product * next);
      break;
    }
    case OptimizerKind::Adagrad:
      update.kind = UpdateKind::Adagrad;
      c.lr = o.lr / (1 + static_cast<double>(step - 1) * o.lr_decay);
      break;
    case OptimizerKind::Lion:
      update.kind = UpdateKind::Lion;
      set_betas(o, c);
      break;
  }
  c.decays = c.l2 != 0;
  return update;
}

bool has_constant_steps(OptimizerKind kind, const OptimizerOptions& o) {
  switch (kind) {
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
    case OptimizerKind::NAdam:
      return false;
    case OptimizerKind::Adagrad:
      return o.lr_decay == 0;
    case OptimizerKind::SGD:
    case OptimizerKind::RMSprop:
    case OptimizerKind::Lion:
      break;
  }
  return true;
}

bool has_decoupled_decay(OptimizerKind kind, const OptimizerOptions& o) {
  return kind == OptimizerKind::AdamW || kind == OptimizerKind::Lion ||
         (kind == OptimizerKind::NAdam && o.decoupled_weight_decay);
}

bool has_betas(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
    case OptimizerKind::NAdam:
    case OptimizerKind::Lion:
      return true;
    case OptimizerKind::SGD:
    case OptimizerKind::RMSprop:
    case OptimizerKind::Adagrad:
      break;
  }
  return false;
}

bool schedule(OptimizerKind kind, const ScheduledOptions& values, OptimizerOptions& options) {
  bool changes = std::exchange(options.lr, values.lr) != values.lr;
  if (!std::isnan(values.momentum)) {
    double& momentum = has_betas(kind) ? options.beta1 : options.momentum;
    changes |= std::exchange(momentum, values.momentum) != values.momentum;
  }
  return changes;
}

void needed_states(OptimizerKind kind, const OptimizerOptions& o, bool (&needed)[3]) {
  needed[0] = needed[1] = needed[2] = false;
  switch (kind) {
    case OptimizerKind::SGD:
      needed[0] = o.momentum != 0;
      break;
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
      needed[0] = needed[1] = true;
      needed[2] = o.amsgrad;
      break;
    case OptimizerKind::RMSprop:
      needed[0] = true;
      needed[1] = o.momentum != 0;
      needed[2] = o.centered;
      break;
    case OptimizerKind::NAdam:
      needed[0] = needed[1] = true;
      break;
    case OptimizerKind::Adagrad:
    case OptimizerKind::Lion:
      needed[0] = true;
      break;
  }
}

}  // namespace fastmlp
