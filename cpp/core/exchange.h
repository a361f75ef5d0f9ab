// How several processes train one network: each step has a round, in which each of them brings a batch of its own, or none
// once its rows are used up, and all end with the same gradients. They make the same calls in the same order.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "core/types.h"

namespace fastmlp {

// Gradients that travel together: so many values of the network's type, on its device.
struct Bucket {
  void* values;
  Index size;

  bool operator==(const Bucket&) const = default;
};

// Of a round, before it.
struct RoundPlan {
  double share;    // of this process's batch (see Targets)
  bool has_batch;  // of its own
  bool updates;    // the optimizer takes a step after this batch: buckets are sent
  bool flushes;    // where no process has a batch, buckets are sent, for the step of an epoch's last batches
};

// What this process does with the others. All functions may throw, for instance since another process has failed.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // Buckets are sent in their order. Called before the first round, and when they have changed, which is between epochs.
  virtual void plan(const std::vector<Bucket>& buckets) = 0;
  virtual void begin_round(const RoundPlan& plan) = 0;
  // The sum of all batches' shares; null: no process has one.
  virtual std::optional<double> total_share() = 0;
  // Begins to add up a bucket of all processes, whose values are not touched until the round ends.
  virtual void send(std::size_t bucket) = 0;
  // Waits for the buckets that were sent. Returns the sum of all processes' losses.
  virtual double end_round(double loss) = 0;
  // Where this process has failed in a round, ends its part of it, so that the others learn of that; nothing touches the
  // buckets afterwards.
  virtual void settle() noexcept = 0;
  // The running statistics become those of one process.
  virtual void share_statistics() = 0;
  // Of what each process has measured, the sum; or the mean, in which a process counts by its weight.
  virtual double combine(double value, double weight, bool mean) = 0;
};

}  // namespace fastmlp
