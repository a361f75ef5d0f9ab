// How a network runs: as its backend prefers, or as FASTMLP_STRATEGY says (for tests and for the sweep that the
// backend's choice rests on).
#pragma once

#include "core/strategies/runner.h"

namespace fastmlp {

// What the environment asks for, read once. Throws std::invalid_argument where it is unknown.
Strategy forced_strategy();

// The strategy for batches of so many rows.
template <class T>
Strategy strategy_for(const Program<T>& program, Index rows, bool training);

// A runner that is not yet prepared.
template <class T>
std::unique_ptr<Runner<T>> make_runner(const Program<T>& program, Strategy strategy);

}  // namespace fastmlp
