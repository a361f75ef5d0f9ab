// Normalisation of rows and of columns, in two passes over the values: the mean, then the variance about it.
#include "cuda/pointwise/column_groups.h"
#include "cuda/pointwise/row_groups.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

template <class T>
FASTMLP_DEVICE T inverse_root(T variance) {
  return (Real<T>(1) / sqrt(Real<T>(variance))).value;
}

// Rows -------------------------------------------------------------------------------------------------------------

template <class T>
struct LayerNormRows {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    LayerNormForward<T> a;
    Rows shape;
  };
  struct Registers {
    T pivot, offset, sum;
  };

  static FASTMLP_DEVICE void run(Block<LayerNormRows>& block, const Params& p) {
    const LayerNormForward<T>& a = p.a;
    const T n = static_cast<T>(a.columns);
    for_row_tiles(block, p.shape, [&](Index first) {
      const auto row_of = [&](int thread) { return first + (thread >> p.shape.log_width); };
      block.each_alone([&](int thread, Registers& own) {
        own.pivot = row_of(thread) < a.rows ? a.x[row_of(thread) * a.columns] : T(0);
        LongSum<T> sum;
        for_columns(p.shape, first, thread, [&](Index at, Index) { sum.add(a.x[at] - own.pivot); });
        own.sum = sum.value();
      });
      combine<Sum, &Registers::sum>(block, p.shape.width());
      block.each([&](int thread, Registers& own) {
        own.offset = own.sum / n;
        LongSum<T> sum;
        for_columns(p.shape, first, thread, [&](Index at, Index) {
          const T d = (a.x[at] - own.pivot) - own.offset;
          sum.add(d * d);
        });
        own.sum = sum.value();
      });
      combine<Sum, &Registers::sum>(block, p.shape.width());
      block.each([&](int thread, Registers& own) {
        const T inverse = inverse_root(own.sum / n + static_cast<T>(a.eps));
        for_columns(p.shape, first, thread, [&](Index at, Index c) {
          T value = ((a.x[at] - own.pivot) - own.offset) * inverse;
          if (a.weight) value *= a.weight[c];
          if (a.bias) value += a.bias[c];
          a.y[at] = value;
        });
        const Index row = row_of(thread);
        if (row >= a.rows || (thread & (p.shape.width() - 1)) != 0) return;
        a.statistics.pivot[row] = own.pivot;
        a.statistics.offset[row] = own.offset;
        a.statistics.inverse[row] = inverse;
      });
    });
  }
};

// xhat at `at`, in that row or column.
template <class T>
FASTMLP_DEVICE T normal(const T* x, Index at, const NormStatistics<T>& s, Index row) {
  return ((x[at] - s.pivot[row]) - s.offset[row]) * s.inverse[row];
}

template <class T>
struct LayerNormBackwardRows {
  static constexpr int kThreads = kRowThreads, kBlocks = 1;
  struct Params {
    LayerNormBackward<T> a;
    Rows shape;
  };
  struct Registers {
    T mean, slope;
  };

  static FASTMLP_DEVICE void run(Block<LayerNormBackwardRows>& block, const Params& p) {
    const LayerNormBackward<T>& a = p.a;
    const T n = static_cast<T>(a.columns);
    const auto gradient = [&](Index at, Index c) { return a.weight ? a.dy[at] * a.weight[c] : a.dy[at]; };
    for_row_tiles(block, p.shape, [&](Index first) {
      block.each_alone([&](int thread, Registers& own) {
        LongSum<T> mean, slope;
        for_columns(p.shape, first, thread, [&](Index at, Index c) {
          const T g = gradient(at, c);
          mean.add(g);
          slope.add(g * normal(a.x, at, a.statistics, at / a.columns));
        });
        own.mean = mean.value();
        own.slope = slope.value();
      });
      combine<Sum, &Registers::mean>(block, p.shape.width());
      combine<Sum, &Registers::slope>(block, p.shape.width());
      block.each([&](int thread, Registers& own) {
        for_columns(p.shape, first, thread, [&](Index at, Index c) {
          const Index row = at / a.columns;
          const T along = normal(a.x, at, a.statistics, row) * (own.slope / n);
          a.dx[at] = a.statistics.inverse[row] * ((gradient(at, c) - own.mean / n) - along);
        });
      });
    });
  }
};

// Columns ----------------------------------------------------------------------------------------------------------

