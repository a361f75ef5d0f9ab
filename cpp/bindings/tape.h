// A forward pass that can be run backward, once.
#pragma once

#include "bindings/gil.h"
#include "bindings/network_of.h"
#include "bindings/tensor.h"

namespace fastmlp::bindings {

template <class T>
class TapeOf final : public Tape {
 public:
  // `staging`: of the network's device, or null where that is the host.
  TapeOf(std::shared_ptr<Network<T>> network, StagingPool<T>* staging, Matrix<T> x, Index work)
      : network_(std::move(network)),
        x_(std::move(x)),
        staging_(staging ? staging->acquire(network_->device()) : nullptr),
        workspace_(network_->acquire(x_.rows, x_.columns, true)),
        columns_(network_->out_features() < 0 ? x_.columns : network_->out_features()),
        work_(work) {}

  // Runs the network.
  void run(const DropoutState* dropout) {
    y_ = std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(x_.rows * columns_));
    const ReleaseGilFor release(work_);
    version_ = parameter_version();
    if (!staging_) return network_->forward(*workspace_, batch({}), dropout, y_.get());
    upload(staging_->x, x_.data(), x_.rows * x_.columns);
    staging_->y.reserve(static_cast<std::size_t>(x_.rows * columns_));
    network_->forward(*workspace_, batch({}), dropout, staging_->y.data());
    download(y_.get(), staging_->y, x_.rows * columns_);
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
      join_streams(tape_.network_->device());
      const ReleaseGilFor release(tape_.work_);
      return tape_.network_->loss(*tape_.workspace_, spec_, tape_.batch(tape_.placed(target_.targets)), true);
    }

    TapeOf& tape_;
    const LossSpec spec_;
    const TargetArg<T> target_;
  };

  Batch<T> batch(const Targets<T>& targets) const {
    return {staging_ ? staging_->x.data() : x_.data(), targets, nullptr, x_.rows};
  }
  // The host's targets in the network's memory.
  Targets<T> placed(const Targets<T>& targets) const {
    return staging_ ? staging_->upload_targets(targets, x_.rows, columns_) : targets;
  }

  std::uint64_t parameter_version() const {
    std::uint64_t sum = 0;
    for (const auto& parameter : network_->parameters()) sum += parameter->version;
    return sum;
  }

  void check_open() const {
    if (workspace_ && version_ != parameter_version())
      throw std::runtime_error(
          "the parameters were updated or moved after this forward pass; call backward before the optimizer's step");
    if (!workspace_)
      throw std::runtime_error(
          "backward has run already for this forward pass, which freed what it saved; call the model again");
  }

  // dy: the gradient of the output, or null for the one that the last loss left.
  py::object finish(const T* dy, bool input_gradient) {
    py::object dx;
    if (input_gradient) dx = new_array<T>(x_.shape(x_.columns));
    T* out = dx ? data_of<T>(dx) : nullptr;
    if (staging_) return finish_on_device(dy, dx, out);
    const ReleaseGilFor release(work_);
    network_->backward(*workspace_, dy, out, nullptr);
    workspace_.reset();
    return dx;
  }
  py::object finish_on_device(const T* dy, const py::object& dx, T* out) {
    join_streams(network_->device());
    {
      const Index size = x_.rows * x_.columns;
      const py::gil_scoped_release release;
      if (dy) dy = upload(staging_->dy, dy, x_.rows * columns_);
      if (out) staging_->dx.reserve(static_cast<std::size_t>(size));
      network_->backward(*workspace_, dy, out ? staging_->dx.data() : nullptr, nullptr);
      if (out) download(out, staging_->dx, size);
      workspace_.reset();
    }
    staging_.reset();
    return dx;
  }

  std::shared_ptr<Network<T>> network_;  // outlives the lease
  Matrix<T> x_;
  typename StagingPool<T>::Lease staging_;  // null on the host
  typename Network<T>::Lease workspace_;
  std::unique_ptr<T[]> y_;                 // the output
  Index columns_;                          // of the output
  Index work_;                             // see ReleaseGilFor
  std::uint64_t version_ = 0;              // of the parameters, when the forward pass ran
  const LossNode* gradient_of_ = nullptr;  // whose gradient the workspace holds
};

}  // namespace fastmlp::bindings
