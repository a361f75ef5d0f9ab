// THE CHOICE of tile, and of the number of parts that a sum is split into, for each product of a layer.
//
// A tile of the result keeps one block busy for as long as its sums are. Large tiles load least for each product, and a
// layer of 128 x 512 outputs has 4 of them, for 132 multiprocessors. Smaller tiles spread it further; splitting the sum
// does, too, at the price of writing and reading parts. So the choice is the least of the times of a simple model: blocks
// are dealt out evenly; a block takes the longest of multiplying, loading and waiting for what is under way, for each stage
// of the sum, and some time to begin and to end, which grows with the tile, and which blocks of a multiprocessor share.
//
// The model's numbers are estimates from an H200's data sheet and from the kernels' instructions, in cycles, not
// measurements.
#pragma once

#include <algorithm>

#include "core/types.h"
#include "cuda/affine/tile.h"
#include "cuda/block/split.h"

namespace fastmlp::cuda {

struct TilePlan {
  TileKind tile;
  int tiles_across, tiles;
  int parts;   // of the sum
  Index part;  // length of one
};

struct TileSize {
  Index rows, columns;
  std::size_t shared_bytes;
};
template <class Size>
inline constexpr TileSize kSizeOf = {Size::Simt::kRows, Size::Simt::kColumns, Size::kSharedBytes};
inline constexpr TileSize kTileSizes[] = {kSizeOf<LargeTile>, kSizeOf<MediumTile>, kSizeOf<SmallTile>};

// Forward passes of so few rows read W once (few_rows.h); all others multiply tiles.
inline constexpr Index kFewRows = 8;

namespace model {

inline constexpr double kBegin = 1000;    // cycles: the first loads' way, the rows' numbers, the barrier
inline constexpr double kEnd = 600;       // sums through shared memory, and one round trip for each batch of results
inline constexpr double kMeeting = 1200;  // of blocks that share a sum: fence, counter, the way to the parts
inline constexpr double kBytesPerCycle = 24;    // from L2, for each multiprocessor
inline constexpr double kLatency = 700;         // of a load
inline constexpr double kStagesUnderWay = 3;    // while one is multiplied
inline constexpr double kFloatProducts = 128;   // multiply-adds a cycle of each multiprocessor
inline constexpr double kDoubleProducts = 64;   //
inline constexpr double kTensorProducts = 256;  // on tensor cores, what shared memory feeds them
// Blocks of a multiprocessor at a time, which wait together.
inline constexpr int kTogether[] = {1, 2, 2};
// The part of the multiply-adds' rate that is left beside reading shared memory and barriers.
inline constexpr double kEfficiency[] = {0.85, 0.75, 0.75};

}  // namespace model

// For a result of rows x columns, each the sum of `depth` products, of values of `value_bytes`; a block has `shared_bytes`
// of shared memory at most. The tile is of kind `from` to kind `to`.
inline TilePlan plan_tiles(Index rows, Index columns, Index depth, int value_bytes, bool tensor_cores,
                           int multiprocessors, std::size_t shared_bytes, TileKind from = TileKind::Large,
                           TileKind to = TileKind::Small) {
  constexpr Index kGrain = 8;  // parts begin where vectors do
  constexpr int kParts[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};
  const double products = tensor_cores       ? model::kTensorProducts
                          : value_bytes == 8 ? model::kDoubleProducts
                                             : model::kFloatProducts;
  TilePlan best{};
  double least = 0;
  // A large tile of float64 sums would take all registers.
  for (int kind = std::max(static_cast<int>(from), value_bytes == 8 ? 1 : 0); kind <= static_cast<int>(to); ++kind) {
    const auto [down, wide, needs] = kTileSizes[kind];
    if (kind < 2 && needs > shared_bytes) continue;
    const Index stage = kind == 0 ? 16 : 128 / value_bytes;
    const Index across = (columns + wide - 1) / wide, tiles = across * ((rows + down - 1) / down);
    const double tile_bytes = static_cast<double>((down + 1) * wide * value_bytes);  // a row for column sums
    const double loading = static_cast<double>((down + wide) * stage * value_bytes) / model::kBytesPerCycle;
    const double multiplying = static_cast<double>(down * wide * stage) / (products * model::kEfficiency[kind]);
    const double step = std::max({loading, multiplying, model::kLatency / model::kStagesUnderWay});
    const double end = model::kEnd + model::kLatency * static_cast<double>(std::max(down * wide / 4096, Index{1}));
    for (const int wanted : kParts) {
      const Index part = (depth + wanted * kGrain - 1) / (wanted * kGrain) * kGrain, parts = (depth + part - 1) / part;
      if (parts > 1 && (part < stage || tiles > kMostShared ||
                        static_cast<double>(tiles * parts) * tile_bytes > static_cast<double>(kPartBytes)))
        break;
      const Index rounds = (tiles * parts + multiprocessors - 1) / multiprocessors;
      const Index waits = (rounds + model::kTogether[kind] - 1) / model::kTogether[kind];
      double time = static_cast<double>(rounds * ((part + stage - 1) / stage)) * step +
                    static_cast<double>(waits) * (model::kBegin + end);
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

// Column sums: strips as above; parts of the rows until there are two blocks for each multiprocessor, as long as each thread
// has a batch of rows.
struct ColumnSumsPlan {
  int across;
  int strips, parts;
  Index part;
};

inline ColumnSumsPlan plan_column_sums(Index rows, Index columns, int values, int most_across, int threads, int batch,
                                       int value_bytes, int multiprocessors) {
  ColumnSumsPlan plan{1, 0, 1, rows};
  while (plan.across < most_across && plan.across * values < columns) plan.across *= 2;
  const Index width = Index{plan.across} * values, strips = (columns + width - 1) / width;
  const Index shortest = Index{threads / plan.across} * batch;
  const Index room = static_cast<Index>(kPartBytes) / (strips * width * value_bytes);
  const Index wanted = std::min((Index{2} * multiprocessors + strips - 1) / strips, (rows + shortest - 1) / shortest);
  const Index parts = strips > kMostShared ? 1 : std::max(std::min(wanted, room), Index{1});
  plan.strips = static_cast<int>(strips);
  plan.part = std::max((rows + parts - 1) / parts, Index{1});
  plan.parts = static_cast<int>(std::max((rows + plan.part - 1) / plan.part, Index{1}));
  return plan;
}

}  // namespace fastmlp::cuda
