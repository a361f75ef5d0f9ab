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
  bool nesterov = false, amsgrad = false, centered = false, maximize = false;

  // By torch's name. Throws std::invalid_argument for an unknown one.
  void set(const std::string& name, double value);
  std::vector<std::pair<std::string, double>> all() const;

  bool operator==(const OptimizerOptions&) const = default;
};

// The rule and the constants of step number `step` (from 1), as torch.optim forms them.
Update make_update(OptimizerKind kind, const OptimizerOptions& options, Index step);

// Whether its momentum is the first of two betas.
constexpr bool has_betas(OptimizerKind kind) { return kind == OptimizerKind::Adam || kind == OptimizerKind::AdamW; }

// Torch's names of a rule's states, in the order of UpdateTarget.
const std::vector<std::string>& state_names(OptimizerKind kind);
// Which of them it keeps.
void needed_states(OptimizerKind kind, const OptimizerOptions& options, bool (&needed)[3]);

}  // namespace fastmlp
