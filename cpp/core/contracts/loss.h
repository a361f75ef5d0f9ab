// The loss of a batch and its gradient. The formulas are in ops/losses.h.
#pragma once

#include <string>

#include "core/contracts/context.h"

namespace fastmlp {

// A loss and its options.
struct LossSpec {
  LossKind kind = LossKind::MSE;
  double delta = 1;  // Huber: where the square ends
  bool mean = true;  // over elements, or rows for class losses; else the sum

  // By name. Throws std::invalid_argument for an unknown option, or a value out of range.
  void set(const std::string& option, double value);
  bool operator==(const LossSpec&) const = default;
};

// Targets of a batch: `dense` (rows x columns) or, for class losses, `classes` (rows); the other is null. `weights`
// (rows), or null: how much each row counts (no kernel looks at them yet).
template <class T>
struct Targets {
  const T* dense = nullptr;
  const Index* classes = nullptr;
  const T* weights = nullptr;

  // Those of the rows from number `row` on; dense targets have `columns` columns.
  Targets from(Index row, Index columns) const {
    return {dense ? dense + row * columns : nullptr, classes ? classes + row : nullptr,
            weights ? weights + row : nullptr};
  }
};

// The loss of y (rows x columns) and, unless dy is null, its gradient with respect to y; `logits` asks for the
// gradient with respect to the input of the sigmoid or log-softmax that made y (BCE and NLL only). dy may be y.
template <class T>
struct LossArgs {
  LossSpec spec;
  Index rows, columns;
  const T* y;
  Targets<T> targets;
  bool logits;
  T* dy;
  double* partial;  // loss_partials(rows) values
  double* value;    // receives the loss
};

}  // namespace fastmlp
