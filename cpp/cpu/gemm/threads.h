// How a product is shared out among threads: each takes a part of C, whole sums. (Products with few rows may share out the
// blocks of a sum, see skinny.h.)
#pragma once

#include "cpu/gemm/blocking.h"
#include "cpu/gemm/product.h"

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

// body(m_begin, m_end, n_begin, n_end, worker) for the parts of a product, on all threads.
template <class T, class Body>
void for_parts(const Gemm<T>& g, const Context& context, const Body& body) {
  using Block = Blocking<T>;
  const Grid grid = choose_grid<T>(g.M, g.N, g.K, g.split_columns, context.executor.workers);
  const Index m_step = round_up(ceil_div(g.M, grid.m), grid.m > 1 ? Block::MR : 1);
  const Index n_step = round_up(ceil_div(g.N, grid.n), Block::NR);
  const Index m_parts = ceil_div(g.M, m_step), n_parts = ceil_div(g.N, n_step);
  parallel_tasks(context, m_parts * n_parts, [&](Index task, int worker) {
    const Index m0 = task / n_parts * m_step, n0 = task % n_parts * n_step;
    body(m0, smaller(g.M, m0 + m_step), n0, smaller(g.N, n0 + n_step), worker);
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
