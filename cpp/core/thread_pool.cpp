#include "core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "core/float_mode.h"
#include "core/processors.h"
#include "core/system.h"

namespace fastmlp {

namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `done(value)`: spinning first, for a share of what a wake-up costs, then asleep.
template <class Value, class Done>
Value wait_until(const std::atomic<Value>& variable, const Done& done) {
  constexpr int kSpins = 2000;
  for (int spin = 0; spin < kSpins; ++spin) {
    const Value value = variable.load(std::memory_order_acquire);
    if (done(value)) return value;
    relax();
  }
  for (;;) {
    const Value value = variable.load(std::memory_order_acquire);
    if (done(value)) return value;
    system::sleep_while(variable, value);
  }
}

class ThreadPool {
 public:
  void run(int workers, int tasks, Executor::Body body, void* context) {
    workers = std::min(workers, tasks);
    std::unique_lock<std::mutex> lock(busy_, std::defer_lock);
    // The tasks of a task run in its thread: a worker finds the pool busy, and its caller is the owner.
    if (workers <= 1 || owner_.load(std::memory_order_relaxed) == std::this_thread::get_id() || !lock.try_lock()) {
      for (int task = 0; task < tasks; ++task) body(context, task, 0);
      return;
    }
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    workers = std::min(workers, 1 + grow(workers - 1));
    job_ = {body, context, tasks, workers, float_mode()};
    processor_.store(system::current_processor(), std::memory_order_relaxed);
    unfinished_.store(workers - 1, std::memory_order_relaxed);
    const unsigned number = std::max(number_.load(std::memory_order_relaxed) + 1, 1u);
    for (int worker = 1; worker < workers; ++worker) offers_[worker].number.store(number, std::memory_order_relaxed);
    // Sequentially consistent, like the decrement below: wake_all checks whether any thread sleeps, and that check must
    // not be reordered before the store, or a worker that is falling asleep would not wake.
    number_.store(number, std::memory_order_seq_cst);
    system::wake_all(number_);
    work(0, 0);
    // The caller runs the share of a worker that has not started: that worker may be waiting for a processor.
    for (int worker = 1; worker < workers; ++worker)
      if (take(worker, number)) {
        work(worker, 0);
        unfinished_.fetch_sub(1, std::memory_order_seq_cst);
      }
    wait_until(unfinished_, [](int n) { return n == 0; });
    owner_.store(std::thread::id{}, std::memory_order_relaxed);
  }

 private:
  struct Job {
    Executor::Body body;
    void* context;
    int tasks, workers;
    std::uint64_t float_mode;  // the caller's
  };
  // The number of the job in which a worker's share is still free. A late worker, or one that the job does not use, sees a
  // different number and returns without touching the job.
  struct alignas(64) Offer {
    std::atomic<unsigned> number{0};
  };

  bool take(int worker, unsigned number) {
    return offers_[worker].number.compare_exchange_strong(number, 0, std::memory_order_acq_rel);
  }

  // Runs the share of one worker; `self` is the number of the worker that runs it.
  void work(int worker, int self) const {
    for (int task = worker; task < job_.tasks; task += job_.workers) job_.body(job_.context, task, self);
  }

  // Starts threads until there are as many helpers; returns how many there are.
  int grow(int helpers) {
    try {
      while (static_cast<int>(threads_.size()) < helpers) {
        const int worker = static_cast<int>(threads_.size()) + 1;
        threads_.emplace_back([this, worker, seen = number_.load()] { loop(worker, seen); });
      }
    } catch (const std::exception&) {
      // The system refused a thread, or memory for it: fewer threads do the same work.
    }
    return static_cast<int>(threads_.size());
  }

  void loop(int worker, unsigned seen) {
    for (;;) {
      seen = wait_until(number_, [seen](unsigned number) { return number != seen; });
      // The scheduler may leave a worker on the processor of the caller that woke it: the two then run in turns, and every
      // wait spins in full.
      const int callers = processor_.load(std::memory_order_relaxed);
      if (callers >= 0 && system::current_processor() == callers) system::leave_processor(callers);
      if (!take(worker, seen)) continue;
      set_float_mode(job_.float_mode);
      work(worker, worker);
      if (unfinished_.fetch_sub(1, std::memory_order_seq_cst) == 1) system::wake_one(unfinished_);
    }
  }

  std::mutex busy_;
  std::atomic<std::thread::id> owner_{};  // the thread that has locked `busy_`, or none
  std::vector<std::thread> threads_;
  Job job_{};
  std::atomic<int> processor_{-1};               // of the caller
  alignas(64) std::atomic<unsigned> number_{0};  // of the last job
  Offer offers_[kMostThreads + 1];
  alignas(64) std::atomic<int> unfinished_{0};
};

// Never destroyed: its threads sleep until the process ends. A forked child has none of them, so it begins anew.
std::atomic<ThreadPool*> pool{nullptr};

ThreadPool& the_pool() {
  [[maybe_unused]] static const bool registered = [] {
    system::after_fork_in_child([] { pool.store(nullptr); });
    return true;
  }();
  ThreadPool* current = pool.load(std::memory_order_acquire);
  if (current == nullptr) {
    auto* fresh = new ThreadPool;
    if (pool.compare_exchange_strong(current, fresh)) return *fresh;
    delete fresh;
  }
  return *current;
}

int initial_threads() {
  if (const char* text = std::getenv("FASTMLP_NUM_THREADS"); text != nullptr && *text != '\0') {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (*end != '\0' || n < 1 || n > kMostThreads)
      throw std::invalid_argument("FASTMLP_NUM_THREADS: expected a number from 1 to " + std::to_string(kMostThreads) +
                                  ", got '" + text + "'");
    return static_cast<int>(n);
  }
  // OpenMP's variable may hold a list; it is not ours to judge.
  if (const char* text = std::getenv("OMP_NUM_THREADS"); text != nullptr) {
    const long n = std::strtol(text, nullptr, 10);
    if (n >= 1) return static_cast<int>(std::min<long>(n, kMostThreads));
  }
  return std::min(usable_processors(), kMostThreads);
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{initial_threads()};
  return count;
}

void check_threads(int n) {
  if (n < 1 || n > kMostThreads)
    throw std::invalid_argument("n: expected a number of threads from 1 to " + std::to_string(kMostThreads) + ", got " +
                                std::to_string(n));
}

// Every step asks for it; at a fixed place it costs a load, else a call.
#if defined(__linux__)
__attribute__((tls_model("initial-exec")))
#endif
thread_local int own_limit = kMostThreads;

}  // namespace

int num_threads() { return std::min(thread_count().load(std::memory_order_relaxed), own_limit); }

void set_num_threads(int n) {
  check_threads(n);
  thread_count().store(n, std::memory_order_relaxed);
}

void limit_own_threads(int n) {
  check_threads(n);
  own_limit = n;
}

Executor thread_pool_executor() {
  const auto run = [](void* p, int workers, int tasks, Executor::Body body, void* context) {
    static_cast<ThreadPool*>(p)->run(workers, tasks, body, context);
  };
  return {&the_pool(), run, num_threads()};
}

}  // namespace fastmlp
