// The gradients of a network in the order in which a backward pass completes them, as buckets that an exchange sends while
// the pass goes on.
#pragma once

#include <memory>

#include "core/exchange.h"
#include "core/program.h"
#include "core/strategies/runner.h"

namespace fastmlp {

template <class T>
class GradientBuckets final : public GradientListener<T> {
 public:
  // Small gradients are copied together, up to so many bytes; those of a quarter of that travel alone, where they are.
  GradientBuckets(const Program<T>& program, Exchange& exchange, Index bytes);
  ~GradientBuckets() override { exchange_.settle(); }

  // Before an epoch: parameters may have been frozen, and their gradients have other memory.
  void lay_out();
  // Before a backward pass that completes the gradients.
  void begin();
  // In the pass: these operations' shares of their parameters' gradients are there.
  void after(const Operation<T>& operation) override;
  // After it, or without one: sends what has not been sent. What no pass has reached counts as 0.
  void send_rest();
  // After the round: puts the sums where the gradients are.
  void collect();

 private:
  struct Part {
    std::shared_ptr<Parameter<T>> parameter;
    int uses = 0;            // by operations that are run
    int waits_for = 0;       // of these, in this pass
    std::size_t bucket = 0;  // which it travels in,
    Index offset = 0;        // and where; of a bucket of its own it is the whole
  };
  struct OwnBucket {
    Index size = 0;
    int parts = 0, waits_for = 0;
    Buffer<T> copies;  // of several parts
  };

  void complete(Part& part);
  void send_complete();
  void copy(T* to, const T* from, Index size) const;

  const Program<T>& program_;
  Exchange& exchange_;
  const Index most_;  // values in a bucket of several parts
  std::vector<Part> parts_;
  std::vector<OwnBucket> buckets_;
  std::vector<Bucket> planned_;
  std::size_t sent_ = 0;
};

}  // namespace fastmlp
