// Random orders of rows.
#pragma once

#include <span>

#include "core/philox.h"
#include "core/types.h"

namespace fastmlp {

// ids becomes a random permutation of 0 .. n-1 (Fisher and Yates): step i takes number i of the stream.
void shuffle(std::span<Index> ids, const Philox4x32& random);

}  // namespace fastmlp
