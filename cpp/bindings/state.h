// The states of the core's classes as dicts of numbers and arrays.
#pragma once

#include "bindings/handles.h"
#include "core/state.h"

namespace fastmlp::bindings {

py::dict dict_of(const State& state);
// Anything that NumPy takes for numbers, by name: else TypeError or ValueError. `owner`: for messages.
State state_of(const py::dict& values, const char* owner);

}  // namespace fastmlp::bindings
