// A network like one on a device, whose parameters are copies in the host's memory.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/network.h"

namespace fastmlp {

template <class T>
class HostCopy {
 public:
  explicit HostCopy(const Network<T>& network) {
    std::vector<Operation<T>> operations = network.program().operations();
    for (Operation<T>& operation : operations)
      for (auto* parameter : {&operation.weight, &operation.bias, &operation.batch.mean, &operation.batch.variance})
        if (*parameter) *parameter = of(*parameter);
    network_.emplace(std::move(operations));
  }

  Network<T>& network() { return *network_; }
  // A parameter's copy.
  std::shared_ptr<Parameter<T>> of(const std::shared_ptr<Parameter<T>>& parameter) {
    std::shared_ptr<Parameter<T>>& copy = copies_[parameter.get()];
    if (!copy) {
      copy = std::make_shared<Parameter<T>>(parameter->in, parameter->out);
      parameter->read(copy->value.data());
    }
    return copy;
  }

 private:
  std::map<const Parameter<T>*, std::shared_ptr<Parameter<T>>> copies_;
  std::optional<Network<T>> network_;
};

}  // namespace fastmlp
