#include "core/optimizer_options.h"

#include <cmath>
#include <stdexcept>
#include <type_traits>

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
  visit("nesterov", o.nesterov);
  visit("amsgrad", o.amsgrad);
  visit("centered", o.centered);
  visit("maximize", o.maximize);
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
                                        rmsprop = {"square_avg", "momentum_buffer", "grad_avg"};
  switch (kind) {
    case OptimizerKind::SGD:
      return sgd;
    case OptimizerKind::RMSprop:
      return rmsprop;
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
      break;
  }
  return adam;
}

Update make_update(OptimizerKind kind, const OptimizerOptions& o, Index step) {
  Update update;
  ops::UpdateConstants& c = update.constants;
  c.lr = o.lr;
  c.sign = o.maximize ? -1 : 1;
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
      c.beta1 = o.beta1;
      c.moves_far = o.beta1 <= 0.5;
      c.beta2 = o.beta2;
      c.lr = o.lr / (1 - std::pow(o.beta1, static_cast<double>(step)));
      c.root_scale = 1 / std::sqrt(1 - std::pow(o.beta2, static_cast<double>(step)));
      c.amsgrad = o.amsgrad;
      if (kind == OptimizerKind::AdamW) {
        c.keep = 1 - o.lr * o.weight_decay;
        c.l2 = 0;
      }
      break;
    case OptimizerKind::RMSprop:
      update.kind = UpdateKind::RMSprop;
      c.beta2 = o.alpha;
      c.moves_far = o.alpha <= 0.5;
      c.momentum = o.momentum;
      c.centered = o.centered;
      break;
  }
  c.decays = c.l2 != 0;
  return update;
}

void schedule(OptimizerKind kind, const ScheduledOptions& values, OptimizerOptions& options) {
  options.lr = values.lr;
  if (std::isnan(values.momentum)) return;
  (has_betas(kind) ? options.beta1 : options.momentum) = values.momentum;
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
  }
}

}  // namespace fastmlp
