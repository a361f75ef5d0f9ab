// AMX with bfloat16: the vectors of AVX-512, and tiles of 16 rows of 64 bytes.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fastmlp::avx512 {
template <class T>
struct Native;
}

namespace fastmlp::amx {

using avx512::Native;

// The eight tile registers of a thread, from the first use to the last. The instructions are spelled out because the
// compiler's own names for them take no template argument and do not say that they read memory.
class Tiles {
 public:
  Tiles() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    static_assert(sizeof config == 64);
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  ~Tiles() { asm volatile("tilerelease"); }

  // Rows of 16 words, `ld` words apart.
  template <int tile>
  FASTMLP_INLINE void load(const float* words, std::ptrdiff_t ld) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(words), "r"(ld * 4), "i"(tile) : "memory");
  }
  template <int tile>
  FASTMLP_INLINE void store(float* words, std::ptrdiff_t ld) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(words), "r"(ld * 4), "i"(tile) : "memory");
  }
  // c += a b: rows of c are 16 floats, of a 16 pairs, and row i of b has the 16 columns' pair number i.
  template <int c, int a, int b>
  FASTMLP_INLINE void multiply_add() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
  }
};

}  // namespace fastmlp::amx

#include "cpu/simd/avx512.h"
