// Normalisation of rows or columns, with a scale and a shift of each column; and PReLU, whose slopes are learnt, too.
#pragma once

#include "core/contracts/context.h"
#include "core/contracts/optimizer.h"

namespace fastmlp {

// What a forward pass keeps of each row or column for the backward one. The mean is pivot + offset, with one of the values
// as the pivot: differences from it are exact where the spread is small beside the mean. inverse: 1 / sqrt(variance + eps).
template <class T>
struct NormStatistics {
  T *pivot, *offset, *inverse;

  static constexpr int kVectors = 3;
  // Of n rows or columns, in memory for as many vectors.
  static NormStatistics in(T* memory, Index n) { return {memory, memory + n, memory + 2 * n}; }
};

// y = xhat weight + bias, xhat = (x - mean) / sqrt(variance + eps), with mean and biased variance of each row (Ba and
// others, arXiv 1607.06450). x, y: rows x columns; weight, bias: columns, or null for 1 and 0.
template <class T>
struct LayerNormForward {
  Index rows, columns;
  const T* x;
  const T *weight, *bias;
  double eps;
  NormStatistics<T> statistics;  // receives those of the rows
  T* y;
};

// With g = dy weight: dx = inverse (g - mean(g) - xhat mean(g xhat)), means over each row; dweight = column sums of
// dy xhat, dbias = column sums of dy. dx: rows x columns, or null.
template <class T>
struct LayerNormBackward {
  Index rows, columns;
  const T *x, *dy;
  const T* weight;
  NormStatistics<T> statistics;
  T* dx;
  GradientSink<T> weight_sink, bias_sink;
};

// The same with mean and variance of each column (Ioffe and Szegedy, arXiv 1502.03167): those of the batch or, without
// `from_batch`, the running ones. From the batch, the running ones (unless null) become (1 - momentum) old + momentum new,
// with the unbiased variance of the batch, which has at least two rows then.
template <class T>
struct BatchNormForward {
  Index rows, columns;
  const T* x;
  const T *weight, *bias;
  double eps;
  bool from_batch;
  bool deviations;  // `running_variance` holds standard deviations, and eps does not count; not with `from_batch`
  double momentum;
  T *running_mean, *running_variance;
  NormStatistics<T> statistics;  // receives those of the columns
  T* y;
};

// As LayerNormBackward with means over each column. Running statistics are constants: dx = inverse g.
template <class T>
struct BatchNormBackward {
  Index rows, columns;
  const T *x, *dy;
  const T* weight;
  bool from_batch;
  NormStatistics<T> statistics;
  T* dx;
  GradientSink<T> weight_sink, bias_sink;
};

// y = x > 0 ? x : slope x (He and others, arXiv 1502.01852). slope: columns, or, where `shared`, one for all.
template <class T>
struct PReLUForward {
  Index rows, columns;
  const T* x;
  const T* slope;
  bool shared;
  T* y;
};

// dx = x > 0 ? dy : slope dy, or null; dslope: the sums over columns, or all values, of x > 0 ? 0 : x dy.
template <class T>
struct PReLUBackward {
  Index rows, columns;
  const T *x, *dy;
  const T* slope;
  bool shared;
  T* sums;  // columns values to work in
  T* dx;
  GradientSink<T> slope_sink;
};

}  // namespace fastmlp
