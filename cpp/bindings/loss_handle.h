// A loss as Python holds it.
#pragma once

#include "bindings/array_args.h"
#include "bindings/handles.h"

namespace fastmlp::bindings {

struct LossHandle {
  LossSpec spec;

  LossHandle(const std::string& name, const std::string& reduction, double delta);

  // The loss of plain arrays.
  double value(const py::object& input, const py::object& target) const;
};

}  // namespace fastmlp::bindings
