// Products of float32 with operands rounded to bfloat16 and sums in float32.
#pragma once

#include "core/contracts/affine.h"
#include "cpu/gemm/product.h"

namespace fastmlp {

// Instructions that multiply in bfloat16, for an instruction set whose tiles of float32 have the same size.
struct Bf16Instructions {
  const char* name;
  bool (*supported)();
  // A part of a product (see products.h). Null: there are none, and rounded operands are multiplied as floats.
  void (*multiply)(const Gemm<float>&, const Part&, float* scratch);
};

// The three products of an affine layer by one instruction set, as those of backend.h, but for the bias's gradient. A row's
// result has the same bits in any batch here, too.
struct Bf16Products {
  Bf16Instructions rounding;  // without instructions for bfloat16
  void (*forward)(const AffineForward<float>&, const Context&, const Bf16Instructions*);
  void (*backward_input)(const AffineBackwardInput<float>&, const Context&, const Bf16Instructions*);
  void (*backward_weight)(const AffineBackwardWeight<float>&, const Context&, const Bf16Instructions*);
};

struct Bf16 {
  const Bf16Products* products;
  const Bf16Instructions* instructions;
};

// What the instruction set in use multiplies with.
const Bf16Instructions& bf16_in_use();
// All that were compiled in, best first.
const Bf16* compiled_bf16(int& count);

template <class T>
inline constexpr bool has_bf16 = false;
template <>
inline constexpr bool has_bf16<float> = true;

// Null: the operands are taken as they are.
template <class T>
FASTMLP_INLINE const Bf16Instructions* bf16_of(const Context& context) {
  return has_bf16<T> && context.precision == Precision::BF16 ? &bf16_in_use() : nullptr;
}

}  // namespace fastmlp
