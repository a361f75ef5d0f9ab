// The forward half of a network's head: some rows' outputs, their loss, and its gradient back to the sums.
#include "cuda/block/batch_rows.h"
#include "cuda/block/copy_async.h"
#include "cuda/head/head.h"
#include "cuda/runtime/kernels.h"
#include "cuda/single_block/output.h"

namespace fastmlp::cuda {

namespace {

// A block has kHeadRows rows. Its threads stand side by side along the outputs, in groups that take every so manieth quad
// of the sums' terms.
template <class T>
struct ForwardHead {
  static constexpr int kThreads = kHeadThreads, kBlocks = 1;
  static constexpr int kRows = kHeadRows;
  static constexpr int kBatch = 4;  // quads of weights that a thread has under way
  static constexpr int kThreadsOfRow = kThreads / kRows;

  struct Params {
    Index M;
    int N, K;
    const T* x;
    Index ldx;
    bool wide;  // x's rows begin where vectors may
    const T* weight;
    const T* bias;
    Activation activation;
    OutputArgs<T> output;
    StepScale scale;
    Targets<T> targets;
    BatchRows targets_rows;
    T* dz;
    int lddz;
    double* partial;
  };
  struct Registers : OutputRegisters<T> {
    T weights[4 * kBatch];
    T sums[kRows];
    double total;
  };

  // In shared memory: the rows' class and weight; outputs, derivatives and targets of each row; the warps' sums; x.
  struct Places {
    int across;  // threads along the outputs
    int ldx;
    Index* classes;
    T *weights, *rows, *sums, *x;

    FASTMLP_DEVICE int row(int r) const { return r * 3 * across; }
  };
  static constexpr int kRowBytes = kRows * (static_cast<int>(sizeof(Index)) + static_cast<int>(sizeof(T)));
  static_assert(kHeadSumBytes % 16 == 0 && kRowBytes % 16 == 0);

  static FASTMLP_FORMULA int padded(int K) { return (K + 3) / 4 * 4; }
  static int shared_bytes(int across, int K) {
    return kHeadSumBytes + kRowBytes +
           (kRows * 3 * across + kHeadWarps * kRows * across + kRows * padded(K)) * static_cast<int>(sizeof(T));
  }
  static FASTMLP_DEVICE Places places(unsigned char* shared, const Params& p) {
    Places s;
    s.across = 1 << p.output.log_lanes;
    s.ldx = padded(p.K);
    s.classes = reinterpret_cast<Index*>(shared + kHeadSumBytes);
    s.weights = reinterpret_cast<T*>(s.classes + kRows);
    s.rows = s.weights + kRows;
    s.sums = s.rows + s.row(kRows);
    s.x = s.sums + kHeadWarps * kRows * s.across;
    return s;
  }

  static FASTMLP_DEVICE void run(Block<ForwardHead>& block, const Params& p) {
    const Places s = places(block.shared(), p);
    const Index first = Index{block.index().x} * kRows;
    block.each([&](int thread, Registers& own) {
      fetch_rows(p, s, first, thread);
      load_weights(p, s, thread, 0, own.weights);
      fetch_targets(p, s, first, thread);
      own.loss = 0;
      await_copies();
    });
    p.scale.find(block, static_cast<int>(p.M),
                 [&](Registers&, int row) { return p.targets.share(target_row(p, row)); });
    multiply(block, p, s);
    block.each([&](int thread, Registers&) { activate(p, s, thread); });
    const auto find = [&](int thread, Registers&) {
      const int r = thread / s.across, at = s.row(r);
      if (r >= kRows || first + r >= p.M) return OutputRow<T>{s.rows, false, 0, 0, 0, 0, T(0)};
      return OutputRow<T>{s.rows,       true,        at, at + s.across, p.targets.dense ? at + 2 * s.across : -1,
                          s.classes[r], s.weights[r]};
    };
    Output<T, ForwardHead, decltype(find)>(block, p.output, find).run();
    block.each([](int, Registers& own) { own.total = static_cast<double>(own.loss); });
    combine<Sum, &Registers::total>(block, kThreads);
    block.each_alone([&](int thread, Registers& own) {
      if (thread == 0) p.partial[block.index().x] = own.total * own.scale;
      for (int i = thread; i < kRows * p.lddz; i += kThreads) {
        const int r = i / p.lddz, c = i - r * p.lddz;
        if (first + r < p.M) p.dz[first * p.lddz + i] = c < p.N ? s.rows[s.row(r) + s.across + c] : T(0);
      }
    });
  }

 private:
  // With zeros up to a whole quad, and for rows beyond the last.
  static FASTMLP_DEVICE void fetch_rows(const Params& p, const Places& s, Index first, int thread) {
    constexpr int kLanes = Vector<T>::kLanes;
    const int r = thread / kThreadsOfRow, own = thread % kThreadsOfRow;
    const T* const from = p.x + (first + r) * p.ldx;
    T* const to = s.x + r * s.ldx;
    const int there = first + r < p.M ? p.K : 0, vectors = p.wide ? there / kLanes : 0;
    for (int i = own; i < vectors; i += kThreadsOfRow) copy_async<16>(to + i * kLanes, from + i * kLanes);
    for (int k = vectors * kLanes + own; k < there; k += kThreadsOfRow) copy_async<sizeof(T)>(to + k, from + k);
    for (int k = there + own; k < s.ldx; k += kThreadsOfRow) to[k] = T(0);
  }

  static FASTMLP_DEVICE Index target_row(const Params& p, Index row) {
    return p.targets_rows.chosen ? p.targets_rows.of(row) : row;
  }

