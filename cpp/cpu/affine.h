// The three products of an affine layer: which kernel computes them.
#pragma once

#include "cpu/affine_products.h"
#include "cpu/bf16.h"
#include "cpu/narrow.h"
#include "cpu/skinny.h"
#include "cpu/sums.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Up to where the kernels of skinny.h beat gemm. Measured in float32, with AVX2 and AVX-512, one and two threads, for 1 to 16
// rows of 3072 x 512 and 512 x 512, and 1 to 1024 rows of 1 to 16 features in or out. Where it makes less than a tenth,
// gemm has it.
template <class T>
struct SkinnyLimits {
  static constexpr Index kForwardRows = Skinny<T>::kRegisters / 4;  // a higher tile is narrower
  static constexpr Index kInputRows = Blocking<T>::kManyRegisters ? 16 : 12;
  static constexpr Index kWeightRows = kSmallCode ? 2 : 8;
  // Whether dot products cost less than padding so few features to whole vectors: adding up the lanes of one takes about
  // as long as three multiply-adds.
  static constexpr bool prefer_dots(Index features, Index depth) {
    constexpr Index lanes = Vec<T>::lanes, kReduction = 3, kMost = 16;
    return features <= kMost && features * (depth + kReduction * lanes) < depth * round_up(features, lanes);
  }
  // Whether dW gains more by not packing, each value for N or K others, than it loses by updates that are not in registers,
  // of M terms each.
  static constexpr bool prefer_unpacked_gradient(Index M, Index N, Index K) {
    constexpr Index kPayingReuse = 48;
    return N * K <= smaller(kPayingReuse, M * 3 / 2) * (N + K);
  }
  static constexpr Index kOwnColumns = 128;    // of which each thread can have some, as in the forward pass
  static constexpr Index kShortSum = 4;        // features whose tiles last no longer than packing them
  static constexpr Index kShortInputSum = 16;  // the same for few rows of dx
};

template <class T>
void affine_forward(const AffineForward<T>& a, const Context& context) {
  if (const Bf16Instructions* bf16 = bf16_of<T>(context)) return forward_product(a, context, bf16);
  using Limits = SkinnyLimits<T>;
  Gemm<T> product{a.M, a.N, a.K, {a.x, a.ldx, 1}, {a.weight, a.N, 1}, a.y, a.ldy, {forward_epilogue<T>, &a}, {a.bias}};
  product.slivers = a.weight_slivers;
  const bool narrow = prefer_narrow<T>(a.N, a.K);
  if (a.M <= (narrow ? Skinny<T>::kMostRows : Limits::kForwardRows)) return few_rows(product, context);
  if (narrow) return narrow_outputs(a, context);
  if (a.K <= Limits::kShortSum) return short_sums(product, context);
  if (prefer_unpacked<T>(a.M, a.N, a.K)) return unpacked(product, context);
  forward_product(a, context);
}

template <class T>
void affine_backward_input(const AffineBackwardInput<T>& a, const Context& context) {
  if (const Bf16Instructions* bf16 = bf16_of<T>(context)) return backward_input_product(a, context, bf16);
  using Limits = SkinnyLimits<T>;
  const Gemm<T> product{
      a.M, a.K, a.N, {a.dz, a.lddz, 1}, {a.weight, 1, a.N}, a.dx, a.lddx, {backward_input_epilogue<T>, &a}};
  const bool narrow = a.N <= Limits::kShortInputSum && a.N * a.K <= Skinny<T>::kCopy;
  const bool few = a.M <= Limits::kInputRows;
  if (narrow && a.M > 1 && (few || a.N <= Limits::kShortSum)) return short_sums(product, context);
  if (few || Limits::prefer_dots(a.K, a.N)) return dots(product, context);
  backward_input_product(a, context);
}

// db, a vector of columns at a time.
template <class T>
void bias_gradient(const AffineBackwardWeight<T>& a, Index begin, Index end) {
  using V = Vec<T>;
  for (Index n = begin; n < end; n += V::lanes) {
    const int count = static_cast<int>(smaller(V::lanes, end - n));
    T sums[V::lanes];
    const T* dz = a.dz + n;
    const V sum = count == V::lanes ? sum_of<T>(a.M, [&](Index m) { return V::load(dz + m * a.lddz); })
                                    : sum_of<T>(a.M, [&](Index m) { return V::load_n(dz + m * a.lddz, count); });
    sum.store(sums);
    sink_gradient(a.bias, n, count, sums);
  }
}

// How many rows of the batch are added at a time: their values of x stay in registers.
constexpr Index kWeightTerms = kSmallCode ? 2 : 4;

template <class T, class Rows = typename MakeInts<kWeightTerms>::type>
struct WeightRows;

// R rows of dW from row k on, columns [n0, n0 + columns), into `out`, whose rows are `columns` apart: the terms of M rows of
// the batch from m0 on, added to those before unless they are the first.
template <class T, int M, int R, bool kFirst>
FASTMLP_INLINE void weight_products(const AffineBackwardWeight<T>& a, Index m0, Index k, Index n0, Index columns,
                                    T* out) {
  using V = Vec<T>;
  V x[R][M];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) x[r][m] = V(a.x[(m0 + m) * a.ldx + k + r]);
  for_vectors<T>(columns, [&](Index n, auto part) {
    V sum[R];
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) sum[r] = kFirst ? V(T(0)) : load(out + r * columns + n, part);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const V dz = load(a.dz + (m0 + m) * a.lddz + n0 + n, part);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) sum[r] = fma(x[r][m], dz, sum[r]);
    }
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) store(out + r * columns + n, sum[r], part);
  });
}

