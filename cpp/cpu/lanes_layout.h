// Where the values of a tiny network's pass lie, and how rows get there and back.
//
// The batch is cut into blocks of R rows: groups of U vectors of them, one but for more than four vectors, or, for up to
// four rows, a quad. A block is stored feature-major: value (feature f, row r) is at f * R + r. The last block has the
// groups that it needs, and padding, filled with copies of its last row and given zero gradients. Every array has room for
// whole vectors.
// Blocks form chunks: the unit of threading, each with gradient sums of its own.
#pragma once

#include <new>
#include <type_traits>

#include "cpu/loops.h"
#include "cpu/simd/quad.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Of a chunk: the work that pays for a thread, in weights times rows, of a prediction and of a training step, which has
// a fork and join at every step; and the most chunks that keep gradients.
constexpr Index kPredictionChunk = 128 * 1024, kTrainingChunk = 512 * 1024, kMostChunks = 16;
// Groups whose gradients are summed in T, before they are added to the chunk's sums in double (see sums.h).
constexpr Index kFoldGroups = 32;
// The groups of a block are a power of two, so that they divide those; at most so many, and so many bytes of values, which
// stay in L1 beside the weights and their sums.
constexpr Index kMostGroups = 8, kBlockBytes = 24 * 1024;
// What an activation costs, in weights.
constexpr Index kActivationWork = 8;
// Small batches are loaded ahead, several at once: at most so many batches, and so many values. In evaluation the rows of
// all blocks stay loaded, if they are no more than that.
constexpr Index kPreloadedValues = 4096, kMostPreloaded = 16;

// Room for so many features of a block of R rows.
template <class T>
FASTMLP_INLINE Index lanes_values(Index features, Index R) {
  return round_up(features * R, Vec<T>::lanes);
}

// Offsets are in elements from the start of the buffer.
template <class T>
struct LanesPlan {
  static constexpr Index lanes = Vec<T>::lanes;
  Index rows, row_lanes, U, groups, R, blocks, blocks_per_chunk, chunks;
  Index preloaded;                       // batches that are loaded at once
  bool keeps_rows;                       // what is loaded of all blocks, not of one in a chunk
  Index in, out, width;                  // first, last, and largest layer width
  Index parameters;                      // of all layers, biases included ...
  Index padded;                          // ... up to a whole vector
  Index saved_per_block, saved_per_row;  // activations (and inputs of activations where needed)
  Index x, t, weights, params, dy, saved, ping, accumulators, totals, gradients, loss, size;  // totals, loss: doubles

  LanesPlan(const LanesLayer<T>* layers, int depth, Index rows_, bool training) : rows(rows_) {
    row_lanes = kHasQuads<T> && rows <= 4 ? 4 : lanes;
    Index work = 0;  // of a row
    for (int l = 0; l < depth; ++l) work += (layers[l].in + kActivationWork) * layers[l].out;
    U = rows <= lanes ? 1 : rows <= 2 * lanes ? 2 : 4;
    // One block would be one thread's. Two cost a single thread up to 5% more.
    if (!training && U == 4 && rows <= 4 * lanes && work * rows >= 2 * kPredictionChunk) U = 2;
    R = U * row_lanes;  // of a group, until the widths are known
    in = layers[0].in;
    out = layers[depth - 1].out;
    parameters = saved_per_block = 0;
    Index inner = out;  // the largest width behind the inputs
    for (int l = 0; l < depth; ++l) {
      parameters += (layers[l].in + 1) * layers[l].out;
      saved_per_block += saved_size(layers[l]);
      inner = larger(inner, layers[l].out);
    }
    width = larger(in, inner);
    padded = round_up(parameters, lanes);
    groups = 1;
    if (U == 4) {
      const Index group_bytes = (values(in + 2 * out + 2 * inner) + saved_per_block) * static_cast<Index>(sizeof(T));
      while (groups < kMostGroups && groups * R < rows && 2 * groups * group_bytes <= kBlockBytes) groups *= 2;
    }
    saved_per_row = saved_per_block / R;
    const Index padded_rows = round_up(rows, R);
    R *= groups;
    saved_per_block *= groups;
    blocks = ceil_div(rows, R);
    blocks_per_chunk = ceil_div(training ? kTrainingChunk : kPredictionChunk, work * R);
    if (training) blocks_per_chunk = larger(blocks_per_chunk, ceil_div(blocks, kMostChunks));
    chunks = ceil_div(blocks, blocks_per_chunk);
    blocks_per_chunk = ceil_div(blocks, chunks);  // all alike, but for what does not divide
    chunks = ceil_div(blocks, blocks_per_chunk);
    preloaded = training ? larger(1, smaller(kMostPreloaded, kPreloadedValues / (padded_rows * (in + out)))) : 1;
    keeps_rows = training || padded_rows * (in + out) <= kPreloadedValues;
    const Index kept = training ? blocks : chunks;                    // blocks alive at once
    const Index loaded = preloaded * (keeps_rows ? blocks : chunks);  // and with their rows
    Index end = 0;
    const auto take = [&end](Index n) {
      const Index at = end;
      end += round_up(n, 16);
      return at;
    };
    x = take(loaded * values(in));
    saved = take(kept * saved_per_block);
    t = take(loaded * values(out));
    weights = take(loaded * values(out));  // of the targets, where they have such
    params = take(loaded * values(out));
    dy = take(training ? blocks * values(out) : 0);
    ping = take(training ? chunks * 2 * values(width) : 0);
    accumulators = take(training ? chunks * padded * row_lanes : 0);
    constexpr Index kDouble = static_cast<Index>(sizeof(double) / sizeof(T));
    totals = take(training && folds() ? chunks * padded * kDouble : 0);
    gradients = take(training ? padded : 0);
    loss = take(chunks * kDouble);
    size = end;
  }

