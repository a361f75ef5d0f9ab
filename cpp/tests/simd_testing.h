// What the tests of the vector layer share. They are compiled once for each instruction set, with its flags and with
// -DFASTMLP_ISA_NS=scalar, avx2 or avx512.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string_view>
#include <type_traits>

#include "cpu/vmath.h"

namespace simd_testing {

inline int failures = 0;

constexpr bool kIsScalar = std::string_view(FASTMLP_ISA_NAME) == "scalar";
template <class T>
constexpr const char* kTypeName = sizeof(T) == 4 ? "float" : "double";
template <class T>
using Pattern = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
template <class T>
using Limits = std::numeric_limits<T>;

// The same bits, or both NaN.
template <class T>
bool same(T a, T b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<Pattern<T>>(a) == std::bit_cast<Pattern<T>>(b);
}

// Runs the tests where the processor can: the exit status, 77 for "skipped".
template <class Test>
int run(Test test) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool needs_avx512 = std::string_view(FASTMLP_ISA_NAME) == "avx512";
  if ((!kIsScalar && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) ||
      (needs_avx512 && !__builtin_cpu_supports("avx512dq"))) {
    std::printf("skipped: this processor has no %s\n", FASTMLP_ISA_NAME);
    return 77;
  }
#endif
  test();
  if (failures != 0) std::printf("%d FAILED\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace simd_testing
