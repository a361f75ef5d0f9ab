// Metrics as Python holds them.
#pragma once

#include "bindings/handles.h"
#include "core/metrics.h"

namespace fastmlp::bindings {

// ValueError unless the metric makes sense of such targets: classes or values, of outputs with so many columns.
void check_metric(const std::string& name, const MetricSpec& spec, bool classes, Index columns);

}  // namespace fastmlp::bindings
