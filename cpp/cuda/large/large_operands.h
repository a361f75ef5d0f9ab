// The operands of large products: which shapes suit, and their copies in bfloat16.
#pragma once

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

#include <initializer_list>
#include <mutex>

#include "core/backend.h"
#include "cuda/block/batch_rows.h"
#include "cuda/large/large_column_sums.h"
#include "cuda/large/large_copies.h"
#include "cuda/runtime/runtime.h"

namespace fastmlp::cuda::large {

// Whether a product of a batch of M rows, between K inputs and N outputs, is one for this module; alike for all three.
bool suits(Index M, Index N, Index K, const Context&);

// Whether TMA and vectors of 16 bytes can go along them: bases, and leading dimensions in elements.
bool aligned(std::initializer_list<const float*> matrices, std::initializer_list<Index> lds);

Moment moment(const Context&);
// Of a weight outside of captures; else of nothing known.
Source source(const ValueState&, const Context&);

// The table of copies, for one caller at a time.
class Table {
 public:
  Table();
  ~Table() = default;

  // Null where there is none; operand() makes it, unless that must not be now.
  Copy* find(const Matrix&);
  Copy* operand(const Matrix&, const Context&);

 private:
  std::unique_lock<std::mutex> lock_;
};

// Enqueues the rounding of the matrix into its copy.
void convert(const Matrix&, const Copy&, const Context&, const BatchRows& = {});

// Where the matrix's column sums lie, as SumsLayout says.
float* column_sums(const Matrix&, const Copy&);

}  // namespace fastmlp::cuda::large

#endif
