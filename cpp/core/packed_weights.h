// Copies of a program's wide weights in the order in which products of few rows read them, kept between predictions.
#pragma once

#include <vector>

#include "core/program.h"

namespace fastmlp {

// Which values some parameters hold: while nobody could change them unseen, they change with their numbers.
struct ValueVersions {
  std::vector<std::uint64_t> numbers;
  bool may_change_unseen = false;  // through views, or by a training under way

  template <class T>
  void add(const Parameter<T>& parameter) {
    numbers.push_back(parameter.version.load(std::memory_order_acquire));
    numbers.push_back(parameter.watch.made.load(std::memory_order_acquire));
    may_change_unseen |=
        parameter.watch.views.load(std::memory_order_acquire) > 0 || parameter.fits.load(std::memory_order_acquire) > 0;
  }
};

template <class T>
class PackedWeights {
 public:
  // Of the values with these versions; `pack` makes the copies.
  explicit PackedWeights(std::vector<std::uint64_t> versions_) : versions(std::move(versions_)) {}

  // How many values the copy of an operation's weight takes; 0: it gains nothing.
  static std::size_t size_for(const Program<T>& program, const Operation<T>& operation) {
    const bool packs = operation.kind == OperationKind::Affine && program.kernels().packed_weight_size;
    if (!packs || program.precision() == Precision::BF16) return 0;
    return static_cast<std::size_t>(program.kernels().packed_weight_size(operation.weight->in, operation.weight->out));
  }
  // Of all copies.
  static std::size_t bytes_for(const Program<T>& program) {
    std::size_t size = 0;
    for (const Operation<T>& operation : program.operations()) size += size_for(program, operation);
    return size * sizeof(T);
  }
  // Of the weights that have copies.
  static ValueVersions versions_now(const Program<T>& program) {
    ValueVersions now;
    for (const Operation<T>& operation : program.operations())
      if (size_for(program, operation) > 0) now.add(*operation.weight);
    return now;
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
  int predictions = 1;  // with these values, while there are no copies

 private:
  std::vector<Buffer<T>> copies_;  // one for each operation, most of them empty
};

}  // namespace fastmlp
