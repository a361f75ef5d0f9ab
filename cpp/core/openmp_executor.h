// The threads of an OpenMP runtime that the process has loaded already, as PyTorch does. Who computes between its
// parallel regions had better use these threads: they spin for a while after each, and would take the processors from any
// others. Nothing is linked: the runtime's functions are looked up by name.
#pragma once

#include "core/backend.h"

namespace fastmlp {

// As many threads as the runtime would use for the caller. Those of the core's own pool where there is no runtime, or the
// process has been forked.
Executor openmp_executor();

}  // namespace fastmlp
