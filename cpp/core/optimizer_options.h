// The optimizers' options, and what follows from them in a step: the rule, its constants, the states that it keeps. The
// formulas are in ops/optimizers.h.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/contracts/optimizer.h"

namespace fastmlp {

struct OptimizerOptions {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, alpha = 0.99;
  double momentum_decay = 4e-3, lr_decay = 0, initial_accumulator_value = 0;
  bool nesterov = false, amsgrad = false, centered = false, maximize = false, decoupled_weight_decay = false;

  // By torch's name. Throws std::invalid_argument for an unknown one.
  void set(const std::string& name, double value);
  std::vector<std::pair<std::string, double>> all() const;

  bool operator==(const OptimizerOptions&) const = default;
};

// The rule and the constants of step number `step` (from 1), as torch.optim forms them. `momentum_product` is that of the
// update before.
Update make_update(OptimizerKind kind, const OptimizerOptions& options, Index step, double momentum_product = 1);
// Whether the constants of the second step hold for all later ones.
bool has_constant_steps(OptimizerKind kind, const OptimizerOptions& options);

// Whether weight decay is a factor of the parameters, which depends on the rate, and no part of the gradient.
bool has_decoupled_decay(OptimizerKind kind, const OptimizerOptions& options);

// Whether its momentum is the first of two betas.
bool has_betas(OptimizerKind kind);

// Torch's names of a rule's states, in the order of UpdateTarget.
const std::vector<std::string>& state_names(OptimizerKind kind);
// Which of them it keeps.
void needed_states(OptimizerKind kind, const OptimizerOptions& options, bool (&needed)[3]);
// What they hold before the first step. Where it is an option, states are made with the optimizer, as torch does.
constexpr bool has_initial_value(OptimizerKind kind) { return kind == OptimizerKind::Adagrad; }
inline double initial_value(const OptimizerOptions& options) { return options.initial_accumulator_value; }

}  // namespace fastmlp
