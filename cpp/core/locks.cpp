#include "core/locks.h"

#include <pthread.h>

namespace fastmlp {

namespace {

std::atomic<unsigned> generation{1};
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

unsigned fork_generation() { return generation.load(std::memory_order_relaxed); }

}  // namespace fastmlp