  Index values(Index features) const { return lanes_values<T>(features, R); }
  Index saved_size(const LanesLayer<T>& layer) const {
    return values(layer.out) * (saves_input(layer.activation.kind) ? 2 : 1);
  }
  bool folds() const { return smaller(blocks_per_chunk, blocks) * groups > kFoldGroups; }
  Index rows_in(Index block) const { return smaller(R, rows - block * R); }
};

template <class T>
Index lanes_plan(const LanesLayer<T>* layers, int depth, Index rows, bool training, LanesPlanStorage& storage) {
  static_assert(sizeof(LanesPlan<T>) <= sizeof(storage.bytes));
  return (new (storage.bytes) LanesPlan<T>(layers, depth, rows, training))->size;
}
template <class T>
FASTMLP_INLINE const LanesPlan<T>& plan_of(const LanesArgs<T>& a) {
  return *reinterpret_cast<const LanesPlan<T>*>(a.plan->bytes);
}

// out[j * R + i] = rows[i][column + j] for i, j < 4.
template <class T>
FASTMLP_INLINE void transpose_4x4(const T* const (&rows)[4], Index column, T* out, Index R) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(alignof(T)), may_alias));
  Four in[4];
  for (int i = 0; i < 4; ++i) in[i] = *reinterpret_cast<const Four*>(rows[i] + column);
  const Four low01 = __builtin_shufflevector(in[0], in[1], 0, 4, 1, 5);
  const Four high01 = __builtin_shufflevector(in[0], in[1], 2, 6, 3, 7);
  const Four low23 = __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5);
  const Four high23 = __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7);
  *reinterpret_cast<Four*>(out) = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
  *reinterpret_cast<Four*>(out + R) = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
  *reinterpret_cast<Four*>(out + 2 * R) = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
  *reinterpret_cast<Four*>(out + 3 * R) = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

// Rows of a row-major matrix into a block; missing rows repeat the last one, or are zero.
template <class T>
void load_block(const T* x, const Index* ids, Index first_row, Index n, Index columns, Index R, bool zero_padding,
                T* block) {
  // Narrow matrices, which the compiler is told of, need no inner loop.
  const auto copy_rows = [&](auto width) __attribute__((always_inline)) {
    for (Index r = 0; r < n; ++r) {
      const T* source = x + (ids ? ids[first_row + r] : first_row + r) * width;
      for (Index c = 0; c < width; ++c) block[c * R + r] = source[c];
    }
  };
  const auto transpose_rows = [&] {
    const auto row = [&](Index r) { return x + (ids ? ids[first_row + r] : first_row + r) * columns; };
    Index r = 0;
    for (; r + 4 <= n; r += 4) {
      const T* const rows[4] = {row(r), row(r + 1), row(r + 2), row(r + 3)};
      Index c = 0;
      for (; c + 4 <= columns; c += 4) transpose_4x4(rows, c, block + c * R + r, R);
      for (; c < columns; ++c)
        for (int i = 0; i < 4; ++i) block[c * R + r + i] = rows[i][c];
    }
    for (; r < n; ++r)
      for (Index c = 0; c < columns; ++c) block[c * R + r] = row(r)[c];
  };
  switch (columns) {
    case 1:
      copy_rows(std::integral_constant<Index, 1>{});
      break;
    case 2:
      copy_rows(std::integral_constant<Index, 2>{});
      break;
    case 3:
      copy_rows(std::integral_constant<Index, 3>{});
      break;
    default:
      transpose_rows();
  }
  for (Index r = n; r < R; ++r)
    for (Index c = 0; c < columns; ++c) block[c * R + r] = zero_padding ? T(0) : block[c * R + n - 1];
}

template <class T>
void store_block(const T* block, Index R, Index n, Index columns, T* y) {
  for (Index r = 0; r < n; ++r)
    for (Index c = 0; c < columns; ++c) y[r * columns + c] = block[c * R + r];
}

}  // namespace fastmlp::FASTMLP_ISA_NS
