// Copies of a program's wide weights in the order in which products of few rows read them, kept between predictions.
#pragma once

#include <vector>

#include "core/program.h"

namespace fastmlp {

template <class T>
class PackedWeights {
 public:
  // Of weights that are in these states; `pack` makes the copies.
  explicit PackedWeights(std::vector<ValueState> states_) : states(std::move(states_)) {}

  // The operations whose weights gain by a copy; none where the copies would take much memory.
  static std::vector<int> operations_of(const Program<T>& program) {
    constexpr std::size_t kMostBytes = std::size_t{256} << 20;
    std::vector<int> all;
    if (!program.kernels().packed_weight_size || program.precision() == Precision::BF16) return all;
    std::size_t bytes = 0;
    for (int i = 0; i < program.size(); ++i) {
      const std::size_t size = size_for(program, i);
      if (size > 0) all.push_back(i);
      bytes += size * sizeof(T);
    }
    return bytes > kMostBytes ? std::vector<int>{} : all;
  }

  void pack(const Program<T>& program, const std::vector<int>& operations, const Context& context) {
    copies_.resize(program.operations().size());
    for (const int i : operations) {
      const Parameter<T>& weight = *program.operations()[static_cast<std::size_t>(i)].weight;
      Buffer<T>& copy = copies_[static_cast<std::size_t>(i)];
      copy.reserve(size_for(program, i));
      program.kernels().pack_weight(weight.in, weight.out, weight.value.data(), copy.data(), context);
    }
  }
  bool packed() const { return !copies_.empty(); }
  // Null: there is none.
  const T* of(int operation) const { return copies_[static_cast<std::size_t>(operation)].data(); }

  const std::vector<ValueState> states;
  int predictions = 0;  // that could have used copies, while there are none

 private:
  static std::size_t size_for(const Program<T>& program, int i) {
    const Operation<T>& operation = program.operations()[static_cast<std::size_t>(i)];
    if (operation.kind != OperationKind::Affine) return 0;
    return static_cast<std::size_t>(program.kernels().packed_weight_size(operation.weight->in, operation.weight->out));
  }

  std::vector<Buffer<T>> copies_;  // one for each operation, most of them empty
};

}  // namespace fastmlp
