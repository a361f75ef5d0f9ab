// Derivatives of a program with respect to its input, or to its weights, in evaluation mode; the parameters' gradients stay
// as they are.
//
// The Jacobian is formed in reverse: the rows run forward once, then what the pass has saved is repeated, so that each
// row stands once for every output, and the unit vectors go back as the gradients of these rows. All of it is the dense
// runner's own passes: an operation that has a backward rule has a Jacobian.
#pragma once

#include "core/strategies/dense/dense_runner.h"

namespace fastmlp {

template <class T>
class InputDerivatives {
 public:
  explicit InputDerivatives(const Program<T>& program);

  // jacobian[r][o][i] = d output o / d input i of row r of x: rows x out x columns.
  void jacobian(const T* x, Index rows, Index columns, T* jacobian);
  // jacobian[r][o][p] = d output o of row r / d weight p: rows x out x weights.count(); on the host.
  void of_weights(const T* x, Index rows, Index columns, const WeightColumns<T>& weights, T* jacobian);
  // The loss's gradient: rows x columns.
  void of_loss(const LossSpec& loss, const Batch<T>& batch, Index columns, T* dx);
  // That of the sum of all outputs times dy (null: times 1).
  void of_output(const T* dy, const T* x, Index rows, Index columns, T* dx);

  std::size_t bytes() const;

 private:
  // A pass of rows that each stand once for every output.
  void repeat(const T* x, Index rows, Index columns);
  void set_units(Index rows, Index out);
  const T* ones(Index size);
  Index out_columns(Index columns) const { return program_.out_features() < 0 ? columns : program_.out_features(); }

  const Program<T>& program_;
  DenseRunner<T> rows_, repeated_;
  Buffer<T> units_, ones_;  // gradients of the output
  Buffer<Index> ids_;       // the row that each repeated one is of
  Index unit_rows_ = 0, unit_out_ = 0;
};

}  // namespace fastmlp
