// A forward pass that can be run backward: once, unless it is told to keep what it saved.
#pragma once

#include <limits>

#include "bindings/gil.h"
#include "bindings/network_of.h"
#include "bindings/recorded.h"
#include "bindings/target_args.h"
#include "bindings/tensor.h"

namespace fastmlp::bindings {

template <class T>
class TapeOf final : public Tape {
 public:
  // `staging`: of the network's device, or null where that is the host.
  TapeOf(std::shared_ptr<Network<T>> network, StagingPool<T>* staging, Matrix<T> x, Index work)
      : network_(std::move(network)),
        rows_(x.rows),
        in_columns_(x.columns),
        one_row_(x.one_row),
        x_(std::move(x)),
        staging_(staging ? staging->acquire(network_->device()) : nullptr),
        columns_(network_->out_features() < 0 ? in_columns_ : network_->out_features()),
        work_(work) {
    if (rows_ > 0) runner_ = network_->acquire(rows_, in_columns_, true);
    open_ = true;
  }

  // Runs the network.
  void run(const DropoutState* dropout) {
    y_ = std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(rows_ * columns_));
    // The backward pass sees x as it is now.
    if (!staging_ && !x_.copied && runner_ && !runner_->keeps_input())
      x_copy_ = std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(rows_ * in_columns_));
    parameters_.open(*network_);
    if (!runner_) return;
    const ComputeWith<T> computing(*network_, work_);
    if (x_copy_) std::copy_n(x_.data(), rows_ * in_columns_, x_copy_.get());
    if (!staging_) return runner_->forward(batch({}), dropout, y_.get());
    upload(staging_->x, x_.data(), rows_ * in_columns_);
    staging_->y.reserve(static_cast<std::size_t>(rows_ * columns_));
    runner_->forward(batch({}), dropout, staging_->y.data());
    download(y_.get(), staging_->y, rows_ * columns_);
  }
  T* output() { return y_.get(); }
  BatchShape output_shape() const { return {one_row_, rows_, columns_}; }

  py::object loss(const LossHandle& loss, py::handle target, py::handle sample_weight, py::handle output) override {
    check_free();
    const LossSpec& spec = loss.spec;
    if (spec.kind == LossKind::BCE && !gives_probabilities(*network_)) check_probabilities(y_.get(), rows_ * columns_);
    if (is_pair_loss(spec.kind) && columns_ % 2 == 0) check_variances(y_.get(), rows_, columns_);
    TargetArg<T> targets = target_arg<T>(target, sample_weight, kTargetNames, loss, rows_, columns_, one_row_);
    check_free();  // the target may be a program
    if (spec.reduction == Reduction::None) {
      auto values = std::make_unique<KnownGradient>(*this, spec, targets);
      T* const data = values->values();
      const auto shape = values_shape(spec.kind, output_shape(), one_row_, columns_);
      return recorded_tensor<T>(std::move(values), data, shape, output, true);
    }
    auto node = std::make_unique<LossOf>(*this, spec, std::move(targets));
    double* const value = node->value();
    return recorded_tensor<double>(std::move(node), value, {}, output, true);
  }

  py::object loss(double value, py::handle gradient, py::handle output) override {
    check_free();
    const CArray<T> dy = shaped_arg<T>(gradient, "gradient", output_shape());
    check_free();
    auto node = std::make_unique<KnownGradient>(*this, value, dy.data());
    double* const place = node->value();
    return recorded_tensor<double>(std::move(node), place, {}, output, true);
  }

  py::object backward(py::handle grad_output, bool input_gradient, bool retain) override {
    check_open();
    const CArray<T> dy = shaped_arg<T>(grad_output, "grad_output", output_shape());
    check_open();
    return finish(dy.data(), input_gradient, retain);
  }
  void check_open() const override {
    check_free();
    parameters_.check();
  }

 private:
  class LossOf final : public LossNode {
   public:
    LossOf(TapeOf& tape, const LossSpec& spec, TargetArg<T> target)
        : tape_(tape), spec_(spec), target_(std::move(target)) {
      value_ = first_ = form_gradient();
    }
    double* value() { return &value_; }

    py::object backward(py::handle tensor, py::handle gradient, bool input_gradient, bool retain) override {
      py::object dx;
      if (gradient && !gradient.is_none()) {
        dx = tape_.backward(output_gradient(tensor, gradient), input_gradient, retain);
      } else {
        prepare();
        dx = tape_.finish(nullptr, input_gradient, retain);
      }
      if (!retain) target_ = {};
      return dx;
    }
    py::object output_gradient(py::handle, py::handle gradient) override {
      const double factor = factor_of(gradient);
      prepare();
      py::object dy = new_array<T>(tape_.output_shape());
      loss_gradient(spec_, tape_.rows_, tape_.columns_, tape_.y_.get(), target_.targets, data_of<T>(dy));
      tape_.scale(data_of<T>(dy), factor);
      return dy;
    }

   private:
    // The runner's gradient is that of this loss.
    void prepare() {
      tape_.check_open();
      // Another loss of the same output has been formed since.
      if (tape_.gradient_of_ != this && form_gradient() != first_ && first_ == first_)
        throw std::runtime_error("the targets were changed after this loss was formed; call backward before");
      tape_.check_free();
    }
    double form_gradient() {
      tape_.gradient_of_ = this;
      if (tape_.rows_ == 0) return spec_.is_mean() ? std::numeric_limits<double>::quiet_NaN() : 0;
      join_streams(tape_.network_->device());
      const Claim claim(tape_);
      const ReleaseGilFor release(tape_.work_);
      return tape_.runner_->loss(spec_, tape_.batch(tape_.placed(target_.targets)), true);
    }

    TapeOf& tape_;
    const LossSpec spec_;
    TargetArg<T> target_;
    double value_, first_;  // the tensor's, which may be written to, and what it was
  };

  // A loss whose gradient is there in full when it is formed: one that is a function, or the values of one of ours, each
  // for itself.
  class KnownGradient final : public LossNode {
   public:
    KnownGradient(TapeOf& tape, double value, const T* gradient)
        : tape_(tape), value_(value), dy_(gradient, gradient + tape.rows_ * tape.columns_) {}
    KnownGradient(TapeOf& tape, const LossSpec& spec, const TargetArg<T>& target)
        : tape_(tape),
          of_row_(spec.values_of_row(tape.columns_)),
          values_(static_cast<std::size_t>(tape.rows_ * of_row_)),
          dy_(static_cast<std::size_t>(tape.rows_ * tape.columns_)) {
      loss_values(spec, tape.rows_, tape.columns_, tape.y_.get(), target.targets, values_.data(), dy_.data());
    }
    T* values() { return values_.data(); }
    double* value() { return &value_; }

    py::object backward(py::handle tensor, py::handle gradient, bool input_gradient, bool retain) override {
      py::object dx = tape_.backward(output_gradient(tensor, gradient), input_gradient, retain);
      if (!retain) dy_ = {};
      return dx;
    }
    py::object output_gradient(py::handle tensor, py::handle gradient) override {
      py::object result = new_array<T>(tape_.output_shape());
      T* const dy = data_of<T>(result);
      if (of_row_ == 0) {
        const double factor = factor_of(gradient);
        tape_.check_open();
        std::copy(dy_.begin(), dy_.end(), dy);
        tape_.scale(dy, factor);
        return result;
      }
      const auto array = py::reinterpret_borrow<py::array>(tensor);
      const CArray<T> g = shaped_arg<T>(bindings::output_gradient(array, gradient), "grad_output", shape_of(array));
      tape_.check_open();
      for (Index r = 0; r < tape_.rows_; ++r)
        for (Index c = 0; c < tape_.columns_; ++c) {
          const Index i = r * tape_.columns_ + c;
          dy[i] = dy_[static_cast<std::size_t>(i)] * g.data()[r * of_row_ + c % of_row_];
        }
      return result;
    }

   private:
    TapeOf& tape_;
    double value_ = 0;
    Index of_row_ = 0;  // values; 0: there is a single one in all
    std::vector<T> values_, dy_;
  };

  // What the gradient of a loss of one value is multiplied by.
  static double factor_of(py::handle gradient) {
    if (!gradient || gradient.is_none()) return 1;
    if (PyFloat_CheckExact(gradient.ptr()) || PyLong_CheckExact(gradient.ptr()))
      throw py::type_error("grad_output: expected none or an array for a loss, got a number");
    return *shaped_arg<double>(gradient, "grad_output", {}).data();
  }
  void scale(T* dy, double factor) const {
    if (factor == 1) return;
    for (Index i = 0; i < rows_ * columns_; ++i) dy[i] = static_cast<T>(dy[i] * factor);
  }

  // While one thread works on the pass, without the GIL, others get an error.
  class Claim {
   public:
    explicit Claim(TapeOf& tape) : tape_(tape) { tape_.claimed_ = true; }
    ~Claim() { tape_.claimed_ = false; }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;

   private:
    TapeOf& tape_;
  };

  Batch<T> batch(const Targets<T>& targets) const {
    return {staging_ ? staging_->x.data() : x_copy_ ? x_copy_.get() : x_.data(), targets, nullptr, rows_};
  }
  // The host's targets in the network's memory.
  Targets<T> placed(const Targets<T>& targets) const {
    return staging_ ? staging_->targets.take(targets, rows_, columns_) : targets;
  }

  void check_free() const {
    if (claimed_) throw std::runtime_error("another thread is at work on this forward pass");
    if (!open_)
      throw std::runtime_error(
          "backward has run already for this forward pass, which freed what it saved; call the model again");
  }

  // dy: the gradient of the output, or null for the one that the last loss left.
  py::object finish(const T* dy, bool input_gradient, bool retain) {
    py::object dx;
    if (input_gradient) dx = new_array<T>(BatchShape(one_row_, rows_, in_columns_));
    T* out = dx ? data_of<T>(dx) : nullptr;
    for (const auto& parameter : network_->parameters())
      if (parameter->requires_grad) parameter->grad_buffer();
    if (!runner_) {
      gradients_of_nothing();
    } else if (staging_) {
      finish_on_device(dy, out);
    } else {
      const Claim claim(*this);
      run_backward(dy, out);
    }
    gradient_of_ = nullptr;
    if (!retain) free_all();
    return dx;
  }
  // Without the GIL, other threads may come with passes of the same network.
  void run_backward(const T* dy, T* out) {
    if (!ReleaseGilFor::is_worth(work_)) return runner_->backward(dy, out, nullptr);
    const UsesGradients<T> users(network_->parameters());
    const WithoutGil release;
    const Locked locked(network_->backward_lock());
    runner_->backward(dy, out, nullptr);
  }
  void finish_on_device(const T* dy, T* out) {
    join_streams(network_->device());
    const Claim claim(*this);
    const Index size = rows_ * in_columns_;
    const UsesGradients<T> users(network_->parameters());
    const WithoutGil release;
    if (dy) dy = upload(staging_->dy, dy, rows_ * columns_);
    if (out) staging_->dx.reserve(static_cast<std::size_t>(size));
    runner_->backward(dy, out ? staging_->dx.data() : nullptr, nullptr);
    if (out) download(out, staging_->dx, size);
  }
  void gradients_of_nothing() {
    for (const auto& parameter : network_->parameters()) {
      if (!parameter->requires_grad || parameter->has_grad) continue;
      const std::vector<T> zeros(static_cast<std::size_t>(parameter->size()));
      parameter->write_grad(zeros.data());
    }
  }

  // All but the output, which is a tensor's.
  void free_all() {
    open_ = false;
    parameters_.close();
    runner_.reset();
    staging_.reset();
    x_copy_.reset();
    x_.array = py::reinterpret_steal<CArray<T>>(nullptr);
  }

  std::shared_ptr<Network<T>> network_;  // outlives the lease
  Index rows_, in_columns_;
  bool one_row_;
  Matrix<T> x_;
  std::unique_ptr<T[]> x_copy_;
  typename StagingPool<T>::Lease staging_;  // null on the host
  typename Network<T>::Lease runner_;       // null where there are no rows
  std::unique_ptr<T[]> y_;                  // the output
  Index columns_;                           // of the output
  Index work_;                              // see ReleaseGilFor
  RecordedParameters<T> parameters_;
  bool open_ = false, claimed_ = false;
  const LossNode* gradient_of_ = nullptr;  // whose gradient the runner holds
};

}  // namespace fastmlp::bindings
