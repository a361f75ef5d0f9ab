#include <stdexcept>

#include "core/contracts/loss.h"

namespace fastmlp {

void LossSpec::set(const std::string& option, double value) {
  const auto require = [&](bool fine, const char* expected) {
    if (!fine) throw std::invalid_argument(option + ": expected " + expected + ", got " + std::to_string(value));
  };
  if (option == "reduction") {
    reduction = static_cast<Reduction>(static_cast<int>(value));
  } else if (option == "delta") {
    require(value > 0, "a positive number");
    alpha = value;
  } else if (option == "beta" || option == "eps") {
    require(value >= 0, "a number of at least 0");
    alpha = value;
  } else if (option == "full") {
    full = value != 0;
  } else if (option == "label_smoothing") {
    require(value >= 0 && value <= 1, "a number from 0 to 1");
    label_smoothing = value;
  } else {
    throw std::invalid_argument("option: unknown option '" + option + "' of a loss");
  }
}

}  // namespace fastmlp
