// Derivatives with respect to weights, of each row by itself: a row of a matrix that has a column for each weight.
#pragma once

#include <algorithm>
#include <vector>

#include "core/contracts/affine.h"
#include "core/parameter.h"

namespace fastmlp {

// Where the weights of some parameters stand, one parameter after the other, each with its inputs side by side.
template <class T>
class WeightColumns {
 public:
  void add(const Parameter<T>* parameter) {
    first_.push_back({parameter, count_});
    count_ += parameter->size();
  }
  Index count() const { return count_; }
  // The first column; -1: none.
  Index of(const Parameter<T>* parameter) const {
    const auto found = std::find_if(first_.begin(), first_.end(), [&](const Own& own) { return own.of == parameter; });
    return found == first_.end() ? -1 : found->column;
  }

 private:
  struct Own {
    const Parameter<T>* of;
    Index column;
  };

  std::vector<Own> first_;
  Index count_ = 0;
};

// Adds to each row of the matrix the gradients x^T dz and dz of that row of an affine operation (see
// AffineBackwardWeight). `weight`, `bias`: their first columns; -1: not wanted.
template <class T>
void add_row_gradients(const AffineBackwardWeight<T>& args, Index weight, Index bias, Index columns, T* rows) {
  for (Index row = 0; row < args.M; ++row, rows += columns) {
    const T *const x = args.x + row * args.ldx, *const dz = args.dz + row * args.lddz;
    for (Index n = 0; n < args.N; ++n) {
      if (bias >= 0) rows[bias + n] += dz[n];
      if (weight < 0 || dz[n] == 0) continue;
      T* const own = rows + weight + n * args.K;
      for (Index k = 0; k < args.K; ++k) own[k] += dz[n] * x[k];
    }
  }
}

}  // namespace fastmlp
