#include "core/openmp_executor.h"

#include <algorithm>

#include "core/float_mode.h"
#include "core/locks.h"
#include "core/system.h"
#include "core/thread_pool.h"

namespace fastmlp {

namespace {

// What compilers call of GCC's runtime, and LLVM's, too.
struct Runtime {
  void (*parallel)(void (*body)(void*), void* data, unsigned threads, unsigned flags);
  int (*thread)();
  int (*threads)();
  int (*most_threads)();

  bool is_there() const { return parallel && thread && threads && most_threads; }
};

template <class Function>
void find(const char* name, Function& function) {
  function = reinterpret_cast<Function>(system::find_symbol(name));
}

const Runtime& runtime() {
  static const Runtime found = [] {
    Runtime runtime{};
    find("GOMP_parallel", runtime.parallel);
    find("omp_get_thread_num", runtime.thread);
    find("omp_get_num_threads", runtime.threads);
    find("omp_get_max_threads", runtime.most_threads);
    return runtime;
  }();
  return found;
}

struct Job {
  int tasks;
  Executor::Body body;
  void* context;
  std::uint64_t float_mode;
};

void work(void* data) {
  const Job& job = *static_cast<const Job*>(data);
  const std::uint64_t own = float_mode();
  set_float_mode(job.float_mode);
  const int worker = runtime().thread(), workers = runtime().threads();
  for (int task = worker; task < job.tasks; task += workers) job.body(job.context, task, worker);
  set_float_mode(own);
}

void run(void*, int workers, int tasks, Executor::Body body, void* context) {
  Job job{tasks, body, context, float_mode()};
  const int threads = std::min(workers, tasks);
  if (threads > 1) return runtime().parallel(work, &job, static_cast<unsigned>(threads), 0);
  for (int task = 0; task < tasks; ++task) body(context, task, 0);
}

}  // namespace

Executor openmp_executor() {
  const bool forked = fork_generation() != 1;  // GCC's runtime then waits for threads that are not there
  if (forked || !runtime().is_there()) return thread_pool_executor();
  return {nullptr, run, std::clamp(runtime().most_threads(), 1, kMostThreads)};
}

}  // namespace fastmlp
