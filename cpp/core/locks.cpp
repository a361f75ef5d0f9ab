#include "core/locks.h"

#include <pthread.h>

namespace fastmlp {

std::atomic<unsigned> forks_and_one{1};

namespace {

[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forks_and_one.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

}  // namespace fastmlp
