// What Python holds: parameters, losses, optimizers and networks of either dtype behind one class each.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/loss_handle.h"
#include "core/metrics.h"
#include "core/trainer.h"

namespace fastmlp::bindings {

namespace py = pybind11;

// The value with this name, or ValueError listing the known ones.
template <class Kind, std::size_t N>
Kind kind_named(const char* const (&names)[N], const std::string& name, const char* what) {
  std::string known;
  for (std::size_t i = 0; i < N; ++i) {
    if (name == names[i]) return static_cast<Kind>(i);
    known += std::string(i > 0 ? ", " : "") + names[i];
  }
  throw py::value_error(std::string(what) + ": expected one of " + known + "; got '" + name + "'");
}

// Either dtype: f(float{}) or f(double{}).
template <class F>
auto with_dtype(const std::string& dtype, F&& f) {
  if (dtype == "float32") return f(float{});
  if (dtype == "float64") return f(double{});
  throw py::value_error("dtype: expected 'float32' or 'float64', got '" + dtype + "'");
}

// The device "cpu" or "cuda"; std::runtime_error where that is missing.
const Device& device_named(const std::string& name);

struct ParameterHandle {
  virtual ~ParameterHandle() = default;
  virtual std::vector<py::ssize_t> shape() const = 0;
  virtual std::string dtype() const = 0;
  virtual const Device& device() const = 0;
  // Copies the values to another device; what it returns makes them the parameter's. Networks made before are of no use
  // afterwards; `moves` tells them apart.
  virtual std::function<void()> prepare_move(const Device& device) = 0;
  virtual Index moves() const = 0;
  // On the host writable views; of a device's memory read-only copies.
  virtual py::array value() const = 0;
  // How often that was asked for.
  virtual Index reads() const = 0;
  virtual py::object grad() const = 0;
  virtual void write(const py::object& values) = 0;
  virtual void set_grad(const py::object& grad) = 0;
  virtual bool requires_grad() const = 0;
  virtual void set_requires_grad(bool on) = 0;
  // After a change of values: passes that were recorded before cannot run backward any more.
  virtual void changed() = 0;
  // Another parameter takes its place: who holds this one gets an error. RuntimeError while it is trained.
  virtual void abandon() = 0;
};

// The native parameter behind a handle; TypeError naming the argument where its dtype is another.
template <class T>
std::shared_ptr<Parameter<T>> native(const ParameterHandle& handle, const char* name);

// The parameters of a sequence of handles.
using ParameterHandles = std::vector<std::reference_wrapper<ParameterHandle>>;
ParameterHandles parameter_handles(const py::sequence& objects, const char* name);

struct OptimizerHandle {
  virtual ~OptimizerHandle() = default;
  // Parameters with their options; the first one's dtype is that of all.
  virtual void add_group(const py::sequence& parameters, const std::map<std::string, double>& options) = 0;
  virtual void set_option(int group, const std::string& name, double value) = 0;
  // What a schedule has computed ahead; see core/planned_options.h.
  virtual void plan(std::vector<double> rates, std::vector<double> momenta, Index repeat) = 0;
  virtual Index end_plan() = 0;
  virtual void step() = 0;
  virtual void zero_grad(bool forget) = 0;  // or set to zero
  virtual Index steps() const = 0;
  virtual State state() const = 0;
  virtual void set_state(const State& state) = 0;
};
template <class T>
struct OptimizerOf : OptimizerHandle {
  explicit OptimizerOf(OptimizerKind kind) : optimizer(kind, {}) {}
  void add_group(const py::sequence& parameters, const std::map<std::string, double>& options) override;
  void set_option(int group, const std::string& name, double value) override {
    optimizer.set_option(group, name, value);
  }
  void plan(std::vector<double> rates, std::vector<double> momenta, Index repeat) override;
  Index end_plan() override;
  void step() override;
  void zero_grad(bool forget) override { optimizer.zero_grad(forget); }
  Index steps() const override { return optimizer.steps(); }
  State state() const override;
  void set_state(const State& state) override;
  // The method that takes the steps in the rule's place; null: none.
  virtual WholeBatchMethod<T>* method() { return nullptr; }
  // RuntimeError where another parameter has taken one's place.
  void check_parameters() const {
    for (const auto& parameter : parameters)
      if (parameter->abandoned)
        throw std::runtime_error(
            "optimizer: one of its parameters has been converted to another dtype since it was made; make a new one");
  }

