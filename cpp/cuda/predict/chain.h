// A chain of layers on few rows in one block: all weights come to shared memory at once, so that memory is waited for once,
// not layer by layer; the values between layers never leave it.
//
// Values are stored column by column, kM rows side by side, as a thread takes them: one weight serves all rows. A layer's
// threads stand side by side along its columns, in groups that take every group-th term; how many depends on the layer
// alone, so that a row's bits do not depend on the rows that come with it.
#pragma once

#include <algorithm>
#include <optional>

#include "core/contracts/prediction.h"
#include "cuda/block/copy_async.h"
#include "cuda/block/split.h"
#include "cuda/pointwise/rows.h"

namespace fastmlp::cuda {

inline constexpr int kMostChainLayers = 8;
inline constexpr int kChainThreads = 256;
inline constexpr int kMostChainRows = kChainThreads / kWarp;  // a warp each for softmax
inline constexpr int kMostChainBytes = 48 * 1024;             // of shared memory: what a launch has without asking

template <class T>
struct ChainLayer {
  int in, out;
  int across;  // threads along the columns, a power of 2
  bool wide;   // weight and bias may be read 16 bytes at a time
  const T *weight, *bias;
  int weight_at, bias_at;  // in shared memory
  Activation activation;
};

template <class T>
struct Chain {
  int depth, inputs, outputs;
  bool has_row_activation;
  RowActivationKind row_activation;
  int partial, values[2];  // places in shared memory: of sums, and of a layer's input and output in turns
  int size;                // values in all
  ChainLayer<T> layers[kMostChainLayers];
};

// The plan for up to kMostChainRows rows of `inputs` columns; nothing where the chain is too large. It has room for all of
// them, however many come.
template <class T>
std::optional<Chain<T>> plan_chain(const LanesLayer<T>* layers, int depth, Index inputs, const ChainPrediction<T>& of) {
  constexpr Index kMost = kMostChainBytes / static_cast<Index>(sizeof(T));
  if (depth > kMostChainLayers || inputs > kMost) return std::nullopt;
  Chain<T> chain{};
  chain.depth = depth;
  chain.inputs = chain.outputs = static_cast<int>(inputs);
  chain.has_row_activation = of.has_row_activation;
  chain.row_activation = of.row_activation;
  Index end = 0, widest[2] = {inputs, 0};  // of the values in turns
  const auto take = [&](Index n) {
    const Index at = end;
    end += (n + 3) / 4 * 4;
    return static_cast<int>(at);
  };
  for (int l = 0; l < depth; ++l) {
    const LanesLayer<T>& layer = layers[l];
    if (layer.in > kMost || layer.out > kMost || layer.in * layer.out > kMost) return std::nullopt;
    ChainLayer<T>& own = chain.layers[l];
    own = {static_cast<int>(layer.in),
           static_cast<int>(layer.out),
           1,
           takes_vectors(layer.weight, 0) && takes_vectors(layer.bias, 0),
           layer.weight,
           layer.bias,
           take(layer.in * layer.out),
           take(layer.bias ? layer.out : 0),
           layer.activation};
    while (own.across < kChainThreads && own.across < own.out) own.across *= 2;
    Index& width = widest[(l + 1) % 2];
    width = std::max(width, layer.out);
    chain.outputs = own.out;
  }
  chain.partial = take(kChainThreads * kMostChainRows);
  for (int turn = 0; turn < 2; ++turn) chain.values[turn] = take(widest[turn] * kMostChainRows);
  if (end > kMost) return std::nullopt;
  chain.size = static_cast<int>(end);
  return chain;
}

template <class T, int kM>
struct ChainRegisters {
  T sums[kM];
  T largest, sum;
};

namespace chain {

template <class T>
FASTMLP_DEVICE void copy_values(T* to, const T* from, int count, bool wide, int thread) {
  constexpr int kLanes = Vector<T>::kLanes;
  const int whole = wide ? count / kLanes * kLanes : 0;
  for (int i = thread * kLanes; i < whole; i += kChainThreads * kLanes) copy_async<16>(to + i, from + i);
  for (int i = whole + thread; i < count; i += kChainThreads) copy_async<sizeof(T)>(to + i, from + i);
}

// Adds the sums of a warp's lanes that have the same column.
template <class K, int kM>
FASTMLP_DEVICE void add_lanes(Block<K>& block, int across) {
  block.each_warp([&](int, auto& lanes) {
    for (int distance = across; distance < kWarp; distance *= 2) {
#if defined(__CUDACC__)
      FASTMLP_UNROLL
      for (int m = 0; m < kM; ++m) lanes.own.sums[m] += __shfl_xor_sync(~0U, lanes.own.sums[m], distance);
#else
      for (int m = 0; m < kM; ++m) {
        decltype(lanes.all[0].sums[0] + 0) before[kWarp];
        for (int lane = 0; lane < kWarp; ++lane) before[lane] = lanes.all[lane].sums[m];
        for (int lane = 0; lane < kWarp; ++lane) lanes.all[lane].sums[m] = before[lane] + before[lane ^ distance];
      }
#endif
    }
  });
}

// A thread's part of the sums of its column, for all rows.
template <class T, int kM>
FASTMLP_DEVICE void add_terms(T (&sums)[kM], const ChainLayer<T>& layer, const T* weight, const T* x, int column,
                              int thread) {
  FASTMLP_UNROLL
  for (int m = 0; m < kM; ++m) sums[m] = T(0);
  if (column >= layer.out) return;
  FASTMLP_UNROLL_BY(4)
  for (int k = thread / layer.across; k < layer.in; k += kChainThreads / layer.across) {
    const T w = weight[k * layer.out + column];
    if constexpr (kM % 4 == 0) {
      FASTMLP_UNROLL
      for (int m = 0; m < kM; m += 4) {
        const Quad<T> quad = load_quad(x + k * kM + m);
        FASTMLP_UNROLL
        for (int i = 0; i < 4; ++i) sums[m + i] = math::fma(quad.v[i], w, sums[m + i]);
      }
    } else {
      FASTMLP_UNROLL
      for (int m = 0; m < kM; ++m) sums[m] = math::fma(x[k * kM + m], w, sums[m]);
    }
  }
}

}  // namespace chain

// y = the chain's output for `rows` rows at x, at most kM; x may be what other blocks wrote before this one arrived last.
// K's registers have what ChainRegisters has.
template <int kM, class K, class T>
FASTMLP_DEVICE void run_chain(Block<K>& block, const Chain<T>& plan, int rows, const T* x, T* y) {
  using Registers = typename K::Registers;
  T* const shared = reinterpret_cast<T*>(block.shared());
  T* const partial = shared + plan.partial;
  T* const results = shared + plan.values[plan.depth % 2];  // of the chain; for softmax row by row
  const bool by_rows = plan.has_row_activation;

  block.each([&](int thread, Registers&) {
    for (int l = 0; l < plan.depth; ++l) {
      const ChainLayer<T>& layer = plan.layers[l];
      chain::copy_values(shared + layer.weight_at, layer.weight, layer.in * layer.out, layer.wide, thread);
      if (layer.bias) chain::copy_values(shared + layer.bias_at, layer.bias, layer.out, layer.wide, thread);
    }
    const bool at_once = plan.depth == 0;
    T* const inputs = shared + plan.values[0];
    for (int m = 0; m < rows; ++m) {
      FASTMLP_UNROLL_BY(4)
      for (int k = thread; k < plan.inputs; k += kChainThreads)
        inputs[at_once ? m * plan.inputs + k : k * kM + m] = load_part(x + Index{m} * plan.inputs + k);
    }
    await_copies();
  });

  for (int l = 0; l < plan.depth; ++l) {
    const ChainLayer<T>& layer = plan.layers[l];
    const int across = layer.across, parts = kChainThreads / (across > kWarp ? across : kWarp);
    const bool last = l + 1 == plan.depth;
    const T* const inputs = shared + plan.values[l % 2];
    T* const outputs = shared + plan.values[(l + 1) % 2];
    for (int first = 0; first < layer.out; first += across) {
      block.each_alone([&](int thread, Registers& own) {
        chain::add_terms<T, kM>(own.sums, layer, shared + layer.weight_at, inputs, first + thread % across, thread);
      });
      chain::add_lanes<K, kM>(block, across);
      block.each([&](int thread, Registers& own) {
        if (thread % kWarp >= across) return;
        T* const to = partial + thread / (across > kWarp ? across : kWarp) * kM * across + thread % across;
        FASTMLP_UNROLL
        for (int m = 0; m < kM; ++m) to[m * across] = own.sums[m];
      });
      block.each([&](int thread, Registers&) {
        const auto constants = activation_params<T>(layer.activation);
        for (int i = thread; i < rows * across; i += kChainThreads) {
          const int m = i / across, column = first + i % across;
          if (column >= layer.out) continue;
          T z = partial[i];
          for (int part = 1; part < parts; ++part) z += partial[part * kM * across + i];
          if (layer.bias) z += shared[layer.bias_at + column];
          const T value = apply_activation<T>(layer.activation.kind, z, constants).value;
          if (last && !by_rows)
            y[m * layer.out + column] = value;
          else
            outputs[last ? m * layer.out + column : column * kM + m] = value;
        }
      });
    }
  }
  if (!by_rows) return;

  const Rows shape{rows, plan.outputs, 5};
  static_assert(kWarp == 1 << 5);
  sum_exponentials(block, shape, 0, results);
  block.each_alone([&](int thread, Registers& own) {
    const Real<T> largest = own.largest, log_sum = log(Real<T>(own.sum));
    for_columns(shape, 0, thread, [&](Index at, Index) {
      y[at] = row_output<T>(plan.row_activation, results[at], largest, log_sum).value;
    });
  });
}

}  // namespace fastmlp::cuda
