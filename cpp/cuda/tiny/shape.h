// The sizes that a kernel for tiny networks is made for, and where the parameters of a smaller network lie among its own.
#pragma once

#include "cuda/block/block.h"

namespace fastmlp::cuda {

// A value of the kernel's layers: row `in` of a layer is its bias.
struct TinyPlace {
  int layer, row, column;
};

// in - hidden - ... - out, `layers` hidden layers, for networks whose hidden layers have `least` units or more. All values of a network lie one after the other, layer by layer, each
// layer row-major with the bias as its last row. Units that a network lacks have weights of 0 that are not trained.
template <int in, int least, int hidden, int layers, int out>
struct TinyShape {
  static constexpr int kIn = in, kLeast = least, kHidden = hidden, kLayers = layers, kOut = out, kDepth = layers + 1;

  static constexpr FASTMLP_FORMULA int terms(int l) { return l == 0 ? in : hidden; }
  static constexpr FASTMLP_FORMULA int columns(int l) { return l == layers ? out : hidden; }
  static constexpr FASTMLP_FORMULA int first(int l) {
    return l == 0 ? 0 : (in + 1) * hidden + (l - 1) * (hidden + 1) * hidden;
  }
  static constexpr int kValues = (in + 1) * hidden + (layers - 1) * (hidden + 1) * hidden + (hidden + 1) * out;
  // With the loss, which is summed like a gradient, as the last one; as many for each lane of a warp, or for each other.
  static constexpr int kPlaces = kValues < kWarp / 2 ? kWarp / 2 : (kValues + kWarp) / kWarp * kWarp;

  // `place` is below kValues.
  static FASTMLP_FORMULA TinyPlace locate(int place) {
    int l = layers;
    while (place < first(l)) --l;
    const int at = place - first(l);
    return {l, at / columns(l), at % columns(l)};
  }
};

}  // namespace fastmlp::cuda
