// The three products of an affine layer of float32 with operands rounded to bfloat16 and sums in float32.
#pragma once

#include "core/contracts/affine.h"

namespace fastmlp {

// As those of backend.h, but for the bias's gradient. A row's result has the same bits in any batch here, too.
struct Bf16Products {
  const char* name;  // of the instructions
  bool (*supported)();
  void (*forward)(const AffineForward<float>&, const Context&);
  void (*backward_input)(const AffineBackwardInput<float>&, const Context&);
  void (*backward_weight)(const AffineBackwardWeight<float>&, const Context&);
};

// Those of the instruction set in use.
const Bf16Products& bf16_products();
// All that were compiled in, best first.
const Bf16Products* const* compiled_bf16_products(int& count);

template <class T>
inline constexpr bool has_bf16 = false;
template <>
inline constexpr bool has_bf16<float> = true;

}  // namespace fastmlp
