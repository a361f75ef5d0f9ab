// Numbered tasks that may throw, shared out to threads.
#pragma once

#include <exception>
#include <type_traits>
#include <vector>

#include "core/thread_pool.h"

namespace fastmlp {

// body(task), or body(task, worker), for every task, on up to `workers` threads, which are numbered from 0; throws what the
// first of those that failed has thrown.
template <class Body>
void for_tasks(Index tasks, int workers, const Body& body) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(tasks));
  auto run = [&](int task, int worker) {
    try {
      if constexpr (std::is_invocable_v<const Body&, Index, int>)
        body(Index{task}, worker);
      else
        body(Index{task});
    } catch (...) {
      errors[static_cast<std::size_t>(task)] = std::current_exception();
    }
  };
  const Executor executor = thread_pool_executor();
  executor.run(
      executor.pool, workers < executor.workers ? workers : executor.workers, static_cast<int>(tasks),
      [](void* context, int task, int worker) { (*static_cast<decltype(run)*>(context))(task, worker); }, &run);
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}
template <class Body>
void for_tasks(Index tasks, const Body& body) {
  for_tasks(tasks, kMostThreads, body);
}

}  // namespace fastmlp
