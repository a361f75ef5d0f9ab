#include "core/strategies/runner.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace fastmlp {

// A device's kernels count rows and columns as int.
template <class T>
void Runner<T>::check_extents(Index rows, Index columns) const {
  Index most = std::max(rows, columns);
  for (int value = 0; value <= program_.size(); ++value) most = std::max(most, program_.width(value));
  if (most > std::numeric_limits<int>::max())
    throw std::invalid_argument(
        "x: expected at most 2147483647 rows, features and outputs of a layer on a device, got " +
        std::to_string(most));
}

template <class T>
void Runner<T>::prepare(Index rows, Index columns, bool training) {
  if (is_for(rows, columns, training)) return;
  if (!device().host) check_extents(rows, columns);
  rows_ = -1;  // should an allocation fail
  partial_.reserve(1 + static_cast<std::size_t>(kernels().loss_partials(rows)));
  columns_ = columns;
  training_ = training;
  rows_ = rows;
  try {
    lay_out();
  } catch (...) {
    rows_ = -1;
    throw;
  }
}

template <class T>
void Runner<T>::steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows, DropoutState dropout,
                      Optimizer<T>& optimizer, double* losses, PendingDownload*) {
  Batch<T> rows = batch;
  for (Index i = 0; i < count; ++i, ++dropout.step) {
    losses[i] = step(spec, rows, &dropout, &optimizer);
    if (same_rows)
      rows.unchanged = true;
    else
      rows.advance(rows.rows, columns_, out_columns());
  }
}

template <class T>
LossArgs<T> Runner<T>::loss_args(const LossSpec& spec) {
  LossArgs<T> args{};
  args.spec = spec;
  args.rows = rows_;
  args.columns = out_columns();
  args.value = partial_.data();
  args.partial = partial_.data() + 1;
  return args;
}

template <class T>
double Runner<T>::loss_value() {
  if (device().host) return *partial_.data();
  double value = 0;
  check(device().download(&value, partial_.data(), sizeof value, StreamScope::current()));
  return value;
}

template <class T>
GradientSink<T> Runner<T>::sink(const std::shared_ptr<Parameter<T>>& parameter, Index rows, Optimizer<T>* fused) const {
  GradientSink<T> sink;
  if (!parameter || !parameter->requires_grad) return sink;
  if (gradients_) {
    sink.grad = gradients_;
    for (const auto& each : program_.parameters()) {
      if (each == parameter) break;
      sink.grad += spaced(*each);
    }
    sink.accumulate = adds_;
    return sink;
  }
  if (fused) {
    const int slot = fused->slot(parameter.get());
    if (slot < 0) return sink;
    sink.target = fused->target(slot);
    sink.update = &fused->update(slot);
    if (kernels().weight_update_needs_grad(rows)) sink.grad = parameter->grad_memory();
    return sink;
  }
  sink.grad = parameter->grad_memory();
  sink.accumulate = parameter->has_grad;
  parameter->has_grad = true;
  return sink;
}

template <class T>
void Runner<T>::begin_updates(Optimizer<T>& optimizer) const {
  optimizer.begin_step();
  for (const auto& parameter : program_.parameters())
    if (const int slot = optimizer.slot(parameter.get()); slot >= 0 && parameter->requires_grad)
      optimizer.next_update(slot);
}

template <class T>
void find_slots(const Program<T>& program, const Optimizer<T>& optimizer, std::vector<int>& slots) {
  slots.clear();
  for (const auto& parameter : program.parameters())
    if (const int slot = optimizer.slot(parameter.get()); slot >= 0 && parameter->requires_grad) slots.push_back(slot);
}

template class Runner<float>;
template class Runner<double>;
template void find_slots<float>(const Program<float>&, const Optimizer<float>&, std::vector<int>&);
template void find_slots<double>(const Program<double>&, const Optimizer<double>&, std::vector<int>&);

}  // namespace fastmlp
