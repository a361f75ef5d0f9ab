#include "core/shuffle.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "core/backend.h"
#include "core/rng.h"

namespace fastmlp {

void shuffle(std::span<Index> ids, const Philox4x32& random) {
  constexpr std::size_t kAtOnce = 128, kBlock = 4;  // numbers, of two words each; words of a block
  std::uint32_t words[2 * kAtOnce];
  const auto random_words = active_isa().random_words;
  std::iota(ids.begin(), ids.end(), Index{0});
  for (std::size_t end = ids.size(); end > 1;) {
    const std::size_t begin = (end - 1) / kAtOnce * kAtOnce;
    random_words(random, 2 * begin / kBlock, static_cast<Index>(2 * (end - begin)), words);
    for (std::size_t i = end - 1; i >= std::max<std::size_t>(begin, 1); --i) {
      const std::uint32_t* const own = words + 2 * (i - begin);
      std::swap(ids[i], ids[below(join(own[0], own[1]), i + 1)]);
    }
    end = begin;
  }
}

}  // namespace fastmlp
