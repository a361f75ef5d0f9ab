// Copies of a program's weights in the order in which products of few rows read them, kept between predictions.
#pragma once

#include <vector>

#include "core/program.h"

namespace fastmlp {

// Which values a program's parameters and buffers hold, as long as nobody has a view of them.
struct ValueVersions {
  std::vector<std::uint64_t> numbers;
  bool may_change_unseen = false;  // by views, or a training under way

  template <class T>
  explicit ValueVersions(const Program<T>& program) {
    for (const auto* all : {&program.parameters(), &program.buffers()})
      for (const auto& parameter : *all) {
        numbers.push_back(parameter->version.load(std::memory_order_acquire));
        numbers.push_back(parameter->watch.made.load(std::memory_order_relaxed));
        may_change_unseen |= parameter->watch.views.load(std::memory_order_relaxed) > 0 ||
                             parameter->fits.load(std::memory_order_relaxed) > 0;
      }
  }
};

template <class T>
class PackedWeights {
 public:
  // What was seen once; `pack` makes the copies.
  explicit PackedWeights(std::vector<std::uint64_t> versions_) : versions(std::move(versions_)) {}

  // How many values the copy of an operation's weight takes, 0: it gains nothing.
  static std::size_t size_for(const Program<T>& program, const Operation<T>& operation) {
    const bool packs = operation.kind == OperationKind::Affine && program.kernels().packed_weight_size;
    const bool rounds = program.precision() == Precision::BF16;
    if (!packs || rounds) return 0;
    return static_cast<std::size_t>(program.kernels().packed_weight_size(operation.weight->in, operation.weight->out));
  }
  // Of all copies.
  static std::size_t bytes_for(const Program<T>& program) {
    std::size_t size = 0;
    for (const Operation<T>& operation : program.operations()) size += size_for(program, operation);
    return size * sizeof(T);
  }

  void pack(const Program<T>& program, const Context& context) {
    copies_.resize(program.operations().size());
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      const Operation<T>& operation = program.operations()[i];
      const std::size_t size = size_for(program, operation);
      if (size == 0) continue;
      copies_[i].reserve(size);
      program.kernels().pack_weight(operation.weight->in, operation.weight->out, operation.weight->value.data(),
                                    copies_[i].data(), context);
    }
  }
  bool packed() const { return !copies_.empty(); }
  // Null: there is none.
  const T* of(int operation) const { return copies_[static_cast<std::size_t>(operation)].data(); }

  const std::vector<std::uint64_t> versions;

 private:
  std::vector<Buffer<T>> copies_;  // one for each operation, most of them empty
};

}  // namespace fastmlp
