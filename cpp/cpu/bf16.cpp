// Products in bfloat16 of one instruction set. Compiled once for each, as kernels.cpp; exports nothing but the table.
#include "cpu/bf16.h"

#include "cpu/isa.h"

#include FASTMLP_ISA_HEADER

#include "cpu/affine_products.h"
#include "cpu/processor.h"
#include FASTMLP_BF16_HEADER

namespace fastmlp::FASTMLP_ISA_NS {
namespace {

using Form = FASTMLP_BF16_FORM;

bool supported() { return processor::FASTMLP_ISA_NS(); }

}  // namespace

extern const Bf16Products kBf16;
const Bf16Products kBf16 = {FASTMLP_ISA_NAME, supported, forward_product<Form, float>,
                            backward_input_product<Form, float>, backward_weight_product<Form, float>};

}  // namespace fastmlp::FASTMLP_ISA_NS
