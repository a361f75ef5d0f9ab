// The words that the whole core shares: indices, kinds of activation, loss and optimizer, and their names.
#pragma once

#include <cstdint>

#include "ops/activations.h"
#include "ops/losses.h"
#include "ops/optimizers.h"

namespace fastmlp {

using Index = std::int64_t;

#define FASTMLP_ENUMERATOR(functor, name) functor,
#define FASTMLP_NAME(functor, name) name,

enum class ActivationKind : int { FASTMLP_ACTIVATIONS(FASTMLP_ENUMERATOR) };
inline constexpr const char* kActivationNames[] = {FASTMLP_ACTIVATIONS(FASTMLP_NAME)};

// Activations of a whole row. Their derivative follows from their output.
enum class RowActivationKind : int { Softmax, LogSoftmax };
inline constexpr const char* kRowActivationNames[] = {"softmax", "log_softmax"};

enum class LossKind : int { FASTMLP_LOSSES(FASTMLP_ENUMERATOR) };
inline constexpr const char* kLossNames[] = {FASTMLP_LOSSES(FASTMLP_NAME)};

enum class OptimizerKind : int { SGD, Adam, AdamW, RMSprop, NAdam, Adagrad, Lion };
inline constexpr const char* kOptimizerNames[] = {"sgd", "adam", "adamw", "rmsprop", "nadam", "adagrad", "lion"};

#define FASTMLP_PLAIN_ENUMERATOR(functor) functor,
enum class UpdateKind : int { FASTMLP_UPDATES(FASTMLP_PLAIN_ENUMERATOR) };

#define FASTMLP_COUNTED(functor) +1
inline constexpr int kUpdateKinds = 0 FASTMLP_UPDATES(FASTMLP_COUNTED);

#undef FASTMLP_COUNTED
#undef FASTMLP_ENUMERATOR
#undef FASTMLP_NAME
#undef FASTMLP_PLAIN_ENUMERATOR

struct Activation {
  ActivationKind kind = ActivationKind::Identity;
  double alpha = 0, beta = 0;

  bool operator==(const Activation&) const = default;
};

// Of functions that kernels call: each instruction set's code has its own, in whichever way it is compiled.
#define FASTMLP_IN_KERNELS [[gnu::always_inline]]

// Whether the backward pass of an activation wants the input z instead of the output.
FASTMLP_IN_KERNELS constexpr bool saves_input(ActivationKind kind) {
  // Bits, and no table, which a kernel would copy to the stack at each call.
#define FASTMLP_SAVES_INPUT(functor, name) +(std::uint64_t{ops::functor::kSavesInput} << int(ActivationKind::functor))
  constexpr std::uint64_t those = 0 FASTMLP_ACTIVATIONS(FASTMLP_SAVES_INPUT);
#undef FASTMLP_SAVES_INPUT
  return those >> static_cast<int>(kind) & 1;
}

constexpr bool is_pair_loss(LossKind kind) { return kind == LossKind::GaussianNLL; }
constexpr bool is_class_loss(LossKind kind) { return kind >= LossKind::NLL; }

}  // namespace fastmlp
