// How a product is shared out among threads: each takes a part of C, whole sums. (Products with few rows may share out the
// blocks of a sum, see skinny.h.)
#pragma once

#include "cpu/gemm/blocking.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Into how many parts to split M and N.
struct Grid {
  Index m, n;
};

// The split with the least packing done twice. `split_columns`: by columns alone, as in x W, so that each thread has its
// part of W in its own cache.
template <class T>
Grid choose_grid(Index M, Index N, Index K, bool split_columns, Index workers) {
  constexpr Index kWorthAThread = 48 * 1024;  // multiply-adds
  const Index useful = smaller(workers, M * N * K / kWorthAThread);
  if (split_columns && N >= 2 * useful * Blocking<T>::NR) return {1, larger(useful, 1)};
  Grid best{1, 1};
  double best_cost = -1;
  for (Index m = 1; m <= useful; ++m) {
    const Index n = useful / m;
    const double tiles = static_cast<double>(ceil_div(ceil_div(M, Blocking<T>::MR), m)) * Blocking<T>::MR *
                         static_cast<double>(ceil_div(ceil_div(N, Blocking<T>::NR), n)) * Blocking<T>::NR;
    const double packing = static_cast<double>(ceil_div(M, m)) + static_cast<double>(ceil_div(N, n));
    const double cost = tiles + packing;  // per unit of K
    if (best_cost < 0 || cost < best_cost) {
      best_cost = cost;
      best = {m, n};
    }
  }
  return best;
}

}  // namespace fastmlp::FASTMLP_ISA_NS
