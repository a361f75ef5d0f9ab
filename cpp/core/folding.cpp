#include "core/folding.h"

#include <algorithm>
#include <cmath>

namespace fastmlp {

namespace {

template <class T>
using Operations = std::vector<Operation<T>>;

template <class T>
bool by_running_statistics(const Operation<T>& operation) {
  return operation.kind == OperationKind::BatchNorm && !operation.from_batch(false);
}

// The affine operation whose output number i alone takes, or that alone takes the output of number i; -1: none.
template <class T>
int before(const Program<T>& program, int i) {
  const int input = program.operations()[static_cast<std::size_t>(i)].inputs[0];
  if (input == 0 || program.uses(input) != 1 || (i + 1 == program.size() && input != i)) return -1;
  const Operation<T>& operation = program.operations()[static_cast<std::size_t>(input - 1)];
  const bool plain = operation.activation.kind == ActivationKind::Identity;
  return operation.kind == OperationKind::Affine && plain ? input - 1 : -1;
}
template <class T>
int behind(const Program<T>& program, int i) {
  if (program.uses(i + 1) != 1) return -1;
  for (int next = i + 1; next < program.size(); ++next) {
    const Operation<T>& operation = program.operations()[static_cast<std::size_t>(next)];
    if (operation.inputs[0] == i + 1) return operation.kind == OperationKind::Affine ? next : -1;
    if (operation.inputs[1] == i + 1) return -1;
  }
  return -1;
}

// What a normalisation does to a column: (x - mean) scale + shift.
struct Column {
  double mean, inverse, scale, shift;
};
template <class T>
Column column_of(const Operation<T>& norm, std::size_t c) {
  const double spread = norm.batch.variance->value.data()[c];
  Column column{};
  column.mean = norm.batch.mean->value.data()[c];
  column.inverse = 1 / (norm.batch.deviations ? spread : std::sqrt(spread + norm.eps));
  column.scale = column.inverse * (norm.weight ? norm.weight->value.data()[c] : T(1));
  column.shift = norm.bias ? norm.bias->value.data()[c] : T(0);
  return column;
}

// Behind a normalisation, x times the scaled weight has the mean in it, which it loses only in the sum: digits that a mean
// far beyond the spread would cost.
template <class T>
bool keeps_digits(const Operation<T>& norm) {
  constexpr double kMostSpreads = 8;
  for (std::size_t c = 0; c < static_cast<std::size_t>(norm.features); ++c) {
    const Column column = column_of(norm, c);
    if (!(std::abs(column.mean) * column.inverse <= kMostSpreads)) return false;
  }
  return true;
}

// The affine operation with copies of its parameters, and with a bias.
template <class T>
void make_own(Operation<T>& affine) {
  const auto weight = std::make_shared<Parameter<T>>(affine.weight->in, affine.weight->out);
  const auto bias = std::make_shared<Parameter<T>>(1, affine.weight->out);
  std::copy_n(affine.weight->value.data(), weight->size(), weight->value.data());
  for (Index n = 0; n < bias->out; ++n) bias->value.data()[n] = affine.bias ? affine.bias->value.data()[n] : T(0);
  affine.weight = weight;
  affine.bias = bias;
}

template <class T>
void fold_into_one_before(const Operation<T>& norm, Operation<T>& affine) {
  make_own(affine);
  const auto out = static_cast<std::size_t>(affine.weight->out), in = static_cast<std::size_t>(affine.weight->in);
  T *const weight = affine.weight->value.data(), *const bias = affine.bias->value.data();
  for (std::size_t n = 0; n < out; ++n) {
    const Column column = column_of(norm, n);
    for (std::size_t k = 0; k < in; ++k) weight[k * out + n] = static_cast<T>(weight[k * out + n] * column.scale);
    bias[n] = static_cast<T>((bias[n] - column.mean) * column.scale + column.shift);
  }
}

template <class T>
void fold_into_one_behind(const Operation<T>& norm, Operation<T>& affine) {
  make_own(affine);
  const auto out = static_cast<std::size_t>(affine.weight->out), in = static_cast<std::size_t>(affine.weight->in);
  T *const weight = affine.weight->value.data(), *const bias = affine.bias->value.data();
  std::vector<double> shift(bias, bias + out);
  for (std::size_t k = 0; k < in; ++k) {
    const Column column = column_of(norm, k);
    for (std::size_t n = 0; n < out; ++n) {
      shift[n] += (column.shift - column.mean * column.scale) * weight[k * out + n];
      weight[k * out + n] = static_cast<T>(weight[k * out + n] * column.scale);
    }
  }
  for (std::size_t n = 0; n < out; ++n) bias[n] = static_cast<T>(shift[n]);
}

}  // namespace

template <class T>
bool can_fold(const Program<T>& program) {
  for (int i = 0; i < program.size(); ++i)
    if (by_running_statistics(program.operations()[static_cast<std::size_t>(i)]) &&
        (before(program, i) >= 0 || behind(program, i) >= 0))
      return true;
  return false;
}

template <class T>
Operations<T> folded(const Program<T>& program) {
  Operations<T> operations = program.operations(), result;
  std::vector<int> number = {0};  // what a value is called in the result
  const auto at = [](int i) { return static_cast<std::size_t>(i); };
  for (int i = 0; i < program.size(); ++i) {
    Operation<T> operation = operations[at(i)];
    bool gone = operation.kind == OperationKind::Dropout && (i + 1 < program.size() || operation.inputs[0] == i);
    if (by_running_statistics(operation)) {
      if (const int affine = before(program, i); affine >= 0) {
        fold_into_one_before(operation, result[at(number[at(affine + 1)] - 1)]);
        gone = true;
      } else if (const int next = behind(program, i); next >= 0 && keeps_digits(operation)) {
        fold_into_one_behind(operation, operations[at(next)]);
        gone = true;
      }
    }
    if (gone) {
      number.push_back(number[at(operation.inputs[0])]);
      continue;
    }
    for (int& input : operation.inputs)
      if (input >= 0) input = number[at(input)];
    result.push_back(std::move(operation));
    number.push_back(static_cast<int>(result.size()));
  }
  if (number.back() != static_cast<int>(result.size())) {  // the output is the last value
    Operation<T> same;
    same.kind = OperationKind::Activation;
    same.inputs[0] = number.back();
    result.push_back(same);
  }
  return result;
}

#define FASTMLP_INSTANTIATE(T)                  \
  template bool can_fold<T>(const Program<T>&); \
  template Operations<T> folded<T>(const Program<T>&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
