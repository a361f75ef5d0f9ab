// A plan of a device's product with a given tile and a given number of parts of the sum, in place of the table's choice.
#pragma once

#include "cuda/affine/affine_kernels.h"

namespace fastmlp::testing {

inline cuda::TilePlan tile_plan_of(cuda::TileKind tile, Index rows, Index columns, Index depth, Index parts) {
  const auto [down, wide, bytes] = cuda::kTileSizes[static_cast<int>(tile)];
  (void)bytes;
  const Index across = (columns + wide - 1) / wide, part = (depth + parts * 8 - 1) / (parts * 8) * 8;
  return {tile, static_cast<int>(across), static_cast<int>(across * ((rows + down - 1) / down)),
          static_cast<int>((depth + part - 1) / part), part};
}

}  // namespace fastmlp::testing
