// For tests: AMX's tiles in plain C++, with vectors of one lane.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fastmlp::scalar {
template <class T>
struct Native;
}

namespace fastmlp::amx_emulated {

using scalar::Native;

class Tiles {
 public:
  template <int tile>
  void load(const float* words, std::ptrdiff_t ld) {
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 16; ++j) tiles_[tile][i][j] = words[i * ld + j];
  }
  template <int tile>
  void store(float* words, std::ptrdiff_t ld) const {
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 16; ++j) words[i * ld + j] = tiles_[tile][i][j];
  }
  // The first and the second halves of the pairs have sums of their own (Intel's manual, TDPBF16PS).
  template <int c, int a, int b>
  void multiply_add() {
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 16; ++j) {
        float first = 0, second = 0;
        for (int k = 0; k < 16; ++k) {
          const std::uint32_t x = bits(tiles_[a][i][k]), y = bits(tiles_[b][k][j]);
          first += value(x << 16) * value(y << 16);
          second += value(x & 0xffff0000) * value(y & 0xffff0000);
        }
        tiles_[c][i][j] += first + second;
      }
    }
  }

 private:
  static std::uint32_t bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }
  static float value(std::uint32_t x) { return __builtin_bit_cast(float, x); }

  float tiles_[8][16][16];
};

}  // namespace fastmlp::amx_emulated

#include "cpu/simd/scalar.h"
