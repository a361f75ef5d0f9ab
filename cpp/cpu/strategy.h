// THE CHOICE between the two strategies.
#pragma once

#include "cpu/loops.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Lanes win while weights and a block of activations fit L1 and the overheads
// of a GEMM (packing, a call per layer) are of the order of its work; a single row leaves all lanes but one idle, so
// that only the smallest networks gain then.
template <class T>
bool prefers_lanes(const LanesLayer<T>* layers, int depth, Index rows) {
  constexpr Index kMostWeights = 2560, kMostWidth = 128, kMostWeightsForFewRows = 512;
  Index weights = 0, width = layers[0].in;
  for (int l = 0; l < depth; ++l) {
    weights += layers[l].in * layers[l].out;
    width = larger(width, layers[l].out);
  }
  const bool few_rows = 2 * rows < Vec<T>::lanes;
  return width <= kMostWidth && weights <= (few_rows ? kMostWeightsForFewRows : kMostWeights);
}

}  // namespace fastmlp::FASTMLP_ISA_NS