template <class T>
struct BatchNormColumns {
  static constexpr int kThreads = kColumnThreads;
  struct Params {
    BatchNormForward<T> a;
    Columns shape;
  };
  struct Registers {
    T pivot, offset, inverse;
  };

  static FASTMLP_DEVICE void run(Block<BatchNormColumns>& block, const Params& p) {
    const BatchNormForward<T>& a = p.a;
    if (a.from_batch)
      of_batch(block, p);
    else
      block.each([&](int thread, Registers& own) {
        const Index c = p.shape.column(block, thread);
        if (c >= a.columns) return;
        own.pivot = a.running_mean[c];
        own.offset = 0;
        const T spread = a.running_variance[c];
        own.inverse = a.deviations ? T(1) / spread : inverse_root(spread + static_cast<T>(a.eps));
      });
    block.each_alone([&](int thread, Registers& own) {
      const Index c = p.shape.column(block, thread);
      if (c >= a.columns) return;
      const T weight = a.weight ? a.weight[c] : T(1), bias = a.bias ? a.bias[c] : T(0);
      p.shape.down(c, thread,
                   [&](Index at) { a.y[at] = ((a.x[at] - own.pivot) - own.offset) * own.inverse * weight + bias; });
      if (thread >= p.shape.width) return;
      a.statistics.pivot[c] = own.pivot;
      a.statistics.offset[c] = own.offset;
      a.statistics.inverse[c] = own.inverse;
    });
  }

 private:
  static FASTMLP_DEVICE void of_batch(Block<BatchNormColumns>& block, const Params& p) {
    const BatchNormForward<T>& a = p.a;
    T* const sums = reinterpret_cast<T*>(block.shared());
    const T n = static_cast<T>(a.rows);
    sum_columns(block, p.shape, sums, [&](int thread, Registers& own) {
      const Index c = p.shape.column(block, thread);
      own.pivot = c < a.columns ? a.x[c] : T(0);
      LongSum<T> sum;
      p.shape.down(c, thread, [&](Index at) { sum.add(a.x[at] - own.pivot); });
      return sum.value();
    });
    block.each([&](int thread, Registers& own) { own.offset = sums[thread % p.shape.width] / n; });
    sum_columns(block, p.shape, sums, [&](int thread, Registers& own) {
      LongSum<T> sum;
      p.shape.down(p.shape.column(block, thread), thread, [&](Index at) {
        const T d = (a.x[at] - own.pivot) - own.offset;
        sum.add(d * d);
      });
      return sum.value();
    });
    block.each([&](int thread, Registers& own) {
      const Index c = p.shape.column(block, thread);
      const T variance = sums[thread % p.shape.width] / n;
      own.inverse = inverse_root(variance + static_cast<T>(a.eps));
      if (!a.running_mean || thread >= p.shape.width || c >= a.columns) return;
      const T momentum = static_cast<T>(a.momentum), kept = static_cast<T>(1 - a.momentum);
      const T unbiased = static_cast<T>(static_cast<double>(a.rows) / static_cast<double>(a.rows - 1));
      a.running_mean[c] = kept * a.running_mean[c] + momentum * (own.pivot + own.offset);
      a.running_variance[c] = kept * a.running_variance[c] + momentum * (variance * unbiased);
    });
  }
};

// The sums of dy and dy xhat down the columns, for batches and, with the statistics of rows, for layers.
template <class T, class K, class Normal>
FASTMLP_DEVICE void sum_gradients(Block<K>& block, const Columns& shape, const T* dy, const Normal& normal) {
  using Registers = typename K::Registers;
  T* const sums = reinterpret_cast<T*>(block.shared());
  sum_columns(block, shape, sums, [&](int thread, Registers&) {
    LongSum<T> sum;
    shape.down(shape.column(block, thread), thread, [&](Index at) { sum.add(dy[at]); });
    return sum.value();
  });
  block.each([&](int thread, Registers& own) { own.of_dy = sums[thread % shape.width]; });
  sum_columns(block, shape, sums, [&](int thread, Registers&) {
    LongSum<T> sum;
    const Index c = shape.column(block, thread);
    shape.down(c, thread, [&](Index at) { sum.add(dy[at] * normal(at, c)); });
    return sum.value();
  });
  block.each([&](int thread, Registers& own) { own.of_normal = sums[thread % shape.width]; });
}

template <class T>
struct BatchNormBackwardColumns {
  static constexpr int kThreads = kColumnThreads;
  struct Params {
    BatchNormBackward<T> a;
    Columns shape;
    Sink<T> weight, bias;
    Step step;
  };
  struct Registers {
    T of_dy, of_normal;
  };

