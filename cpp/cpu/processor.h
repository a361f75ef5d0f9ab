// What the running processor can do and has. Defined in dispatch.cpp and caches.cpp, which are compiled for the baseline.
#pragma once

namespace fastmlp::processor {

bool scalar();
bool avx2();    // AVX2 and FMA, enabled by the operating system
bool avx512();  // AVX-512 F, DQ, BW and VL
bool avx512_bf16();
bool amx();           // tiles of bfloat16, which this process may use
bool amx_emulated();  // for tests
double now();         // seconds on a monotonic clock

// Bytes of the data caches that a core has to itself.
struct Caches {
  long l1, l2;
};
const Caches& caches();

}  // namespace fastmlp::processor
