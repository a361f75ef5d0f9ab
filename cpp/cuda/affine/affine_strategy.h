// THE CHOICE of tile, and of the number of parts that a sum is split into, for each product of a layer.
//
// A tile of the result keeps one block busy for as long as its sums are. Large tiles load least for each product: two
// values of an operand for 64 multiply-adds instead of 16. But a layer of 128 x 512 outputs has 4 of them, for 132
// multiprocessors. Smaller tiles spread it further; splitting the sum does, too, at the price of writing and reading
// parts. So the choice is the least of the times of a simple model: blocks are dealt out evenly; a block takes the
// longer of multiplying and waiting for memory, for each piece of the sum, and as much again to begin and end.
//
// The model's numbers are estimates from an H200's data sheet, in cycles, not measurements.
#pragma once

#include <algorithm>

#include "core/types.h"
#include "cuda/affine/tile.h"
#include "cuda/block/split.h"

namespace fastmlp::cuda {

enum class TileKind { Large, Medium, Small };

struct TilePlan {
  TileKind tile;
  int tiles_across, tiles;
  int parts;   // of the sum
  Index part;  // length of one
};

// Forward passes of so few rows read W once (few_rows.h); all others multiply tiles.
inline constexpr Index kFewRows = 8;

namespace model {

inline constexpr double kBeginAndEnd = 1500;     // cycles: the first loads' way, and the epilogue's
inline constexpr double kMeeting = 1200;         // of blocks that share a sum: fence, counter, the way to the parts
inline constexpr double kBytesPerCycle = 24;     // from L2, for each multiprocessor
inline constexpr double kLatency = 700;          // of a load, which must be over before its values are stored
inline constexpr double kFloatProducts = 128;    // multiply-adds a cycle of each multiprocessor
inline constexpr double kDoubleProducts = 64;    //
inline constexpr double kTensorProducts = 1024;  // on tensor cores, bfloat16; loading takes longer at any rate
// The part of the multiply-adds' rate that is left beside loads from shared memory.
inline constexpr double kEfficiency[] = {0.85, 0.75, 0.6};

}  // namespace model

// For a result of rows x columns, each the sum of `depth` products, of values of `value_bytes`.
inline TilePlan plan_tiles(Index rows, Index columns, Index depth, int value_bytes, bool tensor_cores,
                           int multiprocessors) {
  constexpr Index kGrain = 8;  // parts begin where vectors do
  constexpr int kSides[] = {LargeTile::kRows, MediumTile::kRows, SmallTile::kRows};
  constexpr int kParts[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};
  // A large tile of float64 sums would take all registers.
  const int largest = value_bytes == 8 ? 1 : 0;
  const double products = tensor_cores       ? model::kTensorProducts
                          : value_bytes == 8 ? model::kDoubleProducts
                                             : model::kFloatProducts;
  TilePlan best{};
  double least = 0;
  for (int kind = largest; kind < 3; ++kind) {
    const Index side = kSides[kind], piece = 2 * kTileThreads * 16 / value_bytes / side;
    const Index across = (columns + side - 1) / side, tiles = across * ((rows + side - 1) / side);
    const double tile_bytes = static_cast<double>(side * side * value_bytes);
    const double loading = static_cast<double>(2 * side * piece * value_bytes) / model::kBytesPerCycle;
    const double multiplying = static_cast<double>(side * side * piece) / (products * model::kEfficiency[kind]);
    const double step = std::max({loading, multiplying, model::kLatency});
    for (const int wanted : kParts) {
      const Index part = (depth + wanted * kGrain - 1) / (wanted * kGrain) * kGrain, parts = (depth + part - 1) / part;
      if (parts > 1 && (part < piece || tiles > kMostShared ||
                        static_cast<double>(tiles * parts) * tile_bytes > static_cast<double>(kPartBytes)))
        break;
      const Index rounds = (tiles * parts + multiprocessors - 1) / multiprocessors;
      double time = static_cast<double>(part) / static_cast<double>(piece) * step + model::kBeginAndEnd;
      time *= static_cast<double>(rounds);
      if (parts > 1) time += model::kMeeting + static_cast<double>(parts) * tile_bytes / model::kBytesPerCycle;
      if (least > 0 && time >= least) continue;
      least = time;
      best = {static_cast<TileKind>(kind), static_cast<int>(across), static_cast<int>(tiles), static_cast<int>(parts),
              part};
    }
  }
  return best;
}

// Few rows: the columns of a block are 8 vectors, 128 bytes of each row of W, or, where vectors cannot be loaded, 32
// values; fewer where W is narrower. The sum is split until there are two blocks for each multiprocessor, as long as
// each thread has work for one batch of loads.
struct FewRowsPlan {
  int across;  // threads along the columns
  int blocks_across;
  int parts;
  Index part;
};

inline FewRowsPlan plan_few_rows(Index columns, Index depth, int values, int threads, int batch, int outputs_bytes,
                                 int multiprocessors) {
  const int most = values > 1 ? 8 : 32;
  FewRowsPlan plan{1, 0, 1, depth};
  while (plan.across < most && plan.across * values < columns) plan.across *= 2;
  const Index blocks = (columns + plan.across * values - 1) / (plan.across * values);
  plan.blocks_across = static_cast<int>(blocks);
  const Index shortest = Index{threads / plan.across} * batch;
  Index parts = std::min((Index{2} * multiprocessors + blocks - 1) / blocks, (depth + shortest - 1) / shortest);
  const Index room = static_cast<Index>(kPartBytes) / (blocks * plan.across * outputs_bytes);
  parts = blocks > kMostShared ? 1 : std::max(std::min(parts, room), Index{1});
  plan.part = (depth + parts - 1) / parts;
  plan.parts = static_cast<int>((depth + plan.part - 1) / plan.part);
  return plan;
}

}  // namespace fastmlp::cuda
