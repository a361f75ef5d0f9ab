// The floating-point mode of a thread: rounding, and whether denormal numbers are flushed to zero. Threads that share a
// job take the caller's, so that its results do not depend on their number.
#pragma once

#include <cstdint>

namespace fastmlp {

#if defined(__x86_64__)
inline std::uint64_t float_mode() {
  return __builtin_ia32_stmxcsr() & ~0x3Fu;
}  // without the flags of what has happened
inline void set_float_mode(std::uint64_t mode) { __builtin_ia32_ldmxcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
inline std::uint64_t float_mode() {
  std::uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
inline void set_float_mode(std::uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
inline std::uint64_t float_mode() { return 0; }
inline void set_float_mode(std::uint64_t) {}
#endif

}  // namespace fastmlp
