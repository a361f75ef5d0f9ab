// A native network behind its handle. The work of predict, forward and backward happens without the GIL.
#pragma once

#include "bindings/array_args.h"
#include "bindings/handles.h"

namespace fastmlp::bindings {

template <class T>
class NetworkOf final : public NetworkHandle {
 public:
  explicit NetworkOf(const std::vector<Layer<T>>& layers) : network_(std::make_shared<Network<T>>(layers)) {}

  Index in_features() const override { return network_->in_features(); }
  Index out_features() const override { return network_->out_features(); }
  bool prefers_lanes(Index rows) const override { return network_->prefers_lanes(rows); }
  py::tuple forward(const py::object& x, bool training, std::uint64_t seed) override;
  py::object predict(const py::object& x, const py::object& out, bool training, std::uint64_t seed) override;
  void fit(const FitRequest& request) override;

 private:
  Matrix<T> input(const py::object& x, const char* name) const {
    return matrix_arg<T>(x, name, network_->in_features(), "the model's first layer");
  }
  Index output_columns(const Matrix<T>& x) const {
    return network_->out_features() < 0 ? x.columns : network_->out_features();
  }
  T* checked_output(const py::object& out, const Matrix<T>& x, const std::vector<py::ssize_t>& shape) const;

  std::shared_ptr<Network<T>> network_;
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

// Rows of output, or one row where the input was one.
template <class T>
std::vector<py::ssize_t> output_shape(const Matrix<T>& x, Index columns) {
  if (x.one_row) return {columns};
  return {x.rows, columns};
}

}  // namespace fastmlp::bindings
