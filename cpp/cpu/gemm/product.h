// THE DESCRIPTION of a matrix product, which all instruction sets share: one may leave products of bfloat16 to
// instructions that an object of its own is compiled for.
#pragma once

#include "core/types.h"
#include "cpu/isa.h"

namespace fastmlp {

struct Bf16Instructions;  // cpu/bf16.h

// A view with one stride of 1, so that x, x^T, W and W^T need no transposed copies.
template <class T>
struct Strided {
  const T* p;
  Index row, column;
  FASTMLP_INLINE const T* at(Index i, Index j) const { return p + i * row + j * column; }
};

// What the first block's sums start from instead of zero: a value for each column of C, or for each row.
template <class T>
struct Start {
  const T* values = nullptr;
  bool by_row = false;
};

// An epilogue that works through memory: it receives the finished tile C[m0 .. m0+rows)[n0 .. n0+columns), rows NR apart.
template <class T>
struct Epilogue {
  void (*apply)(const void* context, T* tile, Index m0, int rows, Index n0, int columns);
  const void* context;
  // Called before a tile is computed, to prefetch what `apply` will touch; may be null.
  void (*prefetch)(const void* context, Index m0, int rows, Index n0, int columns) = nullptr;
};

// Epilogues in registers, for whole tiles. Those of an affine layer take their arguments from `Epilogue::context`; Store
// writes to `Gemm::partial`.
enum class Fused : int { None, Store, ReLU, ReLUDerivative, SGD, SGDMomentum, Adam };

// C[i][j] = sum_k A(i,k) B(k,j).
template <class T>
struct Gemm {
  Index M, N, K;
  Strided<T> A, B;
  T* partial;  // M x N, rows ld_partial apart: sums between blocks of k; may be null where there is one block
  Index ld_partial;
  Epilogue<T> epilogue;
  Start<T> start = {};
  Fused fused = Fused::None;               // what does the same as `epilogue`, where it is compiled in
  bool accumulate = false;                 // the sums start from what is in `partial`
  bool split_columns = false;              // see choose_grid
  const Bf16Instructions* bf16 = nullptr;  // unless null, A and B are rounded to bfloat16
  const T* slivers = nullptr;              // unless null, B as pack_weight (packing.h) makes it
};

// Rows and columns of C that one thread computes, and in how many blocks of terms.
struct Part {
  Index m_begin, m_end, n_begin, n_end, depth_blocks;
};

}  // namespace fastmlp
