// Locks that survive a fork: in the child, a lock that another thread of the parent held counts as free.
#pragma once

#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <thread>

namespace fastmlp {

// Counts the forks behind this process, from 1.
extern std::atomic<unsigned> fork_count_plus_one;
inline unsigned fork_generation() { return fork_count_plus_one.load(std::memory_order_relaxed); }

// For short critical sections. A waiting thread yields its processor.
class Lock {
 public:
  // Returns false if another thread held the lock when this process was forked: the data may then be half changed.
  bool lock() {
    const unsigned mine = fork_generation();
    for (;;) {
      unsigned holder = 0;
      if (holder_.compare_exchange_weak(holder, mine, std::memory_order_acquire)) return true;
      if (holder != 0 && holder != mine && holder_.compare_exchange_strong(holder, mine, std::memory_order_acquire))
        return false;
      std::this_thread::yield();
    }
  }
  void unlock() { holder_.store(0, std::memory_order_release); }

 private:
  std::atomic<unsigned> holder_{0};  // the fork generation of the holder's process; 0: nobody
};

class Locked {
 public:
  explicit Locked(Lock& lock) : lock_(lock), intact(lock.lock()) {}
  ~Locked() { lock_.unlock(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  Lock& lock_;

 public:
  const bool intact;
};

// Exclusive use of an object by one thread, for as long as a training lasts; other threads get an error. The owner may
// claim it again, from a callback.
class Owner {
 public:
  class Claim {
   public:
    // std::runtime_error where another thread has it.
    Claim(Owner& owner, const char* what) : owner_(owner), first_(owner.claim(what)) {}
    ~Claim() {
      if (first_) owner_.thread_.store(0, std::memory_order_release);
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;

   private:
    Owner& owner_;
    const bool first_;
  };

  // Whether this thread has it.
  bool is_mine() const { return thread_.load(std::memory_order_relaxed) == self(); }

 private:
  static std::size_t self() {
    static thread_local const char place = 0;
    return reinterpret_cast<std::size_t>(&place) ^ (static_cast<std::size_t>(fork_generation()) << 48);
  }
  bool claim(const char* what) {
    const std::size_t mine = self();
    std::size_t holder = 0;
    if (thread_.compare_exchange_strong(holder, mine, std::memory_order_acquire)) return true;
    if (holder == mine) return false;
    const bool of_this_process = holder >> 48 == mine >> 48;
    if (!of_this_process && thread_.compare_exchange_strong(holder, mine, std::memory_order_acquire)) return true;
    throw std::runtime_error(what);
  }

  std::atomic<std::size_t> thread_{0};
};

}  // namespace fastmlp
