// A native network behind its handle.
#pragma once

#include "bindings/array_args.h"
#include "bindings/handles.h"

namespace fastmlp::bindings {

template <class T>
class NetworkOf final : public NetworkHandle {
 public:
  explicit NetworkOf(const std::vector<Layer<T>>& layers) : network_(std::make_shared<Network<T>>(layers)) {
    for (const auto& parameter : network_->parameters()) weights_ += parameter->size();
  }

  Index in_features() const override { return network_->in_features(); }
  Index out_features() const override { return network_->out_features(); }
  bool prefers_lanes(Index rows, bool training) const override { return network_->prefers_lanes(rows, training); }
  py::object forward(py::handle x, const DropoutState* dropout) override;
  py::object predict(py::handle x, py::handle out, const DropoutState* dropout, PyTypeObject* result) override;
  void fit(const FitRequest& request) override;

 private:
  Matrix<T> input(py::handle x, const char* name) const {
    return matrix_arg<T>(x, name, network_->in_features(), "the model's first layer");
  }
  Index output_columns(const Matrix<T>& x) const {
    return network_->out_features() < 0 ? x.columns : network_->out_features();
  }
  Index work(const Matrix<T>& x) const { return x.rows * (x.columns + weights_); }  // see ReleaseGilFor
  T* checked_output(py::handle out, const Matrix<T>& x) const;

  std::shared_ptr<Network<T>> network_;
  Index weights_ = 0;  // how many, with biases
};

// Whether the outputs lie from 0 to 1 by construction.
template <class T>
bool gives_probabilities(const Network<T>& network) {
  if (network.layers().empty()) return false;
  const Layer<T>& last = network.layers().back();
  if (last.kind == LayerKind::RowActivation) return last.row_activation == RowActivationKind::Softmax;
  const Activation& activation = last.activation;
  return activation.kind == ActivationKind::Sigmoid ||
         (activation.kind == ActivationKind::Hardtanh && activation.alpha >= 0 && activation.beta <= 1);
}

}  // namespace fastmlp::bindings
