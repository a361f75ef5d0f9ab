#include "core/locks.h"

#include "core/system.h"

namespace fastmlp {

std::atomic<unsigned> fork_count_plus_one{1};

namespace {

[[maybe_unused]] const bool registered = [] {
  system::after_fork_in_child([] { fork_count_plus_one.fetch_add(1, std::memory_order_relaxed); });
  return true;
}();

}  // namespace

}  // namespace fastmlp
