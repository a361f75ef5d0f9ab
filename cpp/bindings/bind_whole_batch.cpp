// Methods that look at all rows, as optimizers, whose step evaluates a closure.
#include "bindings/cpython.h"
#include "bindings/device_arrays.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "core/second_order/flat_parameters.h"
#include "core/second_order/lbfgs.h"
#include "core/second_order/scipy_lbfgs.h"

namespace fastmlp::bindings {

namespace {

// For any dtype.
struct TakesClosure {
  virtual ~TakesClosure() = default;
  virtual py::object step_with(const py::object& closure) = 0;
};

template <class T>
class WholeBatchOf final : public OptimizerOf<T>, public TakesClosure {
 public:
  explicit WholeBatchOf(std::unique_ptr<WholeBatchMethod<T>> method)
      : OptimizerOf<T>(OptimizerKind::SGD), method_(std::move(method)) {}

  WholeBatchMethod<T>* method() override { return method_.get(); }
  void add_group(const py::sequence& parameters, const std::map<std::string, double>& options) override {
    OptimizerOf<T>::add_group(parameters, {});
    for (const auto& [name, value] : options) set_option(0, name, value);
  }
  void set_option(int group, const std::string& name, double value) override {
    method_->set_option(name, value);
    if (name == "lr") OptimizerOf<T>::set_option(group, name, value);  // for histories
  }
  State state() const override {
    const Owner::Claim reading(this->owner, kInUse);
    return method_->state();
  }
  void set_state(const State& state) override {
    const Owner::Claim writing(this->owner, kInUse);
    method_->set_state(state);
  }

  // Parameters and gradients are touched with the GIL, which the closure needs anyway.
  py::object step_with(const py::object& closure) override {
    const Owner::Claim stepping(this->owner, kInUse);
    this->check_parameters();
    const FlatParameters<T> flat(this->parameters);
    for (const auto& parameter : this->parameters) join_streams(parameter->device());
    py::object first;
    const auto loss = [&] {
      const py::object value = closure();
      if (!first) first = value;
      return py::float_(value).template cast<double>();
    };
    struct Unlocked {  // computes without the GIL
      WholeBatchMethod<T>& method;
      Index weights;
      double step(std::vector<T>& x, const typename WholeBatchMethod<T>::Evaluate& evaluate) {
        if (!ReleaseGilFor::is_worth(weights)) return method.step(x, evaluate);
        WithoutGil released;
        return method.step(x, [&](const std::vector<T>* there, std::vector<T>& gradient) {
          const WithoutGil::Pause acquire(released);
          return evaluate(there, gradient);
        });
      }
    } method{*method_, this->weights};
    flat.step(method, loss);
    return first;
  }

 private:
  static constexpr const char* kInUse = "optimizer: another thread is in a step or fit with it";

  const std::unique_ptr<WholeBatchMethod<T>> method_;
};

}  // namespace

std::shared_ptr<OptimizerHandle> make_whole_batch(const std::string& kind, const std::string& dtype) {
  return with_dtype(dtype, [&](auto zero) -> std::shared_ptr<OptimizerHandle> {
    using T = decltype(zero);
    if (kind == "lbfgs") return std::make_shared<WholeBatchOf<T>>(std::make_unique<Lbfgs<T>>());
    if constexpr (std::is_same_v<T, double>)
      if (kind == "scipy_lbfgs") return std::make_shared<WholeBatchOf<T>>(std::make_unique<ScipyLbfgs<T>>());
    return nullptr;
  });
}

void bind_whole_batch(py::module_& m) {
  m.def(
      "whole_batch_step",
      [](py::handle optimizer, const py::object& closure) {
        auto* const own = dynamic_cast<TakesClosure*>(&held_by<OptimizerHandle>(optimizer, "optimizer"));
        if (!own) throw py::type_error("optimizer: expected one whose steps look at all rows");
        return own->step_with(closure);
      },
      py::arg("optimizer"), py::arg("closure"));
}

}  // namespace fastmlp::bindings
