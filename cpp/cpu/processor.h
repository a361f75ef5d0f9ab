// What the running processor can do. Defined in dispatch.cpp, which is compiled for the baseline.
#pragma once

namespace fastmlp::processor {

bool scalar();
bool avx2();    // AVX2 and FMA, enabled by the operating system
bool avx512();  // AVX-512 F, DQ, BW and VL
double now();   // seconds on a monotonic clock

}  // namespace fastmlp::processor
