// The training loop: epochs, shuffled mini-batches, clipping, validation, reports, and callbacks that run meanwhile. It
// trains a group of networks of one shape side by side; one network is a group of one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/convergence.h"
#include "core/data_set.h"
#include "core/early_stopping.h"
#include "core/exchange.h"
#include "core/history.h"
#include "core/network.h"
#include "core/pacer.h"
#include "core/second_order/whole_batch.h"

namespace fastmlp {

struct FitOptions {
  Index max_epoch = 10;
  Index batch_size = 32;
  bool shuffle = true;
  std::uint64_t seed = 0;
  double max_grad = 0;   // largest global norm of the gradient; 0: no clipping
  Index accumulate = 1;  // batches whose gradients make a step
  Index eval_interval = 20;
  bool allow_nonfinite = false;    // in the data; the bindings check them
  bool stop_at_nonfinite = false;  // after an epoch whose loss is NaN or infinite
  bool keep_gradient = true;       // the last step's, and for `on_epoch` that of each epoch
  Index bucket_bytes = 0;          // with an exchange: of gradients that are sent together
};

// A network of a fit, and what its training changes.
template <class T>
struct Trainee {
  Trainee(Network<T>& network_, Optimizer<T>& optimizer_, History& history_)
      : network(network_), optimizer(optimizer_), history(history_) {}

  Network<T>& network;
  Optimizer<T>& optimizer;
  History& history;
  // Its own rows, as many as `data` and `validation` have, and of one form, in their place; null: none of its own. And the
  // seed of its order of rows and of dropout; empty: that of the options.
  const DataSet<T>* data = nullptr;
  const DataSet<T>* validation = nullptr;
  std::optional<std::uint64_t> seed;
  EarlyStopping* early_stopping = nullptr;  // null: none
  Convergence* convergence = nullptr;       // likewise
  Exchange* exchange = nullptr;             // with the other processes that train it; null: there are none
  // Both may be empty, and may throw, which ends the fit. The first gives `metrics` of the validation data; the second is
  // called after each epoch, and told whether that was the last one that early stopping, or the rule of convergence, wants;
  // true ends this network's training.
  std::function<std::vector<double>()> measure;
  std::function<bool(const EpochResult& result, bool stops)> on_epoch;
  std::vector<std::string> metrics;  // their names
  // An epoch's step by a method that needs all rows at once, and gives the loss before it; batches, and the optimizer's
  // rule, are then not asked for one. Either the method moves the optimizer's parameters, unless it is null, or a function
  // does whatever it does, unless it is empty; that may throw, which ends the fit.
  WholeBatchMethod<T>* method = nullptr;
  std::function<double()> own_step;
  bool has_own_step() const { return method || own_step; }
  // May be empty. Else it is called whenever the optimizer has no plan for the next step, and makes one, of any length. It
  // may throw, which ends the fit.
  std::function<void(Index epochs_left)> on_plan;
};

// Batches of rows that come one by one: the next of this epoch, which lies where it is until the next call. Null: the epoch
// is over, and the next call begins another one.
template <class T>
using BatchHook = std::function<const DataSet<T>*()>;

// May be empty, and may throw, which ends the fit. It is called every kPollSeconds or so, with the first network's state.
using PollHook = std::function<void(Index epoch, double recent_loss)>;

// Trains the networks side by side. They, and their histories so far, have one shape: layers, device and numbers of epochs
// and steps; their parameters are apart. Each comes to the same bits as alone.
// Where a group of one has an exchange, what all processes measured goes into its history, and the data are its own part.
// Where there are `batches`, they are what is trained on, and `data` is only the widest of them to prepare for.
template <class T>
void fit(const std::vector<Trainee<T>>& group, const LossSpec& loss, const DataSet<T>& data,
         const DataSet<T>* validation, const FitOptions& options, const PollHook& poll = {},
         const BatchHook<T>& batches = {});

}  // namespace fastmlp
