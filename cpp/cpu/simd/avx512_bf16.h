// AVX-512 with bfloat16 (AVX512_BF16): the vectors of AVX-512.
#pragma once

namespace fastmlp::avx512 {
template <class T>
struct Native;
}
namespace fastmlp::avx512_bf16 {
using avx512::Native;
}

#include "cpu/simd/avx512.h"
