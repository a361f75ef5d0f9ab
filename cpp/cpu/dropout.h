// Dropout, with the random words of many values at once.
#pragma once

#include "core/dropout.h"
#include "cpu/elementwise.h"
#include "cpu/random_words.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
void dropout(const DropoutState& state, Index layer, double p, Index first, Index n, const T* x, T* y,
             const Context& context) {
  const Philox4x32 random = dropout_random(state, layer);
  const DropoutMap<T> map(p);
  constexpr Index kWords = 64;
  static_assert(kWords % (4 * kBlocksAtOnce) == 0);
  parallel_ranges(context, n, kPiece, [&](Index begin, Index end) {
    std::uint32_t words[kWords];
    for (Index i = begin; i < end; i += kWords) {
      const Index count = smaller(kWords, end - i);
      random_words(random, static_cast<std::uint64_t>(first + i) / 4, count, words);
      for (Index j = 0; j < count; ++j) y[i + j] = map(words[j], x[i + j]);
    }
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
