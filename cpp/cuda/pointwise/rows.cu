// Softmax and log-softmax of whole rows.
#include "cuda/pointwise/rows.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

template <class T>
struct RowForward {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    RowActivationKind kind;
    Rows shape;
    const T* x;
    T* y;
  };
  struct Registers {
    T largest, sum;
  };

  static FASTMLP_DEVICE void run(Block<RowForward>& block, const Params& p) {
    for_row_tiles(block, p.shape, [&](Index first) {
      sum_exponentials(block, p.shape, first, p.x);
      block.each_alone([&](int thread, Registers& own) {
        const Real<T> largest = own.largest, log_sum = log(Real<T>(own.sum));
        for_columns(p.shape, first, thread,
                    [&](Index at, Index) { p.y[at] = row_output<T>(p.kind, p.x[at], largest, log_sum).value; });
      });
    });
  }
};

// Softmax: dx = y (dy - sum(dy y)).  Log-softmax: dx = dy - exp(y) sum(dy).
template <class T>
struct RowBackward {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    RowActivationKind kind;
    Rows shape;
    const T *dy, *y;
    T* dx;
  };
  struct Registers {
    T sum;
  };

  static FASTMLP_DEVICE void run(Block<RowBackward>& block, const Params& p) {
    const bool softmax = p.kind == RowActivationKind::Softmax;
    for_row_tiles(block, p.shape, [&](Index first) {
      block.each_alone([&](int thread, Registers& own) {
        LongSum<T> sum;
        for_columns(p.shape, first, thread, [&](Index at, Index) { sum.add(softmax ? p.dy[at] * p.y[at] : p.dy[at]); });
        own.sum = sum.value();
      });
      combine<Sum, &Registers::sum>(block, p.shape.width());
      block.each_alone([&](int thread, Registers& own) {
        const Real<T> sum = own.sum;
        for_columns(p.shape, first, thread, [&](Index at, Index) {
          const Real<T> dy = p.dy[at], y = p.y[at];
          p.dx[at] = (softmax ? y * (dy - sum) : fnma(exp(y), sum, dy)).value;
        });
      });
    });
  }
};

}  // namespace

template <class T>
void row_forward(RowActivationKind kind, Index rows, Index columns, const T* x, T* y, const Context& context) {
  using K = RowForward<T>;
  const Rows shape = share_rows(rows, columns, many_threads());
  launch<K>({blocks_of(shape)}, kCombineBytes<K>, {kind, shape, x, y}, context.stream);
}

template <class T>
void row_backward(RowActivationKind kind, Index rows, Index columns, const T* dy, const T* y, T* dx,
                  const Context& context) {
  using K = RowBackward<T>;
  const Rows shape = share_rows(rows, columns, many_threads());
  launch<K>({blocks_of(shape)}, kCombineBytes<K>, {kind, shape, dy, y, dx}, context.stream);
}

#define FASTMLP_INSTANTIATE(T)                                                                 \
  template void row_forward<T>(RowActivationKind, Index, Index, const T*, T*, const Context&); \
  template void row_backward<T>(RowActivationKind, Index, Index, const T*, const T*, T*, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
