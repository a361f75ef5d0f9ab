// PReLU: columns with slopes that are learnt.
#pragma once

#include "core/contracts/normalization.h"
#include "cpu/column_groups.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
void prelu_forward(const PReLUForward<T>& a, const Context& context) {
  for_column_groups<T>(context, a.rows, a.columns, [&](const auto& group) {
    using V = Vec<T>;
    constexpr int n = std::remove_cvref_t<decltype(group)>::kVectors;
    V slope[n];
    for (int i = 0; i < n; ++i) slope[i] = a.shared ? V(*a.slope) : group.get(a.slope, i);
    for (Index row = 0; row < a.rows; ++row) {
      FASTMLP_UNROLL
      for (int i = 0; i < n; ++i) {
        const V x = group.get(a.x, row, i);
        group.set(a.y, row, i, select(x > V(T(0)), x, slope[i] * x));
      }
    }
  });
}

template <class T>
void prelu_backward(const PReLUBackward<T>& a, const Context& context) {
  for_column_groups<T>(context, a.rows, a.columns, [&](const auto& group) {
    using V = Vec<T>;
    constexpr int n = std::remove_cvref_t<decltype(group)>::kVectors;
    const V zero(T(0));
    V sums[n];
    sum_rows<n, T>(
        a.rows,
        [&](Index row, int i) {
          const V x = group.get(a.x, row, i);
          return select(x > zero, zero, x * group.get(a.dy, row, i));
        },
        sums);
    for (int i = 0; i < n; ++i) {
      const V slope = a.shared ? V(*a.slope) : group.get(a.slope, i);
      for (Index row = 0; a.dx && row < a.rows; ++row) {
        const V dy = group.get(a.dy, row, i);
        group.set(a.dx, row, i, select(group.get(a.x, row, i) > zero, dy, slope * dy));
      }
      if (a.shared)
        group.set(a.sums, i, sums[i]);
      else
        group.sink(a.slope_sink, i, sums[i]);
    }
  });
  if (!a.shared || !a.slope_sink.wanted()) return;
  a.sums[0] = row_sum<T>(a.columns, [&](Index c, auto part) { return load(a.sums + c, part); });
  sink_gradient(a.slope_sink, 0, 1, a.sums);
}

}  // namespace fastmlp::FASTMLP_ISA_NS
