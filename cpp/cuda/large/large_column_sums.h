// The column sums of a matrix that an epilogue makes: each warp adds up its 16 rows and stores a row of sums; an ordinary
// kernel adds these rows up, a 16th of the matrix. So no two warps share a sum, and its order is fixed.
//
// Of a subtile of 16 rows x 32 columns, as wgmma hands it to a warp, lane 4 g + t has 16 values, of rows g and g + 8 and, of
// each eight columns, 2 t and 2 t + 1. It adds up its two rows; then lanes that have the same columns exchange halves of
// what they have, three times, until each has one column's sum.
#pragma once

#include "cuda/block/block.h"
#include "cuda/large/large_copies.h"

namespace fastmlp::cuda {

// Where the sums lie: `rows` rows of as many values as the matrix has columns, behind its copy.
struct SumsLayout {
  static constexpr Index kRows = 16;  // of the matrix, to a sum
  Index rows, columns;

  explicit SumsLayout(const Matrix& of) : rows((of.rows + kRows - 1) / kRows), columns(of.columns) {}
  static Index first_byte(const Matrix& of) {
    constexpr Index kAligned = 128;
    return (of.size() * 2 + kAligned - 1) / kAligned * kAligned;
  }
  Index bytes() const { return rows * columns * Index{sizeof(float)}; }
};

struct ColumnHalving {
  static constexpr int kValues = 16, kColumns = 32, kOwn = 8;

  // Value i of a lane, relative to its first one.
  static constexpr FASTMLP_DEVICE int row(int i) { return i / 2 % 2 * 8; }
  static constexpr FASTMLP_DEVICE int column(int i) { return i % 2 + i / 4 * 8; }
  // The first of the two values in the lane's column j; the other one is two further.
  static constexpr FASTMLP_DEVICE int value(int j) { return j / 2 * 4 + j % 2; }

  // With half = 4, 2, 1: the lane sends to lane ^ (4 half) one half of its sums, and adds what it gets to the other one.
  static FASTMLP_DEVICE float sent(const float (&sums)[kOwn], int lane, int half, int j) {
    return lane / 4 & half ? sums[j] : sums[j + half];
  }
  static FASTMLP_DEVICE float kept(const float (&sums)[kOwn], int lane, int half, int j) {
    return lane / 4 & half ? sums[j + half] : sums[j];
  }
  // Whose sum the lane has then, of the subtile's columns.
  static constexpr FASTMLP_DEVICE int column_of(int lane) { return lane % 4 * 2 + column(value(lane / 4)); }
};

}  // namespace fastmlp::cuda
