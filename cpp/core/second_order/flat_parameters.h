// Parameters as one vector on the host, one after the other in the layout of their storage.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "core/parameter.h"

namespace fastmlp {

template <class T>
class FlatParameters {
 public:
  explicit FlatParameters(std::vector<std::shared_ptr<Parameter<T>>> parameters) : parameters_(std::move(parameters)) {
    for (const auto& parameter : parameters_) size_ += static_cast<std::size_t>(parameter->size());
  }

  std::size_t size() const { return size_; }
  std::vector<T> values() const {
    std::vector<T> all(size_);
    T* to = all.data();
    for (const auto& parameter : parameters_) {
      parameter->read(to);
      to += parameter->size();
    }
    return all;
  }
  void assign(const std::vector<T>& values) const {
    const T* from = values.data();
    for (const auto& parameter : parameters_) {
      parameter->write(from);
      parameter->count_change();  // what was recorded before cannot run backward any more
      from += parameter->size();
    }
  }
  // The gradients; 0 where there is none.
  void gradient(std::vector<T>& all) const {
    T* to = all.data();
    for (const auto& parameter : parameters_) {
      if (parameter->has_grad)
        parameter->read_grad(to);
      else
        std::fill_n(to, parameter->size(), T(0));
      to += parameter->size();
    }
  }

  // A step of a method from the values that the parameters have, such as Lbfgs; returns what that returns. `loss` gives
  // the loss of the values that they have then, and leaves its gradient with them. After an exception they are as they
  // were.
  template <class Method, class Loss>
  auto step(Method& method, const Loss& loss) const {
    const std::vector<T> before = values();
    std::vector<T> x = before;
    try {
      const auto result = method.step(x, [&](const std::vector<T>* there, std::vector<T>& gradient) {
        if (there) assign(*there);
        const double value = loss();
        this->gradient(gradient);
        return value;
      });
      assign(x);
      return result;
    } catch (...) {
      assign(before);
      throw;
    }
  }

 private:
  const std::vector<std::shared_ptr<Parameter<T>>> parameters_;
  std::size_t size_ = 0;
};

}  // namespace fastmlp
