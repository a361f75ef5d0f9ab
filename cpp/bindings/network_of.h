// A native network behind its handle.
#pragma once

#include <limits>
#include <optional>

#include "bindings/array_args.h"
#include "bindings/bound_rows.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/row_args.h"
#include "bindings/staging.h"

namespace fastmlp::bindings {

template <class T>
struct FitData;
template <class T>
class FitMember;
struct DataNames;
struct TargetNames;

template <class T>
class NetworkOf final : public NetworkHandle {
 public:
  NetworkOf(Program<T> program, bool flatten)
      : network_(std::make_shared<Network<T>>(std::move(program))), flatten_(flatten) {
    for (const auto& parameter : network_->parameters()) weights_ += parameter->size();
    if (!network_->device().host) staging_ = std::make_shared<StagingPool<T>>();
  }

  Index in_features() const override { return network_->in_features(); }
  Index out_features() const override { return network_->out_features(); }
  const std::shared_ptr<Network<T>>& network() const { return network_; }
  const char* strategy(Index rows, bool training) const override {
    return kStrategyNames[static_cast<int>(network_->strategy_for(rows, training))];
  }
  py::object forward(py::handle x, const DropoutState* dropout) override;
  py::object predict(py::handle x, py::handle out, const DropoutState* dropout, PyTypeObject* result) override;
  py::object predict_on_device(py::handle x, py::handle out) override;
  bool takes_device_array(py::handle x) const override { return staging_ && is_device_array(x); }
  BoundRows bind(Index rows, py::handle like) const override;
  bool takes(const BoundRows& bound) const override;
  void predict_bound(const BoundRows& bound) override;
  py::object jacobian(py::handle x) override;
  py::object weight_jacobian(py::handle x, const py::sequence& parameters) override;
  py::object input_gradient(py::handle x, py::handle t, const LossHandle* loss, py::handle function) override;
  void fit(const std::vector<FitRequest>& requests) override;
  std::optional<std::string> group_key(const OptimizerHandle& optimizer, const LossHandle& loss,
                                       Index rows) const override;
  std::pair<double, std::vector<double>> evaluate(const LossHandle& loss, const py::tuple& data,
                                                  const NamedMetrics& metrics) override;
  void prepare(EarlyStopping& stopping) const override { stopping.prepare(network_->program()); }

 private:
  friend class FitMember<T>;

  static constexpr const char* kTakes = "the model's first layer";

  Matrix<T> input(py::handle x, const char* name) const {
    return matrix_arg<T>(x, name, network_->in_features(), kTakes, flatten_);
  }
  RowsArg<T> input_rows(py::handle x, const char* name) const {
    return rows_arg<T>(x, name, network_->in_features(), kTakes, flatten_);
  }
  // ValueError for a batch of one row where it is to give the statistics of a BatchNorm.
  void check_rows(Index rows, bool training, const char* name) const {
    if (rows == 1 && network_->program().mixes_rows(training))
      throw py::value_error(
          std::string(name) +
          ": expected more than one row where BatchNorm1d takes its statistics from the batch, got 1");
  }
  Index output_columns(Index columns) const {
    return network_->out_features() < 0 ? columns : network_->out_features();
  }
  // See ReleaseGilFor. On a device there is something to wait for.
  Index work(const RowsShape& x) const {
    return staging_ ? std::numeric_limits<Index>::max() : x.rows * (x.columns + weights_);
  }
  template <class Body>
  py::object derivatives(const Matrix<T>& x, std::span<const py::ssize_t> shape, Index values, Index work,
                         const Body& body);
  void check_rows_apart() const;
  void check_loss_takes_output(const LossSpec& loss, const Matrix<T>& x);
  void check_apart(const void* out, Index size, const void* x, Index x_size) const;
  // From and to the host's memory, by the device's.
  void predict_staged(const T* x, const RowsShape& rows, const DropoutState* dropout, T* y);
  void predict_there(const DeviceArray& x, const RowsShape& rows, T* y);
  T* checked_output(py::handle out, const BatchShape& shape) const;
  [[gnu::noinline]] py::object predict_any(py::handle x, py::handle out, const DropoutState* dropout,
                                           PyTypeObject* result);
  py::object predict_matrix(const Matrix<T>& x, py::handle out, const DropoutState* dropout, PyTypeObject* result);
  py::object predict_source(const RowsArg<T>& x, py::handle out, const DropoutState* dropout, PyTypeObject* result);
  void keep_apart(FitData<T>& data, Index columns) const;
  void take_device_targets(FitData<T>& data, const FitRequest::Data& from, const TargetNames& names,
                           const LossHandle& loss, bool allow_nonfinite) const;
  void take_data(FitData<T>& data, const FitRequest& request, const FitRequest::Data& from,
                 const DataNames& names) const;
  std::function<std::vector<double>()> measure(const FitRequest& request, const FitData<T>& validation,
                                               std::optional<WithoutGil>& released) const;

  std::shared_ptr<Network<T>> network_;
  std::shared_ptr<StagingPool<T>> staging_;  // null: the host's memory is the network's
  const bool flatten_;                       // inputs of more dimensions are taken, as rows of features
  Index weights_ = 0;                        // how many, with biases
  py::object last_stream_;                   // kept alive until the next pass has waited for it
};

// See ReleaseGilFor; meanwhile the network's parameters stay where they are.
template <class T>
class ComputeWith {
 public:
  ComputeWith(const Network<T>& network, Index work) {
    if (!ReleaseGilFor::is_worth(work)) return;
    reads_.emplace(network.parameters());
    released_.emplace();
  }

 private:
  std::optional<ReadsValues<T>> reads_;
  std::optional<WithoutGil> released_;
};

// Whether the outputs lie from 0 to 1 by construction.
template <class T>
bool gives_probabilities(const Network<T>& network) {
  if (network.program().size() == 0) return false;
  const Operation<T>& last = network.program().operations().back();
  if (last.kind == OperationKind::RowActivation) return last.row_activation == RowActivationKind::Softmax;
  const Activation& activation = last.activation;
  return activation.kind == ActivationKind::Sigmoid || activation.kind == ActivationKind::Hardsigmoid ||
         (activation.kind == ActivationKind::Hardtanh && activation.alpha >= 0 && activation.beta <= 1);
}

}  // namespace fastmlp::bindings
