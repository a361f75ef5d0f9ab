#include "core/fusion.h"

#include <stdexcept>
#include <string>

namespace fastmlp {

template <class T>
std::vector<Operation<T>> numbered(std::vector<Operation<T>> operations) {
  using Op = Operation<T>;
  for (std::size_t i = 0; i < operations.size(); ++i)
    for (int& input : operations[i].inputs) {
      if (input == Op::kPrevious) input = static_cast<int>(i);
      if (input != Op::kNone && (input < 0 || input > static_cast<int>(i)))
        throw std::invalid_argument("layers: operation " + std::to_string(i) + " takes value " + std::to_string(input) +
                                    ", which is not there yet");
    }
  for (const Op& operation : operations)
    if ((operation.kind == OperationKind::Add) != (operation.inputs[1] != Op::kNone))
      throw std::invalid_argument("layers: a sum takes two values, all else takes one");
  return operations;
}

template <class T>
std::vector<int> uses_of(const std::vector<Operation<T>>& operations) {
  std::vector<int> uses(operations.size() + 1);
  for (const Operation<T>& operation : operations)
    for (const int input : operation.inputs)
      if (input != Operation<T>::kNone) ++uses[static_cast<std::size_t>(input)];
  return uses;
}

template <class T>
std::vector<Operation<T>> fused(const std::vector<Operation<T>>& operations) {
  using Op = Operation<T>;
  const std::vector<int> uses = uses_of(operations);
  std::vector<Op> result;
  std::vector<int> number(operations.size() + 1);  // what a value is called in the result
  std::vector<bool> takes_activation = {
      false};  // of the values of the result: they are made by a bare affine operation
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const Op& operation = operations[i];
    if (operation.kind == OperationKind::Activation) {
      const auto input = static_cast<std::size_t>(operation.inputs[0]);
      const auto made = static_cast<std::size_t>(number[input]);
      // The last value must stay the last one.
      const bool in_place = i + 1 < operations.size() || made == result.size();
      if (takes_activation[made] && uses[input] == 1 && in_place) {
        result[made - 1].activation = operation.activation;
        takes_activation[made] = false;
        number[i + 1] = static_cast<int>(made);
        continue;
      }
    }
    result.push_back(operation);
    for (int& input : result.back().inputs)
      if (input != Op::kNone) input = number[static_cast<std::size_t>(input)];
    number[i + 1] = static_cast<int>(result.size());
    takes_activation.push_back(operation.kind == OperationKind::Affine &&
                               operation.activation.kind == ActivationKind::Identity);
  }
  return result;
}

#define FASTMLP_INSTANTIATE(T)                                               \
  template std::vector<Operation<T>> numbered<T>(std::vector<Operation<T>>); \
  template std::vector<int> uses_of<T>(const std::vector<Operation<T>>&);    \
  template std::vector<Operation<T>> fused<T>(const std::vector<Operation<T>>&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
