// Column sums of a matrix: db where no product of dW is there to take it along.
#pragma once

#include "cuda/block/reduce.h"
#include "cuda/block/sink.h"
#include "cuda/block/split.h"

namespace fastmlp::cuda {

// values[c] becomes the sum of the values c, c + columns, c + 2 columns, ... of `count`, as a tree. Both are powers of 2.
template <class K, class T>
FASTMLP_DEVICE void tree_sums(Block<K>& block, T* values, int columns, int count) {
  for (int half = count / 2; half >= columns; half /= 2)
    block.each([&](int thread, auto&) {
      for (int i = thread; i < half; i += K::kThreads) values[i] += values[i + half];
    });
}

// A block has a strip of columns, `across` threads wide, and a part of the rows. A thread has kV columns, those of a Vector or
// one, and kBatch rows of them under way.
template <class T, int kV>
struct ColumnSums {
  static constexpr int kThreads = 256, kBlocks = 2, kBatch = 8, kMostAcross = kV > 1 ? 8 : 32;
  static constexpr int kSumBytes = kThreads * kV * static_cast<int>(sizeof(T)), kSharedBytes = kSumBytes + 16;

  struct Params {
    Index rows, columns, ld;
    const T* values;
    int across;  // a power of 2
    int parts;   // of the rows, each in a block of its own
    Index part;
    SharedSums shared;
    Sink<T> sink;
    Step step;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<ColumnSums>& block, const Params& p) {
    T* const sums = reinterpret_cast<T*>(block.shared());
    const int width = p.across * kV, groups = kThreads / p.across;
    const int part = block.index().x % p.parts, strip = block.index().x / p.parts;
    const Index first = Index{strip} * width, begin = part * p.part;
    const Index end = p.rows < begin + p.part ? p.rows : begin + p.part;

    block.each([&](int thread, Registers&) {
      LongSum<T> own[kV];
      const Index column = first + thread % p.across * kV;
      if (column < p.columns) {
        const Index stride = groups * p.ld;
        const T* at = p.values + (begin + thread / p.across) * p.ld + column;
        int rows = static_cast<int>((end - begin - thread / p.across + groups - 1) / groups);  // of this thread
        // All loads of a batch before the first sum.
        FASTMLP_UNROLL_BY(1)
        for (; rows >= kBatch; rows -= kBatch, at += kBatch * stride) {
          Values batch[kBatch];
          FASTMLP_UNROLL
          for (int b = 0; b < kBatch; ++b) batch[b] = *reinterpret_cast<const Values*>(at + b * stride);
          FASTMLP_UNROLL
          for (int b = 0; b < kBatch; ++b) add(own, batch[b]);
        }
        FASTMLP_UNROLL_BY(1)
        for (; rows > 0; --rows, at += stride) add(own, *reinterpret_cast<const Values*>(at));
      }
      FASTMLP_UNROLL
      for (int v = 0; v < kV; ++v) sums[thread * kV + v] = own[v].value();
    });
    tree_sums(block, sums, width, kThreads * kV);

    T* const parts = p.shared.template parts<T>() + Index{strip} * p.parts * width;
    if (p.parts > 1) {
      block.each_alone([&](int thread, Registers&) {
        if (thread < width) parts[part * width + thread] = sums[thread];
      });
      int* const last = reinterpret_cast<int*>(block.shared() + kSumBytes);
      if (!arrives_last(block, last, p.shared.counters + strip, p.parts)) return;
    }
    block.each_alone([&](int thread, Registers&) {
      if (thread >= width || first + thread >= p.columns) return;
      T sum = sums[thread];
      if (p.parts > 1) {
        sum = T(0);
        FASTMLP_UNROLL_BY(8)
        for (int other = 0; other < p.parts; ++other) sum += load_part(parts + other * width + thread);
      }
      p.sink.take(p.sink.prepare(p.step), first + thread, 1, {{sum, T(0), T(0), T(0)}});
    });
  }

 private:
  struct alignas(kV * sizeof(T)) Values {
    T v[kV];
  };
  static FASTMLP_DEVICE void add(LongSum<T> (&own)[kV], const Values& values) {
    FASTMLP_UNROLL
    for (int v = 0; v < kV; ++v) own[v].add(values.v[v]);
  }
};

}  // namespace fastmlp::cuda
