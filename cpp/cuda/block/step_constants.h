// The constants of the steps' updates, of which each arrives in shared memory while the step before runs.
#pragma once

#include "cuda/block/by_kind.h"
#include "cuda/block/copy_async.h"

namespace fastmlp::cuda {

// Made by each phase that needs it from a place of kBytes, aligned to 8. A step's constants are fetched, awaited (and a
// barrier later) converted by one thread, and after one more barrier `rule` has them.
template <class T>
struct StepConstants {
  using Values = ops::UpdateValues<Real<T>>;
  static constexpr int kBytes = (2 * sizeof(Update) + sizeof(Values) + 7) / 8 * 8;

  Update* two;  // steps take turns
  Values* rule;

  explicit FASTMLP_DEVICE StepConstants(unsigned char* place)
      : two(reinterpret_cast<Update*>(place)), rule(reinterpret_cast<Values*>(place + 2 * sizeof(Update))) {}

  // The share of thread `thread` of `threads`.
  FASTMLP_DEVICE void fetch(const Update* updates, Index step, int thread, int threads) const {
    constexpr int kWords = sizeof(Update) / 8;
    static_assert(sizeof(Update) % 8 == 0);
    for (int word = thread; word < kWords; word += threads)
      copy_async<8>(reinterpret_cast<unsigned char*>(two + (step & 1)) + 8 * word,
                    reinterpret_cast<const unsigned char*>(updates + step) + 8 * word);
  }
  FASTMLP_DEVICE void convert(Index step) const { *rule = Values(two[step & 1].constants); }
};

}  // namespace fastmlp::cuda
