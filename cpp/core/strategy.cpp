#include "core/strategy.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace fastmlp {

namespace {

Strategy choose() {
  const char* wanted = std::getenv("FASTMLP_STRATEGY");
  if (wanted == nullptr || *wanted == '\0') return Strategy::Automatic;
  std::string names;
  for (const Strategy strategy : {Strategy::Automatic, Strategy::Lanes, Strategy::Dense}) {
    const char* name = kStrategyNames[static_cast<int>(strategy)];
    if (std::string(wanted) == name) return strategy;
    names += std::string(names.empty() ? "" : ", ") + name;
  }
  throw std::invalid_argument("FASTMLP_STRATEGY: expected one of " + names + "; got '" + wanted + "'");
}

}  // namespace

Strategy forced_strategy() {
  static const Strategy strategy = choose();
  return strategy;
}

}  // namespace fastmlp
