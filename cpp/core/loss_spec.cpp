#include <stdexcept>

#include "core/contracts/loss.h"

namespace fastmlp {

void LossSpec::set(const std::string& option, double value) {
  if (option == "mean")
    mean = value != 0;
  else if (option == "delta" && value > 0)
    delta = value;
  else if (option == "delta")
    throw std::invalid_argument("delta: expected a positive number, got " + std::to_string(value));
  else
    throw std::invalid_argument("option: unknown option '" + option + "' of a loss");
}

}  // namespace fastmlp
