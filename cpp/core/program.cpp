#include "core/program.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "core/fusion.h"

namespace fastmlp {

template <class T>
Program<T>::Program(std::vector<Operation<T>> operations, Precision precision)
    : operations_(fused(numbered(std::move(operations)))), precision_(precision) {
  uses_ = uses_of(operations_);
  for (int i = 0; i < size(); ++i) {
    const Operation<T>& operation = operations_[static_cast<std::size_t>(i)];
    chain_ = chain_ && operation.inputs[0] == i && operation.inputs[1] == Operation<T>::kNone;
  }
  collect_parameters();
  find_widths();
}

template <class T>
void Program<T>::collect_parameters() {
  for (const Operation<T>& operation : operations_)
    for (const auto& parameter : {operation.weight, operation.bias}) {
      if (!parameter) continue;
      if (std::find(parameters_.begin(), parameters_.end(), parameter) == parameters_.end())
        parameters_.push_back(parameter);
      else
        shares_parameters_ = true;
    }
  for (const Operation<T>& operation : operations_)
    for (const auto& buffer : {operation.batch.mean, operation.batch.variance})
      if (buffer) buffers_.push_back(buffer);
  std::vector<std::shared_ptr<Parameter<T>>> all = parameters_;
  all.insert(all.end(), buffers_.begin(), buffers_.end());
  if (!all.empty()) device_ = &all[0]->device();
  kernels_ = &kernels_of<T>(*device_);
  for (const auto& parameter : all)
    if (&parameter->device() != device_)
      throw std::invalid_argument(std::string("layers: expected parameters on one device, got some on ") +
                                  device_->name + " and some on " + parameter->device().name);
}

template <class T>
void Program<T>::find_widths() {
  const auto refuse = [](const std::string& what, Index expected, Index got) {
    throw std::invalid_argument("layers: " + what + " " + std::to_string(expected) + " and " + std::to_string(got) +
                                " features, which do not fit together");
  };
  // First those that follow from the affine operations; -1 stands for the width of the input.
  widths_.assign(operations_.size() + 1, -1);
  Index in = -1;
  const auto same = [&](Index& own, Index other, const char* what) {
    if (own >= 0 && other >= 0 && own != other) refuse(what, own, other);
    if (own < 0) own = other;
  };
  for (std::size_t i = 0; i < operations_.size(); ++i) {
    const Operation<T>& operation = operations_[i];
    const Index taken = width(operation.inputs[0]);
    widths_[i + 1] = taken;
    if (operation.kind == OperationKind::Affine) {
      if (taken < 0) same(in, operation.weight->in, "layers take the input with");
      if (taken >= 0 && taken != operation.weight->in)
        refuse("a layer follows another, with", operation.weight->in, taken);
      widths_[i + 1] = operation.weight->out;
    } else if (operation.features >= 0) {
      if (taken < 0) same(in, operation.features, "layers take the input with");
      if (taken >= 0 && taken != operation.features) refuse("a layer follows another, with", operation.features, taken);
      widths_[i + 1] = operation.features;
    } else if (operation.inputs[1] != Operation<T>::kNone) {
      const Index other = width(operation.inputs[1]);
      if (taken < 0 && other >= 0) same(in, other, "a sum is of the input and a value, with");
      if (other < 0 && taken >= 0) same(in, taken, "a sum is of the input and a value, with");
      same(widths_[i + 1], other, "a sum is of values with");
    }
  }
  for (Index& width : widths_)
    if (width < 0) width = in;
}

template <class T>
bool Program<T>::mixes_rows(bool training) const {
  return std::any_of(operations_.begin(), operations_.end(), [=](const Operation<T>& operation) {
    return operation.kind == OperationKind::BatchNorm && operation.from_batch(training);
  });
}

template <class T>
bool Program<T>::counts_batches() const {
  return std::any_of(operations_.begin(), operations_.end(), [](const Operation<T>& operation) {
    return operation.batch.mean && operation.from_batch(true) && !operation.batch.momentum;
  });
}

template <class T>
void Program<T>::add_batches(Index count) const {
  for (const Operation<T>& operation : operations_)
    if (operation.batch.batches && operation.from_batch(true)) {
      *operation.batch.batches += count;
      operation.batch.mean->count_change();
      operation.batch.variance->count_change();
    }
}

template <class T>
bool Program<T>::logits_for(LossKind kind) const {
  if (operations_.empty()) return false;
  const Operation<T>& last = operations_.back();
  if (last.kind == OperationKind::RowActivation)
    return kind == LossKind::NLL && last.row_activation == RowActivationKind::LogSoftmax;
  return kind == LossKind::BCE && last.activation.kind == ActivationKind::Sigmoid;
}

template class Program<float>;
template class Program<double>;

}  // namespace fastmlp
