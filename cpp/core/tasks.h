// Numbered tasks that may throw, shared out to threads.
#pragma once

#include <exception>
#include <mutex>
#include <type_traits>

#include "core/thread_pool.h"

namespace fastmlp {

// body(task), or body(task, worker), for every task, on up to `workers` threads, which are numbered from 0; throws what the
// first of those that failed has thrown.
template <class Body>
void for_tasks(Index tasks, int workers, const Body& body) {
  std::mutex lock;  // of what follows
  Index failed = tasks;
  std::exception_ptr error;
  auto run = [&](int task, int worker) {
    try {
      if constexpr (std::is_invocable_v<const Body&, Index, int>)
        body(Index{task}, worker);
      else
        body(Index{task});
    } catch (...) {
      const std::lock_guard guard(lock);
      if (task >= failed) return;
      failed = task;
      error = std::current_exception();
    }
  };
  const Executor executor = thread_pool_executor();
  executor.run(
      executor.pool, workers < executor.workers ? workers : executor.workers, static_cast<int>(tasks),
      [](void* context, int task, int worker) { (*static_cast<decltype(run)*>(context))(task, worker); }, &run);
  if (error) std::rethrow_exception(error);
}
template <class Body>
void for_tasks(Index tasks, const Body& body) {
  for_tasks(tasks, kMostThreads, body);
}

}  // namespace fastmlp
