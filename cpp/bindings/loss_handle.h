// A loss as Python holds it.
#pragma once

#include "bindings/handles.h"

namespace fastmlp::bindings {

struct LossHandle {
  LossSpec spec;

  LossHandle(const std::string& name, const std::map<std::string, double>& options);
  void set(const std::map<std::string, double>& options);
};

}  // namespace fastmlp::bindings
