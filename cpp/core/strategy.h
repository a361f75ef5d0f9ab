// How a network runs: as its backend prefers, or as FASTMLP_STRATEGY says (for tests and for the sweep that the
// backend's choice rests on).
#pragma once

namespace fastmlp {

enum class Strategy { Automatic, Lanes, Dense };

inline constexpr const char* kStrategyNames[] = {"automatic", "lanes", "dense"};

// What the environment asks for, read once. Throws std::invalid_argument where it is unknown.
Strategy forced_strategy();

}  // namespace fastmlp
