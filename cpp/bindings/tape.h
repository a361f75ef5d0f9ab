// A forward pass that can be run backward, once.
#pragma once

#include "bindings/gil.h"
#include "bindings/network_of.h"
#include "bindings/tensor.h"

namespace fastmlp::bindings {

template <class T>
class TapeOf final : public Tape {
 public:
  TapeOf(std::shared_ptr<Network<T>> network, Matrix<T> x, Index work)
      : network_(std::move(network)),
        x_(std::move(x)),
        workspace_(network_->acquire(x_.rows, x_.columns, true)),
        columns_(network_->out_features() < 0 ? x_.columns : network_->out_features()),
        work_(work) {}

  // Runs the network.
  void run(const DropoutState* dropout) {
    y_ = std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(x_.rows * columns_));
    const ReleaseGilFor release(work_);
    network_->forward(*workspace_, batch({}), dropout, y_.get());
    version_ = parameter_version();
  }
  T* output() { return y_.get(); }
  BatchShape output_shape() const { return x_.shape(columns_); }

  std::unique_ptr<LossNode> loss(const LossSpec& spec, py::handle target) override {
    check_open();
    if (spec.kind == LossKind::BCE && !gives_probabilities(*network_))
      check_probabilities(y_.get(), x_.rows * columns_);
    TargetArg<T> targets = target_arg<T>(target, "t", spec.kind, x_.rows, columns_, x_.one_row);
    return std::make_unique<LossOf>(*this, spec, std::move(targets));
  }

  py::object backward(py::handle grad_output, bool input_gradient) override {
    check_open();
    const CArray<T> dy = shaped_arg<T>(grad_output, "grad_output", output_shape());
    return finish(dy.data(), input_gradient);
  }

 private:
  class LossOf final : public LossNode {
   public:
    LossOf(TapeOf& tape, const LossSpec& spec, TargetArg<T> target)
        : tape_(tape), spec_(spec), target_(std::move(target)) {
      value = form_gradient();
    }

    py::object backward(bool input_gradient) override {
      tape_.check_open();
      // Another loss of the same output may have been formed since.
      if (tape_.gradient_of_ != this) form_gradient();
      return tape_.finish(nullptr, input_gradient);
    }

   private:
    double form_gradient() {
      tape_.gradient_of_ = this;
      const ReleaseGilFor release(tape_.work_);
      return tape_.network_->loss(*tape_.workspace_, spec_, tape_.batch(target_.targets), true);
    }

    TapeOf& tape_;
    const LossSpec spec_;
    const TargetArg<T> target_;
  };

  Batch<T> batch(const Targets<T>& targets) const { return {x_.data(), targets, nullptr, x_.rows}; }

  std::uint64_t parameter_version() const {
    std::uint64_t sum = 0;
    for (const auto& parameter : network_->parameters()) sum += parameter->version;
    return sum;
  }

  void check_open() const {
    if (workspace_ && version_ != parameter_version())
      throw std::runtime_error(
          "the parameters were updated after this forward pass; call backward before the optimizer's step");
    if (!workspace_)
      throw std::runtime_error(
          "backward has run already for this forward pass, which freed what it saved; call the model again");
  }

  // dy: the gradient of the output, or null for the one that the last loss left.
  py::object finish(const T* dy, bool input_gradient) {
    py::object dx;
    if (input_gradient) dx = new_array<T>(x_.shape(x_.columns));
    T* out = dx ? data_of<T>(dx) : nullptr;
    const ReleaseGilFor release(work_);
    network_->backward(*workspace_, dy, out, nullptr);
    workspace_.reset();
    return dx;
  }

  std::shared_ptr<Network<T>> network_;  // outlives the lease
  Matrix<T> x_;
  typename Network<T>::Lease workspace_;
  std::unique_ptr<T[]> y_;                 // the output
  Index columns_;                          // of the output
  Index work_;                             // see ReleaseGilFor
  std::uint64_t version_ = 0;              // of the parameters, when the forward pass ran
  const LossNode* gradient_of_ = nullptr;  // whose gradient the workspace holds
};

}  // namespace fastmlp::bindings
