// The forward pass of few rows, which is bound by reading W: each value is read once, 16 bytes at a time.
//
// A block has some columns and a part of the sum. Its threads stand side by side along the columns, in groups that take
// every kGroups-th row of W, several at once, so that memory has much to do at a time.
#pragma once

#include "cuda/affine/column_sums.h"
#include "cuda/affine/epilogue.h"

namespace fastmlp::cuda {

// kM: rows of x, at most. kV: W's values that a thread takes at once, those of a Vector or one.
template <class T, int kM, int kV>
struct FewRows {
  static constexpr int kThreads = 256, kBlocks = 1;  // rather few blocks than spilled registers
  // W's rows that a thread has under way: fewer where it needs the registers for sums.
  static constexpr int kBatch = kM > 4 ? 4 : 8;
  static constexpr int kOutputs = kM * kV;  // of a thread
  static constexpr int kSumBytes = kThreads * kOutputs * static_cast<int>(sizeof(T));
  static constexpr int kSharedBytes = kSumBytes + 16;

  struct Params {
    Index M, N, K;
    const T* x;
    Index ldx;
    const T* weight;
    int across;  // threads along the columns, a power of 2
    int parts;   // of the sum, each in a block of its own
    Index part;  // the length of one
    SharedSums shared;
    ForwardEpilogue<T> epilogue;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<FewRows>& block, const Params& p) { run_in(block, p); }

  // In a block of any kernel with as many threads; whether the columns of the block are finished, and by it.
  template <class Kernel>
  static FASTMLP_DEVICE bool run_in(Block<Kernel>& block, const Params& p) {
    T* const sums = reinterpret_cast<T*>(block.shared());
    const int outputs = p.across * kOutputs, groups = kThreads / p.across;
    const int part = block.index().x % p.parts, place = block.index().x / p.parts;
    const Index first = Index{place} * p.across * kV, begin = part * p.part;
    const Index end = p.K < begin + p.part ? p.K : begin + p.part;

    block.each([&](int thread, auto&) {
      T own[kM][kV] = {};
      const Index column = first + thread % p.across * kV;
      if (column < p.N)
        for (Index k = begin + thread / p.across; k < end; k += Index{kBatch} * groups)
          add_rows(own, p, column, k, groups, end);
      // Of a group: for each row, the columns side by side.
      T* const at = sums + thread / p.across * outputs + thread % p.across * kV;
      FASTMLP_UNROLL
      for (int m = 0; m < kM; ++m) {
        FASTMLP_UNROLL
        for (int v = 0; v < kV; ++v) at[m * p.across * kV + v] = own[m][v];
      }
    });
    tree_sums(block, sums, outputs, groups * outputs);

    T* const shared_parts = p.shared.template parts<T>() + Index{place} * p.parts * outputs;
    const auto constants = p.epilogue.prepare();
    if (p.parts > 1) {
      block.each_alone([&](int thread, auto&) {
        for (int i = thread; i < outputs; i += kThreads) shared_parts[part * outputs + i] = sums[i];
      });
      int* const last = reinterpret_cast<int*>(block.shared() + kSumBytes);
      if (!arrives_last(block, last, p.shared.counters + place, p.parts)) return false;
    }
    block.each_alone([&](int thread, auto&) {
      FASTMLP_UNROLL_BY(1)
      for (int i = thread * kFinish; i < outputs; i += kThreads * kFinish) {
        Quad<T> quad = {};
        if (p.parts == 1) {
          FASTMLP_UNROLL
          for (int j = 0; j < kFinish; ++j) quad.v[j] = sums[i + j];
        } else {
          FASTMLP_UNROLL_BY(8)
          for (int other = 0; other < p.parts; ++other) {
            FASTMLP_UNROLL
            for (int j = 0; j < kFinish; ++j) quad.v[j] += load_part(shared_parts + other * outputs + i + j);
          }
        }
        const Index row = i / (p.across * kV), column = first + i % (p.across * kV), left = p.N - column;
        if (row < p.M && left > 0) {
          const int count = left < kFinish ? static_cast<int>(left) : kFinish;
          p.epilogue.finish(constants, p.epilogue.fetch(row, column, count), row, column, count, quad);
        }
      }
    });
    return true;
  }

 private:
  static constexpr int kFinish = kV < 4 ? kV : 4;  // outputs that a thread finishes at a time

  // Products of W's rows k, k + groups, ...
  static FASTMLP_DEVICE void add_rows(T (&own)[kM][kV], const Params& p, Index column, Index k, int groups, Index end) {
    T w[kBatch][kV], x[kBatch][kM];
    FASTMLP_UNROLL
    for (int b = 0; b < kBatch; ++b) {
      const Index row = k + Index{b} * groups;
      load(w[b], p.weight + row * p.N + column, row < end);
      FASTMLP_UNROLL
      for (int m = 0; m < kM; ++m) x[b][m] = row < end && m < p.M ? p.x[m * p.ldx + row] : T(0);
    }
    FASTMLP_UNROLL
    for (int b = 0; b < kBatch; ++b) {
      FASTMLP_UNROLL
      for (int i = 0; i < kM * kV; ++i)
        own[i / kV][i % kV] = math::fma(x[b][i / kV], w[b][i % kV], own[i / kV][i % kV]);
    }
  }

  static FASTMLP_DEVICE void load(T (&to)[kV], const T* from, bool there) {
    if constexpr (kV == 1) {
      to[0] = there ? *from : T(0);
    } else {
      const Vector<T> vector = load_vector(from, there ? kV : 0, true);
      FASTMLP_UNROLL
      for (int v = 0; v < kV; ++v) to[v] = vector.v[v];
    }
  }
};

}  // namespace fastmlp::cuda
