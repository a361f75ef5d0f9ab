// Matrices of tests, with marks where nobody may write.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "core/types.h"

namespace fastmlp::testing {

inline constexpr double kMark = 77;

inline std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// rows x columns values, rows `ld` apart, from `offset` on; nothing behind them, so that a sanitizer sees what goes beyond.
template <class T>
struct Matrix {
  Index rows, columns, ld, offset;
  std::vector<T> all;

  Matrix(Index rows, Index columns, Index gap, Index offset)
      : rows(rows),
        columns(columns),
        ld(columns + gap),
        offset(offset),
        all(at(offset + (rows - 1) * (columns + gap) + columns), static_cast<T>(kMark)) {}
  // Random numbers in [-1, 1).
  Matrix& fill(std::uint32_t seed) {
    for (T& v : all) {
      seed = seed * 1664525U + 1013904223U;
      v = static_cast<T>(static_cast<double>(seed >> 8) * 0x1p-23 - 1);
    }
    return *this;
  }
  T* data() { return all.data() + offset; }
  T& operator()(Index row, Index column) { return all[at(offset + row * ld + column)]; }
  T operator()(Index row, Index column) const { return all[at(offset + row * ld + column)]; }
  // Whether what lies between the values is as it was.
  bool marks_left() const {
    for (Index i = 0; i < static_cast<Index>(all.size()); ++i)
      if (i < offset || (i - offset) % ld >= columns)
        if (all[at(i)] != static_cast<T>(kMark)) return false;
    return true;
  }
};

template <class T>
bool same_bits(const Matrix<T>& a, const Matrix<T>& b) {
  return std::memcmp(a.all.data(), b.all.data(), a.all.size() * sizeof(T)) == 0;
}

}  // namespace fastmlp::testing
