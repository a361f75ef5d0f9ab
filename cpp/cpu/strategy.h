// THE CHOICE between the two strategies.
//
// Lanes win while the overheads of dense layers (a call and a fork and join for each, packing) are of the order of their
// work. Their own costs are lanes that no row fills, and in training a vector a weight of gradient sums, which leave L1
// from some hundred weights on. The limits are in weights, and rest on sweeps with each strategy forced (bench/LOG.md):
// networks of four equal widths from 1 to 128, batches from 1 to 4096, AVX2 and AVX-512, one and two threads.
#pragma once

#include "cpu/gemm/blocking.h"
#include "cpu/simd/quad.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
constexpr Index most_lanes_weights(Index rows, bool training) {
  if (rows <= 2) return training ? 512 : 256;
  if (rows <= 4) return training ? 1200 : 640;
  if (2 * rows <= Vec<T>::lanes) return training ? 512 : 1800;
  if (!training) return rows <= 2 * Vec<T>::lanes ? 6912 : 50000;
  return Blocking<T>::kManyRegisters ? 2400 : 4096;
}

// Whether a prediction of so many rows leaves more than an eighth of its lanes empty, which only the narrowest networks make
// up for.
template <class T>
constexpr bool wastes_lanes(Index rows, Index weights) {
  constexpr Index lanes = Vec<T>::lanes, kNarrow = 2000;
  if (rows <= lanes || weights <= kNarrow) return false;
  return 8 * rows < 7 * round_up(rows, rows <= 2 * lanes ? 2 * lanes : 4 * lanes);
}

template <class T>
bool prefers_lanes(const LanesLayer<T>* layers, int depth, Index rows, bool training) {
  constexpr Index kMostWidth = 128;  // wider blocks of activations leave L1
  Index weights = 0, width = layers[0].in;
  for (int l = 0; l < depth; ++l) {
    weights += layers[l].in * layers[l].out;
    width = larger(width, layers[l].out);
  }
  if (!training && wastes_lanes<T>(rows, weights)) return false;
  return width <= kMostWidth && weights <= most_lanes_weights<T>(rows, training);
}

}  // namespace fastmlp::FASTMLP_ISA_NS
