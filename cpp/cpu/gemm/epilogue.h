// What becomes of a tile's finished sums. An epilogue is a template argument of the microkernel:
//
//   prefetch(at, rows)      before the sums: prefetches what `finish` will touch
//   finish(sums, at)   takes them, in registers
//   kDeferred        whether `finish` leaves work for the next tile's loop: `work` does one of `left()` pieces
//   kLeastHeight     of a tile: 1, that of blocking.h, or more
//
// Cheap ones work in registers, on tiles of whole vectors. An optimizer that divides and takes roots works later: the
// divider is idle while multiply-adds run. All else goes through memory: `Buffered` leaves the tile in L1 for a function.
#pragma once

#include "cpu/gemm/microkernel.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Asks for the lines of a tile's rows, which will be written.
template <class T>
FASTMLP_INLINE void prefetch_tile(const T* first, Index ld, int rows) {
  constexpr int kLine = 64 / sizeof(T);
  for (int r = 0; r < rows; ++r, first += ld) {
    FASTMLP_UNROLL
    for (int j = 0; j < Blocking<T>::NR; j += kLine) __builtin_prefetch(first + j, 1, 3);
    __builtin_prefetch(first + Blocking<T>::NR - 1, 1, 3);  // a row need not begin with a line
  }
}

template <class T>
FASTMLP_INLINE void copy_rows(const T* from, Index ld_from, int rows, int columns, T* to, Index ld_to) {
  for (int r = 0; r < rows; ++r, from += ld_from, to += ld_to)
    for_vectors<T>(columns, [&](Index j, auto part) { store(to + j, load(from + j, part), part); });
}

// Stores the sums in C.
template <class T>
struct Store {
  static constexpr bool kDeferred = false;
  static constexpr int kLeastHeight = Blocking<T>::kLeastHeight;
  T* c;
  Index ldc;

  FASTMLP_INLINE void prefetch(const TileAt& at, int rows) const { prefetch_tile(c + at.i * ldc + at.j, ldc, rows); }
  template <int R, int NV>
  FASTMLP_INLINE void finish(const Vec<T> (&sums)[R][NV], const TileAt& at) const {
    T* row = c + at.i * ldc + at.j;
    FASTMLP_UNROLL
    for (int r = 0; r < R; ++r, row += ldc) {
      FASTMLP_UNROLL
      for (int v = 0; v < NV; ++v) sums[r][v].store(row + v * Vec<T>::lanes);
    }
  }
};

template <class T, int R, int NV>
FASTMLP_INLINE void store_sums(const Vec<T> (&sums)[R][NV], T* tile) {
  FASTMLP_UNROLL
  for (int r = 0; r < R; ++r) {
    FASTMLP_UNROLL
    for (int v = 0; v < NV; ++v) sums[r][v].store(tile + r * Blocking<T>::NR + v * Vec<T>::lanes);
  }
}

// Through memory (see product.h).
template <class T>
struct Buffered {
  static constexpr bool kDeferred = false;
  static constexpr int kLeastHeight = 1;
  Epilogue<T> epilogue;
  T* tile;  // in L1

  FASTMLP_INLINE void prefetch(const TileAt& at, int rows) const {
    if (epilogue.prefetch) epilogue.prefetch(epilogue.context, at.i, rows, at.j, at.columns);
  }
  template <int R, int NV>
  FASTMLP_INLINE void finish(const Vec<T> (&sums)[R][NV], const TileAt& at) const {
    store_sums<T, R, NV>(sums, tile);
    epilogue.apply(epilogue.context, tile, at.i, R, at.j, at.columns);
  }
};

// The same as Store, for tiles that are not whole.
template <class T>
void store_tile(const void* context, T* tile, Index i, int rows, Index j, int columns) {
  const auto& to = *static_cast<const Store<T>*>(context);
  copy_rows(tile, Blocking<T>::NR, rows, columns, to.c + i * to.ldc + j, to.ldc);
}

// Work on a finished tile, row by row, while the next tile's sums are formed. It has two halves, Body::begin(row, i, j)
// and, beside the next row's first half, Body::end(row, i, j): an update that waited for a root and then for a division
// would be too long for the registers that a processor has to run ahead of it. What the next tile's work will touch is
// asked for row by row, too: all at once would take the buffers that the loop's own lines pass through.
template <class T, class Body>
struct DeferredEpilogue {
  static constexpr bool kDeferred = true;
  static constexpr int kLeastHeight = Blocking<T>::MR * 5 / 6;  // its code is long, and lower tiles are rare
  Body body;
  T* tile;  // NR columns; the tile that is worked on, whose sums nobody else needs
  TileAt at{}, next{};
  int done = 0, rows = 0;
  int rows_ahead = 0;  // of `next`, still to be asked for

  FASTMLP_INLINE void prefetch(const TileAt& coming, int height) {
    next = coming;
    rows_ahead = height;
    if (left() == 0) prefetch_rest();
  }
  FASTMLP_INLINE int left() const { return rows > 0 ? rows + 1 - done : 0; }
  FASTMLP_INLINE void work() {
    T* const row = tile + done * Blocking<T>::NR;
    if (done > 0) body.end(row - Blocking<T>::NR, at.i + done - 1, at.j);
    if (done < rows) body.begin(row, at.i + done, at.j);
    ++done;
    prefetch_row();
  }
  FASTMLP_NOINLINE void work_all() {
    while (left() > 0) work();
  }
  template <int R, int NV>
  FASTMLP_INLINE void finish(const Vec<T> (&sums)[R][NV], const TileAt& finished) {
    prefetch_rest();
    store_sums<T, R, NV>(sums, tile);
    at = finished;
    done = 0;
    rows = R;
  }

 private:
  FASTMLP_INLINE void prefetch_row() {
    if (rows_ahead == 0) return;
    body.prefetch(next, 1);
    ++next.i;
    --rows_ahead;
  }
  FASTMLP_INLINE void prefetch_rest() {
    while (rows_ahead > 0) prefetch_row();
  }
};

// No epilogue of its own for whole tiles: everything is buffered.
template <class T>
struct NoRegisterEpilogue {
  static constexpr bool kDeferred = false;
};

}  // namespace fastmlp::FASTMLP_ISA_NS
