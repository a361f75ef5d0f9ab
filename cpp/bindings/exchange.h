// An exchange whose functions are those of a Python object, which works with torch.distributed.
#pragma once

#include <optional>
#include <vector>

#include "bindings/cpython.h"
#include "bindings/gil.h"
#include "core/device.h"
#include "core/exchange.h"

namespace fastmlp::bindings {

class PythonExchange final : public Exchange {
 public:
  // Not in use while the GIL is held.
  PythonExchange(py::object object, std::optional<WithoutGil>& released)
      : object_(std::move(object)), released_(released) {}

  // Gradients by their places in memory, which stays until there is another plan, and the stream of the passes.
  void plan(const std::vector<Bucket>& buckets) override {
    const WithoutGil::Pause acquire(*released_);
    py::list places;
    for (const Bucket& bucket : buckets)
      places.append(py::make_tuple(reinterpret_cast<std::uintptr_t>(bucket.values), bucket.size));
    object_.attr("plan")(places, reinterpret_cast<std::uintptr_t>(StreamScope::current()));
  }
  void begin_round(const RoundPlan& plan) override {
    const WithoutGil::Pause acquire(*released_);
    object_.attr("begin_round")(plan.share, plan.has_batch, plan.updates, plan.flushes);
  }
  std::optional<double> total_share() override {
    const WithoutGil::Pause acquire(*released_);
    return object_.attr("total_share")().cast<std::optional<double>>();
  }
  void send(std::size_t bucket) override {
    const WithoutGil::Pause acquire(*released_);
    object_.attr("send")(bucket);
  }
  double end_round(double loss) override {
    const WithoutGil::Pause acquire(*released_);
    return object_.attr("end_round")(loss).cast<double>();
  }
  void settle() noexcept override {
    const WithoutGil::Pause acquire(*released_);
    try {
      object_.attr("settle")();
    } catch (...) {  // the fit ends by another error already
    }
  }
  void share_statistics() override {
    const WithoutGil::Pause acquire(*released_);
    object_.attr("share_statistics")();
  }
  double combine(double value, double weight, bool mean) override {
    const WithoutGil::Pause acquire(*released_);
    return object_.attr("combine")(value, weight, mean).cast<double>();
  }
  // Of all processes, from this one's and the weight of its rows.
  std::vector<double> metrics(const std::vector<double>& values, double weight) {
    const WithoutGil::Pause acquire(*released_);
    return object_.attr("metrics")(values, weight).cast<std::vector<double>>();
  }

 private:
  const py::object object_;
  std::optional<WithoutGil>& released_;
};

}  // namespace fastmlp::bindings
