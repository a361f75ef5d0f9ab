// Loops over contiguous values in vectors, with a tail; and loops over ranges in parallel.
//
// A body is called as body(offset, part): part is Full for a whole vector, or Tail{n} for the last n < lanes values.
// load and store take the part along, so that a body is written once.
#pragma once

#include "core/backend.h"
#include "cpu/isa.h"

namespace fastmlp::FASTMLP_ISA_NS {

struct Full {};
struct Tail {
  int n;
};

template <class T>
FASTMLP_INLINE int lanes_of(Full) {
  return Vec<T>::lanes;
}
template <class T>
FASTMLP_INLINE int lanes_of(Tail tail) {
  return tail.n;
}
template <class T>
FASTMLP_INLINE Vec<T> load(const T* p, Full) {
  return Vec<T>::load(p);
}
template <class T>
FASTMLP_INLINE Vec<T> load(const T* p, Tail tail) {
  return Vec<T>::load_n(p, tail.n);
}
template <class T>
FASTMLP_INLINE void store(T* p, Vec<T> v, Full) {
  v.store(p);
}
template <class T>
FASTMLP_INLINE void store(T* p, Vec<T> v, Tail tail) {
  v.store_n(p, tail.n);
}
// v in the lanes that exist, 0 elsewhere.
template <class T>
FASTMLP_INLINE Vec<T> keep(Vec<T> v, Full) {
  return v;
}
template <class T>
FASTMLP_INLINE Vec<T> keep(Vec<T> v, Tail tail) {
  return select(first_n_mask<T>(tail.n), v, Vec<T>(T(0)));
}

template <class T, class Body>
FASTMLP_INLINE void for_vectors(Index n, Body&& body) {
  constexpr Index lanes = Vec<T>::lanes;
  Index i = 0;
  for (; i + lanes <= n; i += lanes) body(i, Full{});
  if (i < n) body(i, Tail{static_cast<int>(n - i)});
}

constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }
constexpr Index smaller(Index a, Index b) { return a < b ? a : b; }
constexpr Index larger(Index a, Index b) { return a > b ? a : b; }

// body(task, worker) for every task < tasks, spread over the context's threads.
template <class Body>
FASTMLP_NOINLINE void run_task(void* body, int task, int worker) {
  (*static_cast<const Body*>(body))(Index(task), worker);
}
template <class Body>
void parallel_tasks(const Context& context, Index tasks, const Body& body) {
  void* const pointer = const_cast<void*>(static_cast<const void*>(&body));
  if (tasks <= 1 || context.executor.workers <= 1) {
    for (Index task = 0; task < tasks; ++task) run_task<Body>(pointer, static_cast<int>(task), 0);
    return;
  }
  context.executor.run(context.executor.pool, context.executor.workers, static_cast<int>(tasks), run_task<Body>,
                       pointer);
}

// body(begin, end) over [0, n) in pieces; small ranges, which do not pay for a thread, in one.
template <class Body>
void parallel_ranges(const Context& context, Index n, Index smallest_piece, const Body& body) {
  Index tasks = n > 0, step = n;
  if (n >= 2 * smallest_piece) {  // divisions take as long as a small range
    const Index pieces = larger(1, smaller(context.executor.workers, n / smallest_piece));
    step = round_up(ceil_div(n, pieces), 16);
    tasks = ceil_div(n, step);
  }
  parallel_tasks(context, tasks, [&](Index task, int) { body(task * step, smaller(n, (task + 1) * step)); });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
