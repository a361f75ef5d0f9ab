// The innermost loop: the sums of one tile, in registers from the first term to the epilogue.
#pragma once

#include "cpu/gemm/packing.h"
#include "cpu/gemm/terms.h"

namespace fastmlp::FASTMLP_ISA_NS {

// What earlier blocks of k have left.
template <class T>
struct Partial {
  const T* sums = nullptr;
  Index ld = 0;
};

// A tile of C: its corner, and how many of its columns exist.
struct TileAt {
  Index i, j;
  int columns;
};

template <class T, int R, int NV>
FASTMLP_INLINE void begin_sums(const Start<T>& start, const TileAt& at, Vec<T> (&sums)[R][NV]) {
  using V = Vec<T>;
  FASTMLP_UNROLL
  for (int v = 0; v < NV; ++v) {
    const int left = at.columns - v * V::lanes;
    const T* const own = start.values + at.j + v * V::lanes;
    const V columns = start.by_row ? V(T(0)) : left >= V::lanes ? V::load(own) : V::load_n(own, left);
    FASTMLP_UNROLL
    for (int r = 0; r < R; ++r) sums[r][v] = start.by_row ? V(start.values[at.i + r]) : columns;
  }
}

// Adds the products of `count` words a[k][r] * b[k][...] to sums[r][0 .. NV vectors); a and b point to the first and
// advance.
template <class T, int R, int NV, class Multiply>
FASTMLP_INLINE void add_products(Index count, const T*& a, const T*& b, Index ldb, Vec<T> (&sums)[R][NV]) {
  using V = Vec<T>;
  for (Index k = 0; k < count; ++k) {
    V row[NV];
    FASTMLP_UNROLL
    for (int v = 0; v < NV; ++v) row[v] = V::load(b + v * V::lanes);
    FASTMLP_UNROLL
    for (int r = 0; r < R; ++r) {
      const V scalar(a[r]);
      FASTMLP_UNROLL
      for (int v = 0; v < NV; ++v) sums[r][v] = Multiply::apply(scalar, row[v], sums[r][v]);
    }
    a += R;
    b += ldb;
  }
}

// Sums of fewer terms end before the divider has done the work that is left from the tile before: it comes first.
constexpr Index kShortSums = 48;

// The sums of K words (see terms.h). a is a packed panel of R rows, b has rows ldb apart. The epilogue gets the sums, with what `before` has added to them; one
// that has work left from the tile before does it bit by bit meanwhile (see epilogue.h).
template <class T, int R, int NV, class Epilogue, class Multiply>
void compute_tile(Index K, const T* a, const T* b, Index ldb, const Start<T>& start, const Partial<T>& before,
                  Epilogue& epilogue, const TileAt& at) {
  using V = Vec<T>;
  epilogue.prefetch(at, R);  // what it will touch comes while the loop runs
  V sums[R][NV];
  FASTMLP_UNROLL
  for (int r = 0; r < R; ++r) {
    FASTMLP_UNROLL
    for (int v = 0; v < NV; ++v) sums[r][v] = V(T(0));
  }
  if (start.values) begin_sums<T, R, NV>(start, at, sums);
  if constexpr (Epilogue::kDeferred) {
    if (K < kShortSums) epilogue.work_all();
    const Index pieces = epilogue.left(), step = K / (pieces + 1);
    for (Index piece = 0; piece < pieces; ++piece) {
      add_products<T, R, NV, Multiply>(step, a, b, ldb, sums);
      epilogue.work();
    }
    add_products<T, R, NV, Multiply>(K - pieces * step, a, b, ldb, sums);
  } else {
    add_products<T, R, NV, Multiply>(K, a, b, ldb, sums);
  }
  if (before.sums) {
    const T* row = before.sums + at.i * before.ld + at.j;
    FASTMLP_UNROLL
    for (int r = 0; r < R; ++r, row += before.ld) {
      FASTMLP_UNROLL
      for (int v = 0; v < NV; ++v) {
        // Without a branch for each vector, which would make a third of this code.
        const int left = at.columns - v * V::lanes;
        sums[r][v] = V::load_n(row + v * V::lanes, left < V::lanes ? left : V::lanes) + sums[r][v];
      }
    }
  }
  epilogue.template finish<R, NV>(sums, at);
}

template <class T, class Epilogue>
using Microkernel = void (*)(Index, const T*, const T*, Index, const Start<T>&, const Partial<T>&, Epilogue&,
                             const TileAt&);

// 0, 1, ... in a pack.
template <int... I>
struct Ints {};
template <int N, int... I>
struct MakeInts : MakeInts<N - 1, N - 1, I...> {};
template <int... I>
struct MakeInts<0, I...> {
  using type = Ints<I...>;
};

// One instance for each height of a tile, so that a batch's last rows do no extra work.
template <class T, int NV, class Epilogue, class Multiply, class Heights>
struct Microkernels;
template <class T, int NV, class Epilogue, class Multiply, int... R>
struct Microkernels<T, NV, Epilogue, Multiply, Ints<R...>> {
  static constexpr Microkernel<T, Epilogue> of_height[] = {
      compute_tile<T, R + Epilogue::kLeastHeight, NV, Epilogue, Multiply>...};
};
template <class T, int NV, class Epilogue, class Multiply = MultiplyAdd>
FASTMLP_INLINE Microkernel<T, Epilogue> find_microkernel(int rows) {
  using Heights = typename MakeInts<Blocking<T>::MR + 1 - Epilogue::kLeastHeight>::type;
  return Microkernels<T, NV, Epilogue, Multiply, Heights>::of_height[rows - Epilogue::kLeastHeight];
}

}  // namespace fastmlp::FASTMLP_ISA_NS
