// THE POLICY: native code computes without the GIL, except where the work is so little (a few microseconds) that
// handing the GIL over would cost more than another thread could do with it.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>

#include "core/types.h"

namespace fastmlp::bindings {

class ReleaseGilFor {
 public:
  // `values`: how many numbers the work multiplies or updates, about.
  explicit ReleaseGilFor(Index values) {
    if (values > kBriefly) released_.emplace();
  }

 private:
  static constexpr Index kBriefly = 10'000;
  std::optional<pybind11::gil_scoped_release> released_;
};

}  // namespace fastmlp::bindings
