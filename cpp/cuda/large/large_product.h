// The large products' kernels: C++ types put together by CUTLASS's collective builders.
//
// Tiles of 128 x 128, so that a batch of 512 rows and a layer of 4096 outputs, 128 tiles, fill an H200's 132
// multiprocessors; two of them in a cluster share their tiles of B. Two warp groups work on a tile together
// (Cooperative), or each on its own, one multiplying while the other is in its epilogue (Pingpong), which is the
// better, the more an epilogue reads and writes.
#pragma once

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

// An assert() in a kernel is a call, and across calls ptxas lets no two wgmma instructions be under way.
#if !defined(NDEBUG)
#define NDEBUG
#endif

#include <cutlass/bfloat16.h>
#include <cutlass/gemm/device/gemm_universal_adapter.h>
#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>

#include "cuda/large/large_epilogue.h"

namespace fastmlp::cuda::large {

using Half = cutlass::bfloat16_t;
using RowMajor = cutlass::layout::RowMajor;
using ColumnMajor = cutlass::layout::ColumnMajor;
using Tile = cute::Shape<cute::_128, cute::_128, cute::_64>;
using Cluster = cute::Shape<cute::_2, cute::_1, cute::_1>;

struct Cooperative {
  using Mainloop = cutlass::gemm::KernelTmaWarpSpecializedCooperative;
  using Epilogue = cutlass::epilogue::TmaWarpSpecializedCooperative;
};
struct Pingpong {
  using Mainloop = cutlass::gemm::KernelTmaWarpSpecializedPingpong;
  using Epilogue = cutlass::epilogue::TmaWarpSpecialized;
};

// The node that stores its child's values, as Elements, to a row-major matrix, unless that is null. Source is the type
// of the matrix C, void where there is none.
template <class Schedule, class Source, class Element>
struct StoreTraits {
  using Epilogue =
      cutlass::epilogue::collective::detail::EpilogueDescriptor<Tile, cutlass::epilogue::collective::EpilogueTileAuto,
                                                                Source, float, typename Schedule::Epilogue>;
  using Aux = cutlass::epilogue::collective::detail::AuxStoreDescriptor<Epilogue, RowMajor, Element>;
  using Node =
      fusion::Sm90AuxStore<Aux::Stages, typename Aux::EpilogueTile, Element, cutlass::FloatRoundStyle::round_to_nearest,
                           typename Aux::Stride, typename Aux::SmemLayoutAtom, typename Aux::CopyOpR2S>;
};
template <class Schedule, class Source, class Element>
using Store = typename StoreTraits<Schedule, Source, Element>::Node;

// D = Visitor(A B, C) for rows x columns matrices C and D of floats, row-major, and a sum over `depth`. The layouts are
// those of A as a rows x depth matrix and of B as a depth x columns one.
template <class LayoutA, class LayoutB, class Schedule, class Source, class Visitor>
struct Product {
  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, Cluster,
      cutlass::epilogue::collective::EpilogueTileAuto, float, float, Source, RowMajor, 4, float, RowMajor, 4,
      typename Schedule::Epilogue, Visitor>::CollectiveOp;
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Half, LayoutA, 8, Half, LayoutB, 8, float, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(sizeof(typename Epilogue::SharedStorage))>,
      typename Schedule::Mainloop>::CollectiveOp;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<cute::Shape<int, int, int, int>, Mainloop, Epilogue>;
  using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
  using Arguments = typename Gemm::Arguments;

  static_assert(Mainloop::DispatchPolicy::Stages >= 4, "too few tiles under way to hide the memory's latency");

  // Row-major: (ld, 1); column-major: (1, ld).
  template <class Stride>
  static Stride stride(Index ld) {
    Stride result{};
    if constexpr (cute::is_static<cute::remove_cvref_t<decltype(cute::get<0>(result))>>::value)
      cute::get<1>(result) = ld;
    else
      cute::get<0>(result) = ld;
    return result;
  }

  static Arguments arguments(Index rows, Index columns, Index depth) {
    Arguments result{};
    result.mode = cutlass::gemm::GemmUniversalMode::kGemm;
    result.problem_shape = {static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(depth), 1};
    result.hw_info.sm_count = multiprocessors();
    return result;
  }
  static void operands(Arguments& to, const void* a, Index lda, const void* b, Index ldb) {
    to.mainloop.ptr_A = static_cast<const Half*>(a);
    to.mainloop.dA = stride<typename Kernel::StrideA>(lda);
    to.mainloop.ptr_B = static_cast<const Half*>(b);
    // CUTLASS has B's strides as those of its transpose, columns x depth.
    to.mainloop.dB = stride<typename Kernel::StrideB>(ldb);
  }
  static void results(Arguments& to, const Source* c, Index ldc, float* d, Index ldd) {
    to.epilogue.ptr_C = c;
    to.epilogue.dC = stride<typename Kernel::StrideC>(ldc);
    to.epilogue.ptr_D = d;
    to.epilogue.dD = stride<typename Kernel::StrideD>(ldd);
  }

  // Enqueues it; false where CUTLASS or the driver refuses.
  static bool run(const Arguments& arguments, Stream stream) {
    if (Gemm::can_implement(arguments) != cutlass::Status::kSuccess || Gemm::get_workspace_size(arguments) != 0)
      return false;
    Gemm gemm;
    if (gemm.initialize(arguments, nullptr, native(stream)) != cutlass::Status::kSuccess) return false;
    return gemm.run(native(stream)) == cutlass::Status::kSuccess;
  }
};

}  // namespace fastmlp::cuda::large

#endif
