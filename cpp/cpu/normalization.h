// Normalisation of rows and of columns, in two passes over the values: the mean, then the variance about it.
#pragma once

#include "core/contracts/normalization.h"
#include "cpu/column_groups.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
FASTMLP_INLINE T inverse_root(T variance) {
  return reduce_max(Vec<T>(T(1)) / sqrt(Vec<T>(variance)));
}

// Rows -------------------------------------------------------------------------------------------------------------

template <class T>
void layer_norm_row(const LayerNormForward<T>& a, Index row) {
  using V = Vec<T>;
  const T* const x = a.x + row * a.columns;
  T* const y = a.y + row * a.columns;
  const T pivot = x[0], n = static_cast<T>(a.columns);
  const T offset = row_sum<T>(a.columns, [&](Index c, auto part) { return load(x + c, part) - V(pivot); }) / n;
  const auto centred = [&](Index c, auto part) { return (load(x + c, part) - V(pivot)) - V(offset); };
  const T variance = row_sum<T>(a.columns,
                                [&](Index c, auto part) {
                                  const V d = centred(c, part);
                                  return d * d;
                                }) /
                     n;
  const T inverse = inverse_root(variance + static_cast<T>(a.eps));
  for_vectors<T>(a.columns, [&](Index c, auto part) {
    V value = centred(c, part) * V(inverse);
    if (a.weight) value = value * load(a.weight + c, part);
    if (a.bias) value += load(a.bias + c, part);
    store(y + c, value, part);
  });
  a.statistics.pivot[row] = pivot;
  a.statistics.offset[row] = offset;
  a.statistics.inverse[row] = inverse;
}

template <class T>
void layer_norm_forward(const LayerNormForward<T>& a, const Context& context) {
  parallel_ranges(context, a.rows, larger(1, kPiece / a.columns), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) layer_norm_row(a, row);
  });
}

template <class T>
void layer_norm_backward_row(const LayerNormBackward<T>& a, Index row) {
  using V = Vec<T>;
  const Index at = row * a.columns;
  const T *const x = a.x + at, *const dy = a.dy + at;
  T* const dx = a.dx + at;
  const V pivot(a.statistics.pivot[row]), offset(a.statistics.offset[row]), inverse(a.statistics.inverse[row]);
  const auto normal = [&](Index c, auto part) { return ((load(x + c, part) - pivot) - offset) * inverse; };
  const auto gradient = [&](Index c, auto part) {
    const V g = load(dy + c, part);
    return a.weight ? g * load(a.weight + c, part) : g;
  };
  const T n = static_cast<T>(a.columns);
  const V mean(row_sum<T>(a.columns, gradient) / n);
  const V slope(row_sum<T>(a.columns, [&](Index c, auto part) { return gradient(c, part) * normal(c, part); }) / n);
  for_vectors<T>(a.columns, [&](Index c, auto part) {
    store(dx + c, inverse * fnma(normal(c, part), slope, gradient(c, part) - mean), part);
  });
}

template <class T>
void layer_norm_backward(const LayerNormBackward<T>& a, const Context& context) {
  if (a.dx)
    parallel_ranges(context, a.rows, larger(1, kPiece / a.columns), [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) layer_norm_backward_row(a, row);
    });
  if (!a.weight_sink.wanted() && !a.bias_sink.wanted()) return;
  for_column_groups<T>(context, a.rows, a.columns, [&](const auto& group) {
    using V = Vec<T>;
    constexpr int n = std::remove_cvref_t<decltype(group)>::kVectors;
    V sums[2 * n];
    sum_rows<2 * n, T>(
        a.rows,
        [&](Index row, int i) {
          const V dy = group.get(a.dy, row, i % n);
          if (i < n) return dy;
          const V x = (group.get(a.x, row, i % n) - V(a.statistics.pivot[row])) - V(a.statistics.offset[row]);
          return dy * (x * V(a.statistics.inverse[row]));
        },
        sums);
    for (int i = 0; i < n; ++i) {
      group.sink(a.bias_sink, i, sums[i]);
      group.sink(a.weight_sink, i, sums[n + i]);
    }
  });
}

// Columns ----------------------------------------------------------------------------------------------------------