  static FASTMLP_DEVICE void fetch_targets(const Params& p, const Places& s, Index first, int thread) {
    if (thread < kRows) {
      const bool there = first + thread < p.M;
      const Index from = there ? target_row(p, first + thread) : 0;
      s.classes[thread] = p.targets.classes && there ? p.targets.classes[from] : 0;
      s.weights[thread] = p.targets.weights && there ? p.targets.weights[from] : T(1);
    }
    const int r = thread / s.across, n = thread % s.across;
    if (p.targets.dense && r < kRows && first + r < p.M && n < p.N)
      s.rows[s.row(r) + 2 * s.across + n] = p.targets.dense[target_row(p, first + r) * p.N + n];
  }

  // Those of the thread's output and the quads from number `quad` of its group on.
  static FASTMLP_DEVICE void load_weights(const Params& p, const Places& s, int thread, int quad, T (&to)[4 * kBatch]) {
    const int n = thread % s.across, group = thread / s.across, groups = kThreads / s.across;
    FASTMLP_UNROLL
    for (int i = 0; i < 4 * kBatch; ++i) {
      const int k = 4 * (group + (quad + i / 4) * groups) + i % 4;
      to[i] = k < p.K && n < p.N ? p.weight[k * p.N + n] : T(0);
    }
  }

  // The warps' sums.
  static FASTMLP_DEVICE void multiply(Block<ForwardHead>& block, const Params& p, const Places& s) {
    block.each_alone([&](int thread, Registers& own) {
      FASTMLP_UNROLL
      for (int r = 0; r < kRows; ++r) own.sums[r] = 0;
      const int group = thread / s.across, groups = kThreads / s.across;
      const int quads = (s.ldx / 4 + groups - 1) / groups;  // of each group, some of them beyond the last
      for (int quad = 0; quad < quads; quad += kBatch) {
        T next[4 * kBatch] = {};
        if (quad + kBatch < quads) load_weights(p, s, thread, quad + kBatch, next);
        FASTMLP_UNROLL
        for (int b = 0; b < kBatch; ++b) {
          const int k = 4 * (group + (quad + b) * groups);
          if (k >= s.ldx) break;
          FASTMLP_UNROLL
          for (int r = 0; r < kRows; ++r) {
            const Quad<T> x = load_quad(s.x + r * s.ldx + k);
            FASTMLP_UNROLL
            for (int i = 0; i < 4; ++i) own.sums[r] = math::fma(x.v[i], own.weights[4 * b + i], own.sums[r]);
          }
        }
        FASTMLP_UNROLL
        for (int i = 0; i < 4 * kBatch; ++i) own.weights[i] = next[i];
      }
    });
    add_lanes<&Registers::sums>(block, s.across);
    block.each([&](int thread, Registers& own) {
      const int warp = thread / kWarp, n = thread % kWarp;
      if (n >= s.across) return;
      FASTMLP_UNROLL
      for (int r = 0; r < kRows; ++r) s.sums[(warp * kRows + r) * s.across + n] = own.sums[r];
    });
  }

  // A thread's output, and the derivative of its activation.
  static FASTMLP_DEVICE void activate(const Params& p, const Places& s, int thread) {
    const int r = thread / s.across, n = thread % s.across;
    if (r >= kRows || n >= p.N) return;
    T sum = 0;
    FASTMLP_UNROLL
    for (int warp = 0; warp < kHeadWarps; ++warp) sum += s.sums[(warp * kRows + r) * s.across + n];
    const Real<T> z = p.bias ? sum + p.bias[n] : sum;
    const auto params = activation_params<T>(p.activation);
    with_activation(p.activation.kind, [&](auto functor) {
      using F = decltype(functor);
      const Real<T> y = F::forward(z, params);
      s.rows[s.row(r) + n] = y.value;
      s.rows[s.row(r) + s.across + n] = F::backward(Real<T>(1), F::kSavesInput ? z : y, params).value;
    });
  }
};

int log_across(Index N) {
  int log = 0;
  while ((1 << log) < N) ++log;
  return log;
}

}  // namespace

template <class T>
std::size_t head_forward_bytes(Index N, Index K) {
  return static_cast<std::size_t>(ForwardHead<T>::shared_bytes(1 << log_across(N), static_cast<int>(K)));
}

template <class T>
void head_forward(const HeadForward<T>& a, const Context& context) {
  using K = ForwardHead<T>;
  const bool derivative = !a.logits && a.activation.kind != ActivationKind::Identity;
  const int log_lanes = log_across(a.N), N = static_cast<int>(a.N);
  const OutputArgs<T> output{a.has_row_activation,
                             derivative,
                             a.row_activation,
                             a.loss.kind,
                             is_class_loss(a.loss.kind),
                             is_pair_loss(a.loss.kind),
                             LossTerms<T>(a.loss, a.targets, a.N, a.logits),
                             N,
                             log_lanes};
  launch<K>({head_blocks(a.M)}, head_forward_bytes<T>(a.N, a.K),
            {a.M, N, static_cast<int>(a.K), a.x, a.ldx, takes_vectors(a.x, a.ldx), a.weight, a.bias, a.activation,
             output, StepScale(a.loss, a.targets, a.M, a.N), a.targets, BatchRows(a.chosen, a.ids, a.M, context), a.dz,
             static_cast<int>(head_columns(a.N)), a.partial},
            context.stream);
}

#define FASTMLP_INSTANTIATE(T)                                  \
  template std::size_t head_forward_bytes<T>(Index N, Index K); \
  template void head_forward(const HeadForward<T>&, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
