// What the fits of a network have measured.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/locks.h"
#include "core/numbers.h"
#include "core/runs.h"
#include "core/state.h"

namespace fastmlp {

// The curves and counters of all fits so far. Other threads may read while one fits.
struct Measured {
  Numbers loss;             // of each epoch, before each of its updates
  Numbers validation_loss;  // after each epoch, up to the last that was validated; NaN where one was not
  Runs learning_rate;       // of the first group, in the last step of each epoch
  Runs epoch_time;          // in seconds, with validation
  std::vector<std::pair<std::string, Numbers>> metrics;  // of the validation data, as their loss
  std::vector<Index> report_step;                        // after so many batches in all ...
  std::vector<double> report_loss;                       // ... the mean loss of the last eval_interval batches
  Index steps = 0;
  double report_sum = 0;  // of the steps since the last report
  Index report_count = 0;
};

// What is known of an epoch at its end.
struct EpochResult {
  Index epoch = 0;
  double loss = 0;
  const double* validation_loss = nullptr;  // null: none
  std::vector<double> metrics;              // of the validation data
  double rate = 0;                          // of the first group, in its last step
};

class History {
 public:
  Owner owner;  // of a fit

  // For the thread that fits.
  Index steps() const { return measured_.steps; }
  Index epochs() const { return static_cast<Index>(measured_.loss.size()); }
  // Whether the loss of each of the last epochs is a finite number.
  bool is_finite(Index epochs) const;
  // Before so many epochs, or fewer; their rates, or losses of validation data, may be as many.
  void make_room(Index epochs, bool rates, bool validation);
  // Steps with their losses; every `eval_interval` of them make a report.
  void add_steps(const double* losses, Index count, Index eval_interval);
  // Epochs without validation, which took `seconds` together.
  void add_epochs(const double* losses, const StepRates& rates, Index count, double seconds);
  void add_epoch(const EpochResult& result, const std::vector<std::string>& metrics, double seconds);

  // For any thread: calls body(const Measured&) under the lock.
  template <class Body>
  auto read(const Body& body) const {
    const Locked locked(lock_);
    return body(measured_);
  }
  State state() const;
  // Throws std::invalid_argument unless it is one; nothing has changed then.
  void set_state(const State& state);

 private:
  mutable Lock lock_;
  Measured measured_;
};

}  // namespace fastmlp
