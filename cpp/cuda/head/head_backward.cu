// The backward half of a network's head: dx, dW, db, the step of the optimizer for both, and the loss's value.
#include "cuda/block/copy_async.h"
#include "cuda/block/reduce.h"
#include "cuda/block/sink.h"
#include "cuda/head/head.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

// A block has kHeadInputs inputs and all rows; the bias counts as an input more, which is always 1. Eight threads stand side
// by side along the inputs, each with its row of the weight and of the gradient in registers, and go through the rows, by
// what one load of dz serves both products.
// kQuads: of outputs, at most.
template <class T, int kQuads>
struct BackwardHead {
  static constexpr int kThreads = kHeadThreads, kBlocks = 1;
  static constexpr int kOutputs = 4 * kQuads;
  static constexpr int kGroups = kThreads / kHeadInputs;
  static constexpr int kRows = 4;  // that a thread has under way
  static_assert(kHeadInputs * kMostHeadOutputs <= kThreads);

  struct Params {
    int M, N, K;
    const T* x;
    Index ldx;
    const T* dz;
    int lddz;
    const T* weight;
    Activation activation;  // of what made x; the identity where `saved` is null
    const T* saved;
    T* dx;
    Index lddx;
    bool trains_weight, trains_bias;
    Sink<T> weight_sink, bias_sink;
    Step step;
    int partials;
    const double* partial;
    double* value;
  };
  struct Registers {
    T weight[kOutputs], gradient[kOutputs];
    T x[kRows], saved[kRows];
    typename Sink<T>::Fetched fetched;
    double total;
  };

  // In shared memory: the weight's rows, the warps' sums of the gradient's, and dz with a row of zeros.
  static constexpr int kSums = kHeadWarps * kHeadInputs * kOutputs;
  static int shared_bytes(Index M, int lddz) {
    return kHeadSumBytes + (kHeadInputs * lddz + kSums + static_cast<int>(M + 1) * lddz) * static_cast<int>(sizeof(T));
  }

  static FASTMLP_DEVICE void run(Block<BackwardHead>& block, const Params& p) {
    T* const weights = reinterpret_cast<T*>(block.shared() + kHeadSumBytes);
    T* const sums = weights + kHeadInputs * p.lddz;
    T* const dz = sums + kSums;
    const int first = block.index().x * kHeadInputs;
    block.each([&](int thread, Registers& own) {
      constexpr int kLanes = Vector<T>::kLanes;
      for (int i = thread; i < p.M * p.lddz / kLanes; i += kThreads) copy_async<16>(dz + i * kLanes, p.dz + i * kLanes);
      for (int i = thread; i < p.lddz; i += kThreads) dz[p.M * p.lddz + i] = T(0);
      for (int i = thread; i < kHeadInputs * p.lddz; i += kThreads) {
        const int k = first + i / p.lddz, n = i % p.lddz;
        weights[i] = k < p.K && n < p.N ? p.weight[k * p.N + n] : T(0);
      }
      load_rows(p, first, thread, thread / kHeadInputs, own.x, own.saved);
      const Own value(p, first, thread);
      if (value.sink) own.fetched = value.sink->fetch(value.at, 1);
      await_copies();
    });
    block.each_alone([&](int thread, Registers& own) { pass(p, first, thread, weights, dz, own); });
    add_lanes<&Registers::gradient>(block, kHeadInputs);
    block.each([&](int thread, Registers& own) {
      const int warp = thread / kWarp, lane = thread % kWarp;
      if (lane >= kHeadInputs) return;
      FASTMLP_UNROLL
      for (int n = 0; n < kOutputs; ++n) sums[(warp * kHeadInputs + lane) * kOutputs + n] = own.gradient[n];
    });
    block.each_alone([&](int thread, Registers& own) {
      const Own value(p, first, thread);
      if (!value.sink) return;
      T gradient = 0;
      FASTMLP_UNROLL
      for (int warp = 0; warp < kHeadWarps; ++warp)
        gradient += sums[(warp * kHeadInputs + value.input) * kOutputs + value.output];
      value.sink->take(value.sink->prepare(p.step), own.fetched, value.at, 1, {{gradient, T(0), T(0), T(0)}});
    });
    if (block.index().x + 1 == block.grid().x) keep_loss(block, p);
  }

 private:
  // The thread's value of the gradients of the block's inputs, and where it goes; to null: nowhere.
  struct Own {
    int input, output;
    const Sink<T>* sink = nullptr;
    Index at = 0;

    FASTMLP_DEVICE Own(const Params& p, int first, int thread) : input(thread / p.N), output(thread % p.N) {
      const int k = first + input;
      if (input >= kHeadInputs || k > p.K) return;
      if (k < p.K ? p.trains_weight : p.trains_bias) sink = k < p.K ? &p.weight_sink : &p.bias_sink;
      at = k < p.K ? Index{k} * p.N + output : output;
    }
  };

  // x and what its activation's derivative is formed from, of the thread's input and the rows from `row` on.
  static FASTMLP_DEVICE void load_rows(const Params& p, int first, int thread, int row, T (&x)[kRows],
                                       T (&saved)[kRows]) {
    const int k = first + thread % kHeadInputs;
    const bool saves_x = p.saved == p.x;
    FASTMLP_UNROLL
    for (int j = 0; j < kRows; ++j) {
      const int m = row + j * kGroups;
      const bool there = k < p.K && m < p.M;
      x[j] = there ? p.x[m * p.ldx + k] : T(m < p.M && k == p.K ? 1 : 0);
      saved[j] = there && p.saved && !saves_x ? p.saved[m * p.lddx + k] : x[j];
    }
  }

