// Rows and what is predicted for them, in arrays that stay: what a Predictor holds.
#pragma once

#include <optional>

#include "bindings/device_arrays.h"

namespace fastmlp::bindings {

struct BoundRows {
  Index rows, columns, outputs;
  std::size_t value_bytes;
  const Device* device;  // of the networks that take them
  py::object x_array, y_array;
  void *x, *y;
  std::optional<DeviceArray> there;  // x, if both lie on that device
};

}  // namespace fastmlp::bindings