// The statistics of the batch, and what becomes of the running ones.
template <class T, class Group, int n>
FASTMLP_INLINE void batch_statistics(const BatchNormForward<T>& a, const Group& group, Vec<T> (&pivot)[n],
                                     Vec<T> (&offset)[n], Vec<T> (&inverse)[n]) {
  using V = Vec<T>;
  const V rows(static_cast<T>(a.rows)), momentum(static_cast<T>(a.momentum)), kept(static_cast<T>(1 - a.momentum));
  const V unbiased(static_cast<T>(static_cast<double>(a.rows) / static_cast<double>(a.rows - 1)));
  for (int i = 0; i < n; ++i) pivot[i] = group.get(a.x, 0, i);
  sum_rows<n, T>(a.rows, [&](Index row, int i) { return group.get(a.x, row, i) - pivot[i]; }, offset);
  for (int i = 0; i < n; ++i) offset[i] = offset[i] / rows;
  V variance[n];
  sum_rows<n, T>(
      a.rows,
      [&](Index row, int i) {
        const V d = (group.get(a.x, row, i) - pivot[i]) - offset[i];
        return d * d;
      },
      variance);
  for (int i = 0; i < n; ++i) {
    variance[i] = variance[i] / rows;
    inverse[i] = V(T(1)) / sqrt(variance[i] + V(static_cast<T>(a.eps)));
    if (!a.running_mean) continue;
    group.set(a.running_mean, i, fma(kept, group.get(a.running_mean, i), momentum * (pivot[i] + offset[i])));
    group.set(a.running_variance, i, fma(kept, group.get(a.running_variance, i), momentum * (variance[i] * unbiased)));
  }
}

template <class T, class Group, int n>
FASTMLP_INLINE void running_statistics(const BatchNormForward<T>& a, const Group& group, Vec<T> (&pivot)[n],
                                       Vec<T> (&offset)[n], Vec<T> (&inverse)[n]) {
  using V = Vec<T>;
  for (int i = 0; i < n; ++i) {
    const V spread = group.get(a.running_variance, i);
    pivot[i] = group.get(a.running_mean, i);
    offset[i] = V(T(0));
    inverse[i] = V(T(1)) / (a.deviations ? spread : sqrt(spread + V(static_cast<T>(a.eps))));
  }
}

template <class T>
void batch_norm_forward(const BatchNormForward<T>& a, const Context& context) {
  for_column_groups<T>(context, a.rows, a.columns, [&](const auto& group) {
    using V = Vec<T>;
    constexpr int n = std::remove_cvref_t<decltype(group)>::kVectors;
    V pivot[n], offset[n], inverse[n], weight[n], bias[n];
    if (a.from_batch)
      batch_statistics<T>(a, group, pivot, offset, inverse);
    else
      running_statistics<T>(a, group, pivot, offset, inverse);
    for (int i = 0; i < n; ++i) {
      group.set(a.statistics.pivot, i, pivot[i]);
      group.set(a.statistics.offset, i, offset[i]);
      group.set(a.statistics.inverse, i, inverse[i]);
      weight[i] = group.get_or(a.weight, i, T(1));
      bias[i] = group.get_or(a.bias, i, T(0));
    }
    for (Index row = 0; row < a.rows; ++row) {
      FASTMLP_UNROLL
      for (int i = 0; i < n; ++i) {
        const V normal = ((group.get(a.x, row, i) - pivot[i]) - offset[i]) * inverse[i];
        group.set(a.y, row, i, fma(normal, weight[i], bias[i]));
      }
    }
  });
}

template <class T>
void batch_norm_backward(const BatchNormBackward<T>& a, const Context& context) {
  for_column_groups<T>(context, a.rows, a.columns, [&](const auto& group) {
    using V = Vec<T>;
    constexpr int n = std::remove_cvref_t<decltype(group)>::kVectors;
    const V rows(static_cast<T>(a.rows)), zero(T(0));
    V pivot[n], offset[n], inverse[n], scale[n], mean[n], slope[n], sums[2 * n];
    for (int i = 0; i < n; ++i) {
      pivot[i] = group.get(a.statistics.pivot, i);
      offset[i] = group.get(a.statistics.offset, i);
      inverse[i] = group.get(a.statistics.inverse, i);
      scale[i] = inverse[i] * group.get_or(a.weight, i, T(1));
    }
    const auto normal = [&](Index row, int i) {
      return ((group.get(a.x, row, i) - pivot[i]) - offset[i]) * inverse[i];
    };
    sum_rows<2 * n, T>(
        a.rows,
        [&](Index row, int i) {
          const V dy = group.get(a.dy, row, i % n);
          return i < n ? dy : dy * normal(row, i % n);
        },
        sums);
    for (int i = 0; i < n; ++i) {
      mean[i] = a.from_batch ? sums[i] / rows : zero;
      slope[i] = a.from_batch ? sums[n + i] / rows : zero;
    }
    for (Index row = 0; a.dx && row < a.rows; ++row) {
      FASTMLP_UNROLL
      for (int i = 0; i < n; ++i)
        group.set(a.dx, row, i, scale[i] * fnma(normal(row, i), slope[i], group.get(a.dy, row, i) - mean[i]));
    }
    // After the input's gradient, which needs the old weights.
    for (int i = 0; i < n; ++i) {
      group.sink(a.bias_sink, i, sums[i]);
      group.sink(a.weight_sink, i, sums[n + i]);
    }
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
