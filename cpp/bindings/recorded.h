// The parameters of a recorded pass: whether they are still what they were in the forward pass. All of it needs the GIL.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "core/network.h"

namespace fastmlp::bindings {

// What all recorded passes and all views of parameters share. An era ends when no pass waits for its backward.
struct PassesAndViews {
  int open = 0;   // passes that wait for their backward
  int alive = 0;  // views
  std::uint64_t era = 1;
  std::uint64_t made = 0;         // views, so far
  std::uint64_t made_before = 0;  // views, before this era

  // A view of the parameter's values is made, or is gone.
  template <class T>
  void begin_view(Parameter<T>& parameter) {
    Watch& watch = parameter.watch;
    if (open > 0 && watch.viewed_in != era) {
      watch.viewed_in = era;
      watch.fingerprint = parameter.fingerprint();
    }
    ++watch.views;
    ++watch.made;
    ++alive;
    ++made;
  }
  void end_view(Watch& watch) {
    --watch.views;
    --alive;
  }
};
inline PassesAndViews passes_and_views;

template <class T>
class RecordedParameters {
 public:
  RecordedParameters() = default;
  ~RecordedParameters() { close(); }
  RecordedParameters(const RecordedParameters&) = delete;
  RecordedParameters& operator=(const RecordedParameters&) = delete;

  // Before the forward pass.
  void open(const Network<T>& network) {
    PassesAndViews& all = passes_and_views;
    network_ = &network;
    version_ = version();
    made_ = all.made;
    ++all.open;
    if (all.alive > 0 || all.made > all.made_before) [[unlikely]]
      take_fingerprints();
  }
  void close() {
    PassesAndViews& all = passes_and_views;
    if (network_ && --all.open == 0) {
      ++all.era;
      all.made_before = all.made;
    }
    network_ = nullptr;
  }

  // std::runtime_error where they have changed.
  void check() const {
    const bool views_about = !fingerprints_.empty() || made_ != passes_and_views.made;
    if (version_ != version() || (views_about && written_through_views()))
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
    for (const auto& parameter : network_->parameters()) sum += parameter->version.load(std::memory_order_relaxed);
    return sum;
  }
  // Of parameters that have been viewed already.
  void take_fingerprints() {
    for (const auto& parameter : network_->parameters())
      if (parameter->watch.views > 0 || parameter->watch.viewed_in == passes_and_views.era)
        fingerprints_.push_back({parameter.get(), parameter->fingerprint()});
  }
  bool written_through_views() const {
    for (const auto& parameter : network_->parameters()) {
      const auto own = std::find_if(fingerprints_.begin(), fingerprints_.end(),
                                    [&](const Fingerprint& f) { return f.parameter == parameter.get(); });
      const Watch& watch = parameter->watch;
      if (own == fingerprints_.end() && watch.viewed_in != passes_and_views.era) continue;
      if (parameter->fingerprint() != (own == fingerprints_.end() ? watch.fingerprint : own->value)) return true;
    }
    return false;
  }

  const Network<T>* network_ = nullptr;  // null: closed
  std::uint64_t version_ = 0, made_ = 0;
  std::vector<Fingerprint> fingerprints_;  // those before the first view of this pass are in the parameter's watch
};

}  // namespace fastmlp::bindings
