// Matrix products of large float networks in bfloat16, on Hopper's warp-group tensor core instructions through CUTLASS
// (warp-specialised kernels fed by TMA); what else a layer does happens in the products' epilogues (large_epilogue.h).
// TF32 is not here: those instructions take operands of 4 bytes along the summed index only, which W is not forward,
// and neither x nor dz is for W's gradient.
//
// Each function says false, and has done nothing, where it does not suit: another precision, another device than
// capability 9.0 or a build without CUTLASS, small shapes, widths that are no multiples of 8, or matrices that do not
// begin and go on at multiples of 16 bytes.
//
// Operands are rounded to bfloat16 by a kernel before the product, into memory of this module's own that lies beside
// each matrix. It is allocated when a matrix is seen for the first time, so not while steps are recorded: then such a
// product is refused. Within a recording the copies are used again, and most are written by the epilogue that makes the
// matrix; large_copies.h says which are good when.
#pragma once

#include "core/backend.h"
#include "cuda/runtime/runtime.h"

namespace fastmlp::cuda {

// Whether the passes forward and to the weight are here, as far as the shape says.
bool large_takes(Index M, Index N, Index K, const Context&);
bool large_forward(const AffineForward<float>&, const Context&);
bool large_backward_input(const AffineBackwardInput<float>&, const Context&);
// The weight's part alone; the bias's is the caller's.
bool large_backward_weight(const AffineBackwardWeight<float>&, const Context&);

// Releases the copies of matrices whose memory has been released.
void large_tidy();

// While it lives, the thread enqueues nothing that writes an operand of a later product. For a layer's bias gradient,
// which stands between products that share an operand.
class WritesNoOperand {
 public:
  WritesNoOperand() : before_(enqueued) {}
  ~WritesNoOperand() { enqueued = before_; }
  WritesNoOperand(const WritesNoOperand&) = delete;
  WritesNoOperand& operator=(const WritesNoOperand&) = delete;

 private:
  std::uint64_t before_;
};

}  // namespace fastmlp::cuda
