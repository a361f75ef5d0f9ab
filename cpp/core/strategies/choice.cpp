// Which strategy runs a program: a device's has Device; the host has Lanes, or, for training, Sliced, where they can run it
// and are preferred or FASTMLP_STRATEGY forces them, else Dense.
#include "core/strategies/choice.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "core/strategies/dense/sliced_runner.h"
#include "core/strategies/device/device_runner.h"
#include "core/strategies/lanes/lanes_runner.h"

namespace fastmlp {

namespace {

Strategy wanted_strategy() {
  const char* wanted = std::getenv("FASTMLP_STRATEGY");
  if (wanted == nullptr || *wanted == '\0') return Strategy::Automatic;
  std::string names;
  for (const Strategy strategy : {Strategy::Automatic, Strategy::Lanes, Strategy::Dense, Strategy::Sliced}) {
    const char* name = kStrategyNames[static_cast<int>(strategy)];
    if (std::string(wanted) == name) return strategy;
    names += std::string(names.empty() ? "" : ", ") + name;
  }
  throw std::invalid_argument("FASTMLP_STRATEGY: expected one of " + names + "; got '" + wanted + "'");
}

}  // namespace

Strategy forced_strategy() {
  static const Strategy strategy = wanted_strategy();
  return strategy;
}

namespace {

template <class T>
bool prefers_lanes(const Program<T>& program, Index rows, bool training) {
  // In all batches of a network products are rounded, or in none.
  if (program.precision() != Precision::Float32) return false;
  if (forced_strategy() == Strategy::Dense || forced_strategy() == Strategy::Sliced) return false;
  if (!LanesRunner<T>::can_run(program)) return false;
  if (forced_strategy() == Strategy::Automatic) return LanesRunner<T>::is_preferred(program, rows, training);
  // Lanes need a vector for each weight of each chunk of rows.
  constexpr Index kMostBytes = Index{1} << 30;
  return LanesRunner<T>::memory_for(program, rows) <= kMostBytes / Index{sizeof(T)};
}

template <class T>
bool prefers_slices(const Program<T>& program, Index rows) {
  if (forced_strategy() == Strategy::Automatic) return SlicedRunner<T>::is_preferred(program, rows);
  return forced_strategy() == Strategy::Sliced && SlicedRunner<T>::can_run(program);
}

}  // namespace

template <class T>
Strategy strategy_for(const Program<T>& program, Index rows, bool training) {
  if (!program.device().host) return Strategy::Device;
  if (prefers_lanes(program, rows, training)) return Strategy::Lanes;
  return training && prefers_slices(program, rows) ? Strategy::Sliced : Strategy::Dense;
}

template <class T>
std::unique_ptr<Runner<T>> make_runner(const Program<T>& program, Strategy strategy) {
  switch (strategy) {
    case Strategy::Lanes:
      return std::make_unique<LanesRunner<T>>(program);
    case Strategy::Sliced:
      return std::make_unique<SlicedRunner<T>>(program);
    case Strategy::Device:
      return std::make_unique<DeviceRunner<T>>(program);
    case Strategy::Automatic:
    case Strategy::Dense:
      break;
  }
  return std::make_unique<DenseRunner<T>>(program);
}

#define FASTMLP_INSTANTIATE(T)                                       \
  template Strategy strategy_for<T>(const Program<T>&, Index, bool); \
  template std::unique_ptr<Runner<T>> make_runner<T>(const Program<T>&, Strategy);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