template <class T, int M>
FASTMLP_NOINLINE void add_more_terms(const AffineBackwardWeight<T>& a, Index m0, Index k, Index rows, Index n0,
                                     Index columns, T* tile) {
  Index r = 0;
  for (; r + 2 <= rows; r += 2) weight_products<T, M, 2, false>(a, m0, k + r, n0, columns, tile + r * columns);
  if (r < rows) weight_products<T, M, 1, false>(a, m0, k + r, n0, columns, tile + r * columns);
}

// Rows [k_begin, k_end), columns [n_begin, n_end) of dW for few rows of the batch, M of them or, if that is kWeightTerms,
// more: formed in L1, where the sink takes as many rows at a time as fit.
template <class T, int M>
void weight_block(const AffineBackwardWeight<T>& a, Index k_begin, Index k_end, Index n_begin, Index n_end) {
  constexpr Index kChunk = 2048;
  alignas(64) T tile[kChunk];
  for (Index n0 = n_begin; n0 < n_end; n0 += kChunk) {
    const Index columns = smaller(kChunk, n_end - n0), most = kChunk / columns;
    for (Index k = k_begin; k < k_end; k += most) {
      const Index rows = smaller(most, k_end - k);
      Index r = 0;
      for (; r + 2 <= rows; r += 2) weight_products<T, M, 2, true>(a, 0, k + r, n0, columns, tile + r * columns);
      if (r < rows) weight_products<T, M, 1, true>(a, 0, k + r, n0, columns, tile + r * columns);
      if constexpr (M == kWeightTerms)
        for (Index m = M; m < a.M; m += M)
          WeightRows<T>::more[smaller(M, a.M - m) - 1](a, m, k, rows, n0, columns, tile);
      if (columns == a.N)
        sink_gradient(a.weight, k * a.N, rows * columns, tile);
      else
        sink_tile(a.weight, {k * a.N + n0, rows, columns, a.N}, tile, columns);
    }
  }
}

template <class T, int... M>
struct WeightRows<T, Ints<M...>> {
  static constexpr void (*block[])(const AffineBackwardWeight<T>&, Index, Index, Index,
                                   Index) = {weight_block<T, M + 1>...};
  static constexpr void (*more[])(const AffineBackwardWeight<T>&, Index, Index, Index, Index, Index,
                                  T*) = {add_more_terms<T, M + 1>...};
};

// The epilogue for a tile of dW^T.
template <class T>
void transposed_weight_epilogue(const void* context, T* tile, Index, int rows, Index k0, int columns) {
  const auto& a = *static_cast<const AffineBackwardWeight<T>*>(context);
  if (rows == 1) return sink_gradient(a.weight, k0, columns, tile);
  T turned[Skinny<T>::kTile];
  for (int n = 0; n < rows; ++n)
    for (int k = 0; k < columns; ++k) turned[k * rows + n] = tile[n * Blocking<T>::NR + k];
  sink_gradient(a.weight, k0 * a.N, static_cast<Index>(columns) * rows, turned);
}

template <class T>
void affine_backward_weight(const AffineBackwardWeight<T>& a, const Context& context) {
  if (a.bias.wanted()) {
    parallel_ranges(context, a.N, larger(Vec<T>::lanes, kPiece / a.M),
                    [&](Index begin, Index end) { bias_gradient(a, begin, end); });
  }
  if (!a.weight.wanted()) return;
  if (const Bf16Instructions* bf16 = bf16_of<T>(context)) return backward_weight_product(a, context, bf16);
  if (a.M > LongProduct<T>::kShortest) return long_weight_gradient(a, context);
  using Limits = SkinnyLimits<T>;
  const bool narrow = prefer_narrow_gradient<T>(a.M, a.N);
  if (a.M <= Limits::kWeightRows && !narrow) {
    const auto block = WeightRows<T>::block[smaller(kWeightTerms, a.M) - 1];
    const Index work = a.K * a.N * larger(a.M, 2);
    if (splits_rows<T>(a.K, a.N, context)) {
      const Index blocks = k_blocks<T>(a.K);
      return parallel_blocks<T>(context, a.K, work, [&](Index begin, Index end) {
        block(a, begin * a.K / blocks, end * a.K / blocks, 0, a.N);
      });
    }
    if (a.N >= Limits::kOwnColumns)
      return parallel_split(context, a.N, work, 64, [&](Index begin, Index end, int) { block(a, 0, a.K, begin, end); });
    return parallel_split(context, a.K, work, 1, [&](Index begin, Index end, int) { block(a, begin, end, 0, a.N); });
  }
  if (a.N <= Skinny<T>::kMostRows)
    return few_rows<T>(
        {a.N, a.K, a.M, {a.dz, 1, a.lddz}, {a.x, a.ldx, 1}, nullptr, 0, {transposed_weight_epilogue<T>, &a}}, context);
  if (narrow) return narrow_weight_gradient(a, context);
  if (Limits::prefer_unpacked_gradient(a.M, a.N, a.K))
    return unpacked<T>({a.K, a.N, a.M, {a.x, 1, a.ldx}, {a.dz, a.lddz, 1}, nullptr, 0, {weight_epilogue<T>, &a}},
                       context);
  backward_weight_product(a, context);
}

template <class T>
bool weight_update_needs_grad(Index M) {
  return weight_blocks<T>(M) > 1;
}

}  // namespace fastmlp::FASTMLP_ISA_NS
