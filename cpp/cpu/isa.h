// What every per-ISA translation unit shares: how its functions are inlined and where they live.
//
// A source file of the CPU backend is compiled once for each instruction set, with
// -DFASTMLP_ISA_NS=scalar, avx2 or avx512. All of its code lives in fastmlp::FASTMLP_ISA_NS, so
// that the linker can never merge a function compiled for AVX-512 into code for an older machine.
// For the same reason these files include no std template headers.
#pragma once

#ifndef FASTMLP_ISA_NS
#define FASTMLP_ISA_NS scalar
#endif

#define FASTMLP_INLINE inline __attribute__((always_inline))
// For what is called from many places, and seldom enough for a call to cost nothing: it keeps the package small.
#define FASTMLP_NOINLINE __attribute__((noinline))

#if defined(__clang__)
#define FASTMLP_UNROLL _Pragma("unroll")
#else
#define FASTMLP_UNROLL _Pragma("GCC unroll 32")
#endif

#define FASTMLP_STRING_OF(text) #text
#define FASTMLP_STRING(text) FASTMLP_STRING_OF(text)

// clang-format off: the spaces that it would put into the path would count.

// The vector header of this translation unit, for #include FASTMLP_ISA_HEADER.
#define FASTMLP_ISA_HEADER FASTMLP_STRING(cpu/simd/FASTMLP_ISA_NS.h)
// clang-format on

// The instruction set's name as a string.
#define FASTMLP_ISA_NAME FASTMLP_STRING(FASTMLP_ISA_NS)
