// PReLU: columns with slopes that are learnt.
#include "cuda/pointwise/column_groups.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

template <class T>
struct PReLUColumns {
  static constexpr int kThreads = kColumnThreads;
  struct Params {
    PReLUForward<T> a;
    Columns shape;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<PReLUColumns>& block, const Params& p) {
    const PReLUForward<T>& a = p.a;
    block.each_alone([&](int thread, Registers&) {
      const Index c = p.shape.column(block, thread);
      if (c >= a.columns) return;
      const T slope = a.slope[a.shared ? 0 : c];
      p.shape.down(c, thread, [&](Index at) { a.y[at] = a.x[at] > T(0) ? a.x[at] : slope * a.x[at]; });
    });
  }
};

template <class T>
struct PReLUBackwardColumns {
  static constexpr int kThreads = kColumnThreads;
  struct Params {
    PReLUBackward<T> a;
    Columns shape;
    Sink<T> slope;
    Step step;
  };
  struct Registers {};

  static FASTMLP_DEVICE void run(Block<PReLUBackwardColumns>& block, const Params& p) {
    const PReLUBackward<T>& a = p.a;
    T* const sums = reinterpret_cast<T*>(block.shared());
    sum_columns(block, p.shape, sums, [&](int thread, Registers&) {
      LongSum<T> sum;
      p.shape.down(p.shape.column(block, thread), thread,
                   [&](Index at) { sum.add(a.x[at] > T(0) ? T(0) : a.x[at] * a.dy[at]); });
      return sum.value();
    });
    block.each([&](int thread, Registers&) {
      const Index c = p.shape.column(block, thread);
      if (!a.dx || c >= a.columns) return;
      const T slope = a.slope[a.shared ? 0 : c];
      p.shape.down(c, thread, [&](Index at) { a.dx[at] = a.x[at] > T(0) ? a.dy[at] : slope * a.dy[at]; });
    });
    block.each_alone([&](int thread, Registers&) {
      const Index c = p.shape.column(block, thread);
      if (thread >= p.shape.width || c >= a.columns) return;
      if (a.shared)
        a.sums[c] = sums[thread];
      else
        take(p.slope, p.step, c, sums[thread]);
    });
  }
};

// The sum of n values, one parameter's gradient.
template <class T>
struct SharedSlope {
  static constexpr int kThreads = kColumnThreads;
  struct Params {
    Index n;
    const T* sums;
    Sink<T> slope;
    Step step;
  };
  struct Registers {
    T sum;
  };

  static FASTMLP_DEVICE void run(Block<SharedSlope>& block, const Params& p) {
    block.each_alone([&](int thread, Registers& own) {
      LongSum<T> sum;
      for (Index i = thread; i < p.n; i += kThreads) sum.add(p.sums[i]);
      own.sum = sum.value();
    });
    combine<Sum, &Registers::sum>(block, kThreads);
    block.each_alone([&](int thread, Registers& own) {
      if (thread == 0) take(p.slope, p.step, 0, own.sum);
    });
  }
};

}  // namespace

template <class T>
void prelu_forward(const PReLUForward<T>& a, const Context& context) {
  const Columns shape(a.rows, a.columns);
  launch<PReLUColumns<T>>({shape.blocks()}, 0, {a, shape}, context.stream);
}

template <class T>
void prelu_backward(const PReLUBackward<T>& a, const Context& context) {
  const Columns shape(a.rows, a.columns);
  const Sink<T> slope(a.slope_sink, 1);
  launch<PReLUBackwardColumns<T>>({shape.blocks()}, kSumBytes<T>, {a, shape, slope, Step(context)}, context.stream);
  using K = SharedSlope<T>;
  if (a.shared && a.slope_sink.wanted())
    launch<K>({1}, kCombineBytes<K>, {a.columns, a.sums, slope, Step(context)}, context.stream);
}

#define FASTMLP_INSTANTIATE(T)                                            \
  template void prelu_forward<T>(const PReLUForward<T>&, const Context&); \
  template void prelu_backward<T>(const PReLUBackward<T>&, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
