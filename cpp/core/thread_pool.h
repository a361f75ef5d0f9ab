// The only threading in the core: a pool of workers that share out numbered tasks.
//
// The caller works too, as worker 0. Tasks are dealt out statically: worker i of n takes i, i + n, ... A worker that
// waits spins for some microseconds, then sleeps. While one thread uses the pool, another caller's tasks run on that
// caller alone, and so do those that a task starts: kernels give the same bits either way. The workers of a forked child are started anew on first use.
#pragma once

#include "core/backend.h"

namespace fastmlp {

// The number of threads that kernels may use; at first FASTMLP_NUM_THREADS, else OMP_NUM_THREADS, else the processors
// that this process may use (see processors.h). Throws std::invalid_argument unless 1 <= n <= kMostThreads.
inline constexpr int kMostThreads = 256;
int num_threads();
void set_num_threads(int n);
// Of those, how many the kernels that this thread calls may use.
void limit_own_threads(int n);

// An executor for the current number of threads.
Executor thread_pool_executor();

}  // namespace fastmlp
