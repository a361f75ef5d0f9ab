// A method whose step looks at all rows, several times: it moves one vector by the losses and gradients that it asks for.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/state.h"

namespace fastmlp {

template <class T>
class WholeBatchMethod {
 public:
  // The loss at x (null: where the step begins), and its gradient. It may throw.
  using Evaluate = std::function<double(const std::vector<T>* x, std::vector<T>& gradient)>;

  virtual ~WholeBatchMethod() = default;

  // Moves x; returns the loss before. After an exception all is as it was.
  virtual double step(std::vector<T>& x, const Evaluate& evaluate) = 0;

  // Takes effect at the next step. Any thread may call this. Throws std::invalid_argument for an unknown one.
  virtual void set_option(const std::string& name, double value) = 0;

  virtual State state() const = 0;
  virtual void set_state(const State& state) = 0;
};

}  // namespace fastmlp
