// A loss as Python holds it.
#pragma once

#include "bindings/handles.h"

namespace fastmlp::bindings {

struct LossHandle {
  LossSpec spec;

  LossHandle(const std::string& name, const std::string& reduction, double delta);
  void set(const std::string& reduction, double delta);
};

}  // namespace fastmlp::bindings
