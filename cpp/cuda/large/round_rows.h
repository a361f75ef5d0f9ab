// A matrix's values, or those of chosen rows of it, in bfloat16, rows without gaps: eight of them a thread at a time, 32 bytes in and 16 out.
#pragma once

#include <algorithm>

#include "cuda/block/batch_rows.h"
#include "cuda/block/mma.h"

namespace fastmlp::cuda {

struct RoundRows {
  static constexpr int kThreads = 256, kValues = 8;
  struct Params {
    const float* from;
    std::uint16_t* to;
    Index rows, columns, ld;  // columns and ld in whole vectors
    BatchRows batch = {};
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<RoundRows>& block, const Params& p) {
    const Dim index = block.index(), grid = block.grid();
    block.each_alone([&](int thread, Registers&) {
      const Index step = Index{grid.x} * kThreads * kValues;
      for (Index row = index.y; row < p.rows; row += grid.y) {
        const float* const values = p.from + (p.batch.chosen ? p.batch.of(row) : row) * p.ld;
        for (Index at = (Index{index.x} * kThreads + thread) * kValues; at < p.columns; at += step) {
          const auto* const from = reinterpret_cast<const Vector<float>*>(values + at);
          const Vector<float> a = from[0], b = from[1];
          Vector<std::uint32_t> words;
          FASTMLP_UNROLL
          for (int i = 0; i < 2; ++i) {
            words.v[i] = BF16::word(a.v[2 * i], a.v[2 * i + 1]);
            words.v[2 + i] = BF16::word(b.v[2 * i], b.v[2 * i + 1]);
          }
          auto* const to = p.to + row * p.columns + at;
#if defined(__CUDA_ARCH__)  // one store: nvcc makes four of the one below
          __stwb(reinterpret_cast<uint4*>(to), make_uint4(words.v[0], words.v[1], words.v[2], words.v[3]));
#else
          *reinterpret_cast<Vector<std::uint32_t>*>(to) = words;
#endif
        }
      }
    });
  }
};

// On a device of so many multiprocessors: as many blocks as stand at once, if there is work for them.
inline void round_rows(RoundRows::Params work, int multiprocessors, Stream stream) {
  constexpr Index kBlockValues = Index{RoundRows::kThreads} * RoundRows::kValues, kMostRows = 65535;
  if (work.ld == work.columns && !work.batch.chosen) {
    work.columns *= work.rows;
    work.ld = work.columns;
    work.rows = 1;
  }
  const Index most = Index{8} * multiprocessors;
  const Index across = std::min(most, (work.columns + kBlockValues - 1) / kBlockValues);
  const Index down = std::min({work.rows, std::max<Index>(1, most / across), kMostRows});
  launch<RoundRows>({static_cast<int>(across), static_cast<int>(down), 1}, 0, work, stream);
}

}  // namespace fastmlp::cuda
