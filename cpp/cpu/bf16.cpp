// Products in bfloat16 by instructions of their own. Compiled once for each, as kernels.cpp; exports nothing but what
// multiplies: what follows a product is left to the instruction set that asks.
#include "cpu/bf16.h"

#include "cpu/isa.h"

#include FASTMLP_ISA_HEADER

#include "cpu/processor.h"
#include FASTMLP_BF16_HEADER

namespace fastmlp::FASTMLP_ISA_NS {
namespace {

bool supported() { return processor::FASTMLP_ISA_NS(); }

}  // namespace

extern const Bf16Instructions kBf16;
const Bf16Instructions kBf16 = {FASTMLP_ISA_NAME, supported, multiply};

}  // namespace fastmlp::FASTMLP_ISA_NS