  static FASTMLP_DEVICE void run(Block<BatchNormBackwardColumns>& block, const Params& p) {
    const BatchNormBackward<T>& a = p.a;
    const T n = static_cast<T>(a.rows);
    sum_gradients(block, p.shape, a.dy, [&](Index at, Index c) { return normal(a.x, at, a.statistics, c); });
    block.each([&](int thread, Registers& own) {
      const Index c = p.shape.column(block, thread);
      if (!a.dx || c >= a.columns) return;
      const T scale = a.statistics.inverse[c] * (a.weight ? a.weight[c] : T(1));
      const T mean = a.from_batch ? own.of_dy / n : T(0), slope = a.from_batch ? own.of_normal / n : T(0);
      p.shape.down(c, thread, [&](Index at) {
        a.dx[at] = scale * ((a.dy[at] - mean) - normal(a.x, at, a.statistics, c) * slope);
      });
    });
    // After the input's gradient, which needs the old weights.
    block.each_alone([&](int thread, Registers& own) {
      const Index c = p.shape.column(block, thread);
      if (thread >= p.shape.width || c >= a.columns) return;
      take(p.bias, p.step, c, own.of_dy);
      take(p.weight, p.step, c, own.of_normal);
    });
  }
};

template <class T>
struct LayerNormBackwardColumns {
  static constexpr int kThreads = kColumnThreads;
  struct Params {
    LayerNormBackward<T> a;
    Columns shape;
    Sink<T> weight, bias;
    Step step;
  };
  struct Registers {
    T of_dy, of_normal;
  };

  static FASTMLP_DEVICE void run(Block<LayerNormBackwardColumns>& block, const Params& p) {
    const LayerNormBackward<T>& a = p.a;
    sum_gradients(block, p.shape, a.dy, [&](Index at, Index) { return normal(a.x, at, a.statistics, at / a.columns); });
    block.each_alone([&](int thread, Registers& own) {
      const Index c = p.shape.column(block, thread);
      if (thread >= p.shape.width || c >= a.columns) return;
      take(p.bias, p.step, c, own.of_dy);
      take(p.weight, p.step, c, own.of_normal);
    });
  }
};

}  // namespace

template <class T>
void layer_norm_forward(const LayerNormForward<T>& a, const Context& context) {
  using K = LayerNormRows<T>;
  const Rows shape = share_rows(a.rows, a.columns, many_threads());
  launch<K>({blocks_of(shape)}, kCombineBytes<K>, {a, shape}, context.stream);
}

template <class T>
void layer_norm_backward(const LayerNormBackward<T>& a, const Context& context) {
  if (a.dx) {
    using K = LayerNormBackwardRows<T>;
    const Rows shape = share_rows(a.rows, a.columns, many_threads());
    launch<K>({blocks_of(shape)}, kCombineBytes<K>, {a, shape}, context.stream);
  }
  if (!a.weight_sink.wanted() && !a.bias_sink.wanted()) return;
  const Columns shape(a.rows, a.columns);
  launch<LayerNormBackwardColumns<T>>({shape.blocks()}, kSumBytes<T>,
                                      {a, shape, {a.weight_sink, 1}, {a.bias_sink, 1}, Step(context)}, context.stream);
}

template <class T>
void batch_norm_forward(const BatchNormForward<T>& a, const Context& context) {
  const Columns shape(a.rows, a.columns);
  launch<BatchNormColumns<T>>({shape.blocks()}, kSumBytes<T>, {a, shape}, context.stream);
}

template <class T>
void batch_norm_backward(const BatchNormBackward<T>& a, const Context& context) {
  const Columns shape(a.rows, a.columns);
  launch<BatchNormBackwardColumns<T>>({shape.blocks()}, kSumBytes<T>,
                                      {a, shape, {a.weight_sink, 1}, {a.bias_sink, 1}, Step(context)}, context.stream);
}

#define FASTMLP_INSTANTIATE(T)                                                       \
  template void layer_norm_forward<T>(const LayerNormForward<T>&, const Context&);   \
  template void layer_norm_backward<T>(const LayerNormBackward<T>&, const Context&); \
  template void batch_norm_forward<T>(const BatchNormForward<T>&, const Context&);   \
  template void batch_norm_backward<T>(const BatchNormBackward<T>&, const Context&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::cuda
