// The training loop: epochs, shuffled mini-batches, clipping, validation, reports, and callbacks that run meanwhile.
#pragma once

#include <functional>
#include <vector>

#include "core/locks.h"
#include "core/network.h"

namespace fastmlp {

// Rows with their targets.
template <class T>
struct DataSet {
  const T* x = nullptr;
  Targets<T> targets;
  Index rows = 0, columns = 0;
};

struct FitOptions {
  Index max_epoch = 10;
  Index batch_size = 32;
  bool shuffle = true;
  std::uint64_t seed = 0;
  double max_grad = 0;  // largest global norm of the gradient; 0: no clipping
  Index eval_interval = 20;
  bool allow_nonfinite = false;    // in the data; the bindings check them
  bool stop_at_nonfinite = false;  // after an epoch whose loss is NaN or infinite
};

// What all fits of a trainer have recorded. Other threads may read while one fits: its vectors are guarded by `lock`.
struct History {
  Lock lock;
  Owner owner;                          // of a fit
  std::vector<double> loss;             // of each epoch, before each of its updates
  std::vector<double> validation_loss;  // after each epoch
  std::vector<Index> report_step;       // after so many steps in all ...
  std::vector<double> report_loss;      // ... the mean loss of the last eval_interval steps
  Index steps = 0;
  double report_sum = 0;
  Index report_count = 0;
};

// Either may be empty, and may throw, which ends the fit.
struct FitHooks {
  // After each epoch; true ends the fit.
  std::function<bool(Index epoch, double loss, const double* validation_loss)> epoch;
  // Every kPollSeconds or so.
  std::function<void(Index epoch, double recent_loss)> poll;
};
inline constexpr double kPollSeconds = 0.05;

// Scales all gradients by max_norm / (norm + 1e-6) where that is below 1, as torch does; returns their joint norm.
template <class T>
double clip_grad_norm(const std::vector<std::shared_ptr<Parameter<T>>>& parameters, double max_norm);

// The norm of values on a device; NaN or infinite if one of them is.
template <class T>
double norm(const Device& device, const T* values, Index size);

// Trains the network. The last step leaves its gradient with the parameters (as does, for its hook, that of each
// epoch); the others need not form one.
template <class T>
void fit(Network<T>& network, Optimizer<T>& optimizer, const LossSpec& loss, const DataSet<T>& data,
         const DataSet<T>* validation, const FitOptions& options, History& history, const FitHooks& hooks);

}  // namespace fastmlp
