// A network: a program, and the runners that carry it out on batches of one shape or another.
//
// All memory of a pass lies in a runner, so that a network may be used from several threads, and a step allocates
// nothing.
#pragma once

#include <memory>
#include <vector>

#include "core/data_set.h"
#include "core/folding.h"
#include "core/locks.h"
#include "core/packed_weights.h"
#include "core/strategies/choice.h"
#include "core/strategies/dense/input_derivatives.h"

namespace fastmlp {

template <class T>
class Network {
 public:
  explicit Network(Program<T> program, bool folds = true)
      : program_(std::move(program)),
        folds_(folds && device().host && can_fold(program_)),
        packable_(PackedWeights<T>::operations_of(program_)) {}
  explicit Network(std::vector<Operation<T>> operations) : Network(Program<T>(std::move(operations))) {}

  const Program<T>& program() const { return program_; }
  const Device& device() const { return program_.device(); }
  Index in_features() const { return program_.in_features(); }    // -1: any
  Index out_features() const { return program_.out_features(); }  // -1: as many as come in
  const std::vector<std::shared_ptr<Parameter<T>>>& parameters() const { return program_.parameters(); }
  Strategy strategy_for(Index rows, bool training) const { return fastmlp::strategy_for(program_, rows, training); }

  struct Return {
    Network* network;
    std::uint64_t capture = 0;  // that the runner serves alone
    void operator()(Runner<T>* runner) const { network->release(runner, capture); }
  };
  // A runner for batches of so many rows of `columns` features; it returns to the network when the lease ends.
  using Lease = std::unique_ptr<Runner<T>, Return>;
  Lease acquire(Index rows, Index columns, bool training);

  // Whether another network predicts in this one's place.
  bool folds() const { return folds_; }

  // Held by whoever runs a backward pass while others may.
  Lock& backward_lock() { return backward_lock_; }

  // Inference for any number of rows, in pieces of bounded memory.
  void predict(const T* x, Index rows, Index columns, const DropoutState* dropout, T* y);
  // The same for a data set; y lies on the network's device.
  void predict(const DataSet<T>& data, T* y);
  // The same for one that the host has, piece by piece: take(y, targets, row, rows) gets the outputs of the rows from number
  // `row` on, and their targets, in the host's memory. It may throw, which ends it.
  using Take = std::function<void(const T* y, const Targets<T>& targets, Index row, Index rows)>;
  void predict(const DataSet<T>& data, const DropoutState* dropout, const Take& take);
  // The loss over a data set, in evaluation mode.
  double evaluate(const LossSpec& spec, const DataSet<T>& data);

  // The same for rows that are evaluated again and again, with a runner of their own; null where they take more than one
  // pass, or come from elsewhere, or another network predicts. `unchanged`: the rows of its last evaluation.
  Lease acquire_for_evaluation(const DataSet<T>& data);
  double evaluate(Runner<T>& runner, const LossSpec& spec, const DataSet<T>& data, bool unchanged);

  // Derivatives of `predict` with respect to the input, or to weights: see InputDerivatives.
  void jacobian(const T* x, Index rows, Index columns, T* jacobian);
  void weight_jacobian(const T* x, Index rows, Index columns, const WeightColumns<T>& weights, T* jacobian);
  void loss_gradient(const LossSpec& loss, const T* x, const Targets<T>& targets, Index rows, Index columns, T* dx);
  void output_gradient(const T* dy, const T* x, Index rows, Index columns, T* dx);

  // Whether an optimizer may consume gradients during the backward pass: not if a parameter serves twice.
  bool can_fuse() const { return !program_.shares_parameters(); }

 private:
  struct Folded;

  // The network that predicts in this one's place, for the values that the parameters have now; null: none.
  std::shared_ptr<Folded> folded_now();
  // Copies of the wide weights, after some predictions of several rows with the values that these have now; null: none.
  std::shared_ptr<const PackedWeights<T>> packed_now(Index rows);
  void check_places() const;
  std::uint64_t capture() const { return device().host ? 0 : device().capture(StreamScope::current()); }
  void join_last_stream();
  template <class Body>
  void for_parts(const DataSet<T>& data, bool training, const Body& body);
  template <class Body>
  void with_derivatives(const Body& body);
  Lease acquire_for(std::uint64_t capture, Index rows, Index columns, bool training);
  void release(Runner<T>* runner, std::uint64_t capture);
  void forget_free();
  std::size_t kept_bytes() const;
  Index out_columns(Index columns) const { return out_features() < 0 ? columns : out_features(); }
  Index inference_rows(Index rows, Index columns, bool training) const;
  // From the sum of a loss over all rows.
  double mean(const LossSpec& spec, double total, const DataSet<T>& data) const {
    const Index out = out_columns(data.columns);
    return spec.is_mean() ? total / (data.share() * static_cast<double>(spec.terms_of_row(out))) : total;
  }

  const Program<T> program_;
  const bool folds_;
  const std::vector<int> packable_;  // operations whose weights gain by copies

  Lock backward_lock_;
  Lock lock_;  // of what follows
  Stream last_stream_ = nullptr;
  std::vector<std::unique_ptr<Runner<T>>> free_;
  // Those whose memory is in a caller's graph, for as long as the network lives, and the number of its capture.
  std::vector<std::pair<std::uint64_t, std::unique_ptr<Runner<T>>>> captured_;
  std::vector<std::unique_ptr<InputDerivatives<T>>> free_derivatives_;
  std::shared_ptr<Folded> folded_;
  std::shared_ptr<PackedWeights<T>> packed_;
};

}  // namespace fastmlp