  static FASTMLP_DEVICE void pass(const Params& p, int first, int thread, const T* weights, const T* dz,
                                  Registers& own) {
    const int column = thread % kHeadInputs, k = first + column;
    const auto params = activation_params<T>(p.activation);
    FASTMLP_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      const Quad<T> part = 4 * q < p.lddz ? load_quad(weights + column * p.lddz + 4 * q) : Quad<T>{};
      FASTMLP_UNROLL
      for (int i = 0; i < 4; ++i) {
        own.weight[4 * q + i] = part.v[i];
        own.gradient[4 * q + i] = 0;
      }
    }
    FASTMLP_UNROLL_BY(1)
    for (int row = thread / kHeadInputs; row < p.M; row += kRows * kGroups) {
      T x[kRows] = {}, saved[kRows] = {};
      if (row + kRows * kGroups < p.M) load_rows(p, first, thread, row + kRows * kGroups, x, saved);
      T sums[kRows] = {};
      FASTMLP_UNROLL
      for (int q = 0; q < kQuads; ++q) {
        if (4 * q >= p.lddz) break;
        FASTMLP_UNROLL
        for (int j = 0; j < kRows; ++j) {
          const int m = row + j * kGroups;
          const Quad<T> d = load_quad(dz + (m < p.M ? m : p.M) * p.lddz + 4 * q);
          FASTMLP_UNROLL
          for (int i = 0; i < 4; ++i) {
            sums[j] = math::fma(d.v[i], own.weight[4 * q + i], sums[j]);
            own.gradient[4 * q + i] = math::fma(own.x[j], d.v[i], own.gradient[4 * q + i]);
          }
        }
      }
      if (p.dx && k < p.K) {
        if (p.saved)
          with_activation(p.activation.kind, [&](auto functor) {
            FASTMLP_UNROLL
            for (int j = 0; j < kRows; ++j)
              sums[j] = decltype(functor)::backward(Real<T>(sums[j]), Real<T>(own.saved[j]), params).value;
          });
        FASTMLP_UNROLL
        for (int j = 0; j < kRows; ++j)
          if (const int m = row + j * kGroups; m < p.M) p.dx[m * p.lddx + k] = sums[j];
      }
      FASTMLP_UNROLL
      for (int j = 0; j < kRows; ++j) {
        own.x[j] = x[j];
        own.saved[j] = saved[j];
      }
    }
  }

  static FASTMLP_DEVICE void keep_loss(Block<BackwardHead>& block, const Params& p) {
    block.each_alone([&](int thread, Registers& own) {
      own.total = 0;
      for (int i = thread; i < p.partials; i += kThreads) own.total += p.partial[i];
    });
    combine<Sum, &Registers::total>(block, kThreads);
    block.each_alone([&](int thread, Registers& own) {
      if (thread == 0) *(p.step.replayed ? p.step.replay.losses + p.step.number() : p.value) = own.total;
    });
  }
};

template <int kQuads, class T>
void launch_backward(const HeadBackward<T>& a, const Context& context) {
  using K = BackwardHead<T, kQuads>;
  const AffineBackwardInput<T>& input = a.input;
  const AffineBackwardWeight<T>& weight = a.weight;
  const Index columns = weight.K + (weight.bias.wanted() ? 1 : 0);
  const int lddz = static_cast<int>(weight.lddz);
  launch<K>({static_cast<int>((columns + kHeadInputs - 1) / kHeadInputs)},
            static_cast<std::size_t>(K::shared_bytes(weight.M, lddz)),
            {static_cast<int>(weight.M),
             static_cast<int>(weight.N),
             static_cast<int>(weight.K),
             weight.x,
             weight.ldx,
             weight.dz,
             lddz,
             input.weight,
             input.activation,
             input.saved,
             input.dx,
             input.lddx,
             weight.weight.wanted(),
             weight.bias.wanted(),
             Sink<T>(weight.weight, weight.N),
             Sink<T>(weight.bias, 1),
             Step(context),
             head_blocks(weight.M),
             a.partial,
             a.value},
            context.stream);
}

}  // namespace

template <class T>
bool takes_head(Index M, Index N, Index K) {
  if (M < 1 || M > kMostHeadRows || N < 1 || N > kMostHeadOutputs || K < 1 || K > kMostHeadInputs) return false;
  const auto bytes = static_cast<std::size_t>(BackwardHead<T, 8>::shared_bytes(M, static_cast<int>(head_columns(N))));
  return bytes <= most_shared_bytes() && head_forward_bytes<T>(N, K) <= most_shared_bytes();
}

template <class T>
void head_backward(const HeadBackward<T>& a, const Context& context) {
  if (a.weight.N <= 4) return launch_backward<1>(a, context);
  if (a.weight.N <= 12) return launch_backward<3>(a, context);
  launch_backward<8>(a, context);
}

#define FASTMLP_INSTANTIATE(T)                      \
  template bool takes_head<T>(Index, Index, Index); \
  template void head_backward(const HeadBackward<T>&, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
