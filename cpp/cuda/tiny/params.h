// What the kernels for tiny networks are told.
#pragma once

#include "cuda/single_block/output.h"

namespace fastmlp::cuda {

inline constexpr int kMostTinyDepth = 4;

template <class T>
struct TinyParams {
  int sizes[kMostTinyDepth + 1];
  ActivationKind activations[kMostTinyDepth];
  bool has_bias[kMostTinyDepth], trains[kMostTinyDepth][2];  // the weight and the bias
  OutputArgs<T> output;
  StepScale scale;
  const UpdateTarget<T>* parameters;
  const SingleBlockRows<T>* data;
  Targets<T> targets;
  bool by_ids, same_rows;
  Index row, steps;
  int rows, models;
  UpdateKind kind;
  bool keeps[3];
  const Update* updates;
  bool one_update;
  Index update_stride;
  double* losses;
};

}  // namespace fastmlp::cuda
