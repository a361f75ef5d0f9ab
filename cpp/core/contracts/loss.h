// The loss of a batch and its gradient. The formulas are in ops/losses.h.
#pragma once

#include <string>

#include "core/contracts/context.h"

namespace fastmlp {

// What becomes of the values of rows or elements. BatchMean: their sum by the rows. None: each for itself.
enum class Reduction : int { Sum, Mean, BatchMean, None };

// A loss and its numeric options; what it has for each column comes with the targets.
struct LossSpec {
  LossKind kind = LossKind::MSE;
  double alpha = 1;  // see ops::LossParams
  Reduction reduction = Reduction::Mean;
  bool full = false;
  double label_smoothing = 0;
  double whole = 0;  // where the batch is a part of one: that one's share, by which a mean divides; 0: it is not

  // By name. Throws std::invalid_argument for an unknown option, or a value out of range.
  void set(const std::string& option, double value);
  bool operator==(const LossSpec&) const = default;

  // Values that a row of so many outputs has.
  Index values_of_row(Index columns) const {
    return is_class_loss(kind) ? 1 : is_pair_loss(kind) ? columns / 2 : columns;
  }
  // What a mean divides by, for each unit of weight that the rows have.
  Index terms_of_row(Index columns) const { return reduction == Reduction::Mean ? values_of_row(columns) : 1; }
  bool is_mean() const { return reduction == Reduction::Mean || reduction == Reduction::BatchMean; }
  // What the sum of the values is multiplied by; `share` is the sum of the rows' shares. A batch without any weight has
  // a loss and gradients of 0.
  FASTMLP_IN_KERNELS double scale(double share, Index columns) const {
    if (!is_mean()) return 1;
    if (whole > 0) share = whole;
    return share > 0 ? 1 / (share * static_cast<double>(terms_of_row(columns))) : 0;
  }
  LossSpec summed() const {
    LossSpec spec = *this;
    spec.reduction = Reduction::Sum;
    return spec;
  }
  LossSpec part_of(double share) const {
    LossSpec spec = *this;
    spec.whole = share;
    return spec;
  }
};

// Targets of a batch: `dense` (rows x columns) or, for class losses, `classes` (rows); the other is null. `weights`
// (rows), or null: how much each row counts; a row of weight 0 adds nothing, whatever its values are. Pair losses of k
// means and k variances find each target twice, in columns c and k + c.
template <class T>
struct Targets {
  const T* dense = nullptr;
  const Index* classes = nullptr;
  const T* weights = nullptr;
  const T* column_weights = nullptr;  // of each column, or class; null: 1. Pair losses look at none
  const T* column_params = nullptr;   // of each column, see ops::LossParams; null: 1

  // Those of the rows from number `row` on; dense targets have `columns` columns.
  FASTMLP_IN_KERNELS Targets from(Index row, Index columns) const {
    Targets later = *this;
    if (dense) later.dense += row * columns;
    if (classes) later.classes += row;
    if (weights) later.weights += row;
    return later;
  }

  // Whether rows differ in what they count for in a mean ...
  FASTMLP_FORMULA bool has_shares() const { return weights || (classes && column_weights); }
  // ... and that of a row: its weight, times its class's.
  FASTMLP_FORMULA double share(Index row) const {
    const double own = weights ? static_cast<double>(weights[row]) : 1;
    return classes && column_weights ? own * static_cast<double>(column_weights[classes[row]]) : own;
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
  double* partial;      // loss_partials(rows) values
  double* value;        // receives the loss
  T* values = nullptr;  // on the host, unless null: receives each value, times its weights; none is divided by anything
};

}  // namespace fastmlp
