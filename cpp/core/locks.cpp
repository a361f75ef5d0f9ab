#include "core/locks.h"

#include <pthread.h>

namespace fastmlp {

std::atomic<unsigned> fork_count_plus_one{1};

namespace {

[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { fork_count_plus_one.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

}  // namespace fastmlp
