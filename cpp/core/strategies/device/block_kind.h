// Networks that a device trains in one launch, a block for each.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/contracts/device_steps.h"
#include "core/strategies/runner.h"

namespace fastmlp {

// What those of one launch have in common.
struct BlockKind {
  std::vector<SingleBlockLayer> layers;
  std::optional<RowActivationKind> row_activation;
  UpdateKind rule;
  bool states[3];
  Index steps;  // that the parameters have seen
  bool one_update;

  bool operator==(const BlockKind&) const = default;
  // Equal for equal kinds.
  std::string key() const;
  // Steps of such networks, as far as the kind tells; it points to `layers`.
  template <class T>
  SingleBlockTraining<T> training() const;
};

// Affine operations, and at most a row activation at the end; one optimizer's group updates all that is trained, whose
// `slots` are given. Empty for other networks.
template <class T>
std::optional<BlockKind> block_kind(const Program<T>& program, const Optimizer<T>& optimizer,
                                    const std::vector<int>& slots);

// Whether the network is one to train so, in batches of so many rows: the key of its kind, or nothing. Networks of one key
// and dtype, on the same device and with the same loss, are trained in one launch.
template <class T>
std::optional<std::string> group_key(const Program<T>& program, const Optimizer<T>& optimizer, const LossSpec& loss,
                                     Index rows);

}  // namespace fastmlp