  Optimizer<T> optimizer;
  mutable Owner owner;  // of a step or a fit
  std::vector<std::shared_ptr<Parameter<T>>> parameters;
  Index weights = 0;  // how many it updates
};

struct NetworkHandle;

struct FitRequest {
  NetworkHandle& network;
  OptimizerHandle& optimizer;
  const LossHandle& loss;  // may change in callbacks
  History& history;
  // Of the training and the validation, None where there is no such thing. A function, which takes an output, row
  // numbers (or the first one) and whether its gradient is wanted, comes in the place of a loss and targets.
  struct Data {
    py::object x, t, sample_weight, function;
  } training, validation;
  FitOptions options;
  EarlyStopping* early_stopping;                            // null: none
  Convergence* convergence;                                 // likewise
  std::vector<std::pair<std::string, py::object>> metrics;  // by name: a Metric, or a function of the outputs
  // None: the training data are all there. Else it gives them by and by, batches like `training`, and None between epochs.
  py::object next_batch;
  py::object own_step;  // None, or what takes an epoch's step on all rows, and returns the loss before it
  py::object on_begin, on_epoch, on_plan, on_poll;  // None, or to be called
  // None, or what several processes train together by: see exchange.h; with `bucket_bytes`, and `batches`, how many the one
  // with the most has in an epoch, or None where nobody knows.
  py::object exchange;
};

struct BoundRows;  // bound_rows.h

using NamedMetrics = std::vector<std::pair<std::string, MetricSpec>>;

struct NetworkHandle {
  virtual ~NetworkHandle() = default;
  virtual Index in_features() const = 0;
  virtual Index out_features() const = 0;
  virtual const char* strategy(Index rows, bool training) const = 0;
  // A tensor with its tape. Null dropout: evaluation mode, as in predict.
  virtual py::object forward(py::handle x, const DropoutState* dropout) = 0;
  // `out`, or where that is null an array of type `result`.
  virtual py::object predict(py::handle x, py::handle out, const DropoutState* dropout, PyTypeObject* result) = 0;
  // `out`, or where that is null a new array of x's library.
  virtual py::object predict_on_device(py::handle x, py::handle out) = 0;
  virtual bool takes_device_array(py::handle x) const = 0;
  // New arrays of zeros for so many rows and their predictions; `like`, unless null, is an array on the network's device
  // of whose library they are. ValueError where the rows have no width of their own.
  virtual BoundRows bind(Index rows, py::handle like) const = 0;
  // Whether they are of this network's shape, dtype and device; the same as predict then, without checks.
  virtual bool takes(const BoundRows& bound) const = 0;
  virtual void predict_bound(const BoundRows& bound) = 0;
  // Derivatives of `predict` with respect to x: of each output; of a loss; of one whose gradient with respect to the output
  // is function(y, t); of the sum of the outputs where both are null.
  virtual py::object jacobian(py::handle x) = 0;
  // Of each output with respect to these parameters, one after the other.
  virtual py::object weight_jacobian(py::handle x, const py::sequence& parameters) = 0;
  virtual py::object input_gradient(py::handle x, py::handle t, const LossHandle* loss, py::handle function) = 0;
  // Of this network, or of several on one device, of one group_key, dtype and loss, with equally many rows and, but for
  // seeds, the same options: the first one's are those of all, and it alone is polled.
  virtual void fit(const std::vector<FitRequest>& requests) = 0;
  // What networks that are trained together, in batches of so many rows, have in common; nothing for those that are not.
  virtual std::optional<std::string> group_key(const OptimizerHandle& optimizer, const LossHandle& loss,
                                               Index rows) const = 0;
  // The loss and the metrics of (x, t, sample_weight), which may stay in files.
  virtual std::pair<double, std::vector<double>> evaluate(const LossHandle& loss, const py::tuple& data,
                                                          const NamedMetrics& metrics) = 0;
  virtual void prepare(EarlyStopping& stopping) const = 0;
};

// Once, when the module is imported.
[[gnu::cold]] void bind_runtime(py::module_& m);
[[gnu::cold]] void bind_random(py::module_& m);
[[gnu::cold]] void bind_parameter(py::module_& m);
[[gnu::cold]] void bind_loss(py::module_& m);
[[gnu::cold]] void bind_optimizer(py::module_& m);
[[gnu::cold]] void bind_whole_batch(py::module_& m);
// An optimizer that steps by a method for all rows of this name, without parameters as yet; null: there is none.
std::shared_ptr<OptimizerHandle> make_whole_batch(const std::string& kind, const std::string& dtype);
[[gnu::cold]] void bind_network(py::module_& m);
[[gnu::cold]] void bind_tensor(py::module_& m);
[[gnu::cold]] void bind_model(py::module_& m);
[[gnu::cold]] void bind_trainer(py::module_& m);
[[gnu::cold]] void bind_metrics(py::module_& m);
[[gnu::cold]] void bind_schedules(py::module_& m);
[[gnu::cold]] void bind_ops(py::module_& m);
[[gnu::cold]] void bind_ensemble(py::module_& m);
[[gnu::cold]] void bind_borrowed_chain(py::module_& m);

}  // namespace fastmlp::bindings
