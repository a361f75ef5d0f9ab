// A loss as Python holds it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/contracts/loss.h"

namespace fastmlp::bindings {

struct LossHandle {
  LossSpec spec;  // may change; what follows does not
  // Of each class or column, or a single one for all columns; empty: 1.
  std::vector<double> column_weights;
  std::vector<double> column_params;  // see ops::LossParams
  std::optional<Index> ignore_index;  // of classes

  LossHandle(const std::string& name, const std::map<std::string, double>& options, std::vector<double> weights,
             std::vector<double> params, std::optional<Index> ignored);
  void set(const std::map<std::string, double>& options);
};

}  // namespace fastmlp::bindings
