// The parameters of a recorded pass: whether they are still what they were in the forward pass.
#pragma once

#include <stdexcept>
#include <vector>

#include "core/network.h"

namespace fastmlp::bindings {

template <class T>
class RecordedParameters {
 public:
  RecordedParameters() = default;
  ~RecordedParameters() { close(); }
  RecordedParameters(const RecordedParameters&) = delete;
  RecordedParameters& operator=(const RecordedParameters&) = delete;

  // Before the forward pass; needs the GIL, as all here.
  void open(const Network<T>& network) {
    network_ = &network;
    version_ = version();
    for (const auto& parameter : network.parameters()) {
      Watch& watch = parameter->watch;
      ++watch.passes;
      if (watch.views > 0 || watch.viewed) fingerprints_.push_back({parameter.get(), parameter->fingerprint()});
    }
  }
  void close() {
    if (!network_) return;
    for (const auto& parameter : network_->parameters())
      if (Watch& watch = parameter->watch; --watch.passes == 0) watch.viewed = false;
    network_ = nullptr;
  }

  // std::runtime_error where they have changed.
  void check() const {
    bool same = version_ == version();
    for (const Fingerprint& own : fingerprints_) same = same && own.value == own.parameter->fingerprint();
    if (fingerprints_.empty())
      for (const auto& parameter : network_->parameters())
        if (parameter->watch.viewed) same = same && parameter->watch.fingerprint == parameter->fingerprint();
    if (!same)
      throw std::runtime_error(
          "the parameters were changed, converted or moved after this forward pass; call backward before the"
          " optimizer's step and before assigning to parameters");
  }

 private:
  struct Fingerprint {
    const Parameter<T>* parameter;
    std::uint64_t value;
  };

  std::uint64_t version() const {
    std::uint64_t sum = 0;
    for (const auto& parameter : network_->parameters()) sum += parameter->version;
    return sum;
  }

  const Network<T>* network_ = nullptr;  // null: closed
  std::uint64_t version_ = 0;
  std::vector<Fingerprint> fingerprints_;
};

}  // namespace fastmlp::bindings
