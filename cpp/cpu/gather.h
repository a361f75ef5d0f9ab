// The rows of a batch that is given by row numbers, brought together.
#pragma once

#include "cpu/loops.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
void gather(const GatherArgs<T>& a, const Context& context) {
  constexpr Index kWorthAThread = 16 * 1024;  // values
  const Index tasks =
      larger(1, smaller(smaller(context.executor.workers, a.rows), a.rows * (a.in + a.out) / kWorthAThread));
  const auto copy_row = [](const T* from, Index columns, T* to) {
    __builtin_memcpy(to, from, static_cast<std::size_t>(columns) * sizeof(T));
  };
  parallel_tasks(context, tasks, [&](Index task, int) {
    for (Index r = task * a.rows / tasks; r < (task + 1) * a.rows / tasks; ++r) {
      const Index from = a.ids ? a.ids[r] : r;
      copy_row(a.x + from * a.in, a.in, a.x_rows + r * a.in);
      if (a.targets.dense) copy_row(a.targets.dense + from * a.out, a.out, a.dense_rows + r * a.out);
      if (a.targets.classes) a.class_rows[r] = a.targets.classes[from];
      if (a.targets.weights) a.weight_rows[r] = a.targets.weights[from];
    }
  });
}

}  // namespace fastmlp::FASTMLP_ISA_NS
