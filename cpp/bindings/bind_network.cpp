// Networks: prediction, and forward passes that leave a tape.
#include "bindings/loss_handle.h"
#include "bindings/network_of.h"

namespace fastmlp::bindings {

namespace {

template <class T>
class TapeOf;

template <class T>
class LossNodeOf final : public LossNode {
 public:
  LossNodeOf(std::shared_ptr<TapeOf<T>> tape, const LossSpec& spec, TargetArg<T> target)
      : spec(spec), target(std::move(target)), tape_(std::move(tape)) {}
  double value() const override { return result; }
  py::object backward(bool input_gradient) override { return tape_->backward_from(*this, input_gradient); }

  const LossSpec spec;
  const TargetArg<T> target;
  double result = 0;

 private:
  std::shared_ptr<TapeOf<T>> tape_;
};

template <class T>
class TapeOf final : public Tape {
 public:
  TapeOf(std::shared_ptr<Network<T>> network, Matrix<T> x)
      : network_(std::move(network)), x_(std::move(x)), workspace_(network_->acquire(x_.rows, x_.columns, true)) {}

  // Runs the network; returns its output.
  py::array run(bool training, std::uint64_t seed) {
    columns_ = network_->out_features() < 0 ? x_.columns : network_->out_features();
    y_ = py::array_t<T>(output_shape(x_, columns_));
    T* out = y_.mutable_data();
    const DropoutState dropout{seed, 0};
    {
      const py::gil_scoped_release release;
      network_->forward(*workspace_, batch({}), training ? &dropout : nullptr, out);
    }
    version_ = parameter_version();
    // Read-only, for the backward pass would not see a change.
    py::detail::array_proxy(y_.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return y_;
  }

  std::shared_ptr<LossNode> loss(const LossSpec& spec, const py::object& target) override {
    check_open();
    if (spec.kind == LossKind::BCE && !gives_probabilities(*network_)) check_probabilities(y_.data(), y_.size());
    auto self = std::static_pointer_cast<TapeOf<T>>(shared_from_this());
    auto node = std::make_shared<LossNodeOf<T>>(self, spec,
                                                target_arg<T>(target, "t", spec.kind, x_.rows, columns_, x_.one_row));
    const py::gil_scoped_release release;
    node->result = form_gradient(*node);
    return node;
  }

  py::object backward(const py::object& grad_output, bool input_gradient) override {
    check_open();
    const CArray<T> dy = shaped_arg<T>(grad_output, "grad_output", output_shape(x_, columns_));
    return finish(dy.data(), input_gradient);
  }

  py::object backward_from(const LossNodeOf<T>& node, bool input_gradient) {
    check_open();
    // Another loss of the same output may have been formed since.
    if (gradient_of_ != &node) {
      const py::gil_scoped_release release;
      form_gradient(node);
    }
    return finish(nullptr, input_gradient);
  }

 private:
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

  double form_gradient(const LossNodeOf<T>& node) {
    gradient_of_ = &node;
    return network_->loss(*workspace_, node.spec, batch(node.target.targets), true);
  }

  py::object finish(const T* dy, bool input_gradient) {
    py::object dx = py::none();
    T* out = nullptr;
    if (input_gradient) {
      std::vector<py::ssize_t> shape = {x_.rows, x_.columns};
      if (x_.one_row) shape = {x_.columns};
      py::array_t<T> array(shape);
      out = array.mutable_data();
      dx = array;
    }
    const py::gil_scoped_release release;
    network_->backward(*workspace_, dy, out, nullptr);
    workspace_.reset();
    return dx;
  }

  std::shared_ptr<Network<T>> network_;  // outlives the lease
  Matrix<T> x_;
  py::array_t<T> y_;
  typename Network<T>::Lease workspace_;
  Index columns_ = 0;
  std::uint64_t version_ = 0;              // of the parameters, when the forward pass ran
  const LossNode* gradient_of_ = nullptr;  // whose gradient the workspace holds
};

template <class T>
Layer<T> make_layer(const py::tuple& spec) {
  Layer<T> layer;
  const auto kind = spec[0].cast<std::string>();
  if (kind == "affine") {
    layer.weight = native<T>(spec[1].cast<const ParameterHandle&>(), "layers");
    if (!spec[2].is_none()) layer.bias = native<T>(spec[2].cast<const ParameterHandle&>(), "layers");
  } else if (kind == "activation") {
    const auto name = spec[1].cast<std::string>();
    if (name == "softmax" || name == "log_softmax") {
      layer.kind = LayerKind::RowActivation;
      layer.row_activation = kind_named<RowActivationKind>(kRowActivationNames, name, "activation");
    } else {
      layer.kind = LayerKind::Activation;
      layer.activation = {kind_named<ActivationKind>(kActivationNames, name, "activation"), spec[2].cast<double>(),
                          spec[3].cast<double>()};
    }
  } else if (kind == "dropout") {
    layer.kind = LayerKind::Dropout;
    layer.p = spec[1].cast<double>();
  } else {
    throw py::value_error("layers: expected 'affine', 'activation' or 'dropout', got '" + kind + "'");
  }
  return layer;
}

std::shared_ptr<NetworkHandle> make_network(const std::vector<py::tuple>& specs, const std::string& dtype) {
  return with_dtype(dtype, [&](auto zero) -> std::shared_ptr<NetworkHandle> {
    using T = decltype(zero);
    std::vector<Layer<T>> layers;
    for (const py::tuple& spec : specs) layers.push_back(make_layer<T>(spec));
    return std::make_shared<NetworkOf<T>>(layers);
  });
}

py::object width_or_none(Index width) { return width < 0 ? py::object(py::none()) : py::int_(width); }

}  // namespace

template <class T>
py::tuple NetworkOf<T>::forward(const py::object& x, bool training, std::uint64_t seed) {
  auto tape = std::make_shared<TapeOf<T>>(network_, input(x, "x"));
  py::array y = tape->run(training, seed);
  return py::make_tuple(std::move(y), std::static_pointer_cast<Tape>(std::move(tape)));
}

// `out`, if it can take the result: the right shape and dtype, and apart from x and the parameters.
template <class T>
T* NetworkOf<T>::checked_output(const py::object& object, const Matrix<T>& x,
                                const std::vector<py::ssize_t>& shape) const {
  if (!py::isinstance<py::array>(object))
    throw py::type_error(std::string("out: expected a NumPy array, got ") + Py_TYPE(object.ptr())->tp_name);
  const auto array = py::reinterpret_borrow<py::array>(object);
  T* out = output_arg<T>(array, "out", shape);
  const auto bytes = static_cast<std::size_t>(array.nbytes());
  if (overlap(out, bytes, x.data(), static_cast<std::size_t>(x.array.nbytes())))
    throw py::value_error("out: expected memory of its own, got an array that overlaps x");
  for (const auto& parameter : network_->parameters())
    if (overlap(out, bytes, parameter->value.data(), static_cast<std::size_t>(parameter->size()) * sizeof(T)))
      throw py::value_error("out: expected memory of its own, got an array that overlaps the model's parameters");
  return out;
}

template <class T>
py::object NetworkOf<T>::predict(const py::object& object, const py::object& out, bool training, std::uint64_t seed) {
  const Matrix<T> x = input(object, "x");
  const std::vector<py::ssize_t> shape = output_shape(x, output_columns(x));
  py::object result = out;
  T* y = nullptr;
  if (out.is_none()) {
    py::array_t<T> array(shape);
    y = array.mutable_data();
    result = std::move(array);
  } else {
    y = checked_output(out, x, shape);
  }
  const DropoutState dropout{seed, 0};
  const py::gil_scoped_release release;
  network_->predict(x.data(), x.rows, x.columns, training ? &dropout : nullptr, y);
  return result;
}

template class NetworkOf<float>;
template class NetworkOf<double>;

void bind_network(py::module_& m) {
  py::class_<LossNode, std::shared_ptr<LossNode>>(m, "LossNode", py::is_final())
      .def_property_readonly("value", &LossNode::value)
      .def("backward", &LossNode::backward, py::arg("input_gradient"));
  py::class_<Tape, std::shared_ptr<Tape>>(m, "Tape", py::is_final())
      .def(
          "loss",
          [](Tape& tape, const LossHandle& loss, const py::object& target) { return tape.loss(loss.spec, target); },
          py::arg("loss"), py::arg("target"))
      .def("backward", &Tape::backward, py::arg("grad_output"), py::arg("input_gradient"));
  py::class_<NetworkHandle, std::shared_ptr<NetworkHandle>>(m, "Network", py::is_final())
      .def(py::init(&make_network), py::arg("layers"), py::arg("dtype"))
      .def_property_readonly("in_features", [](const NetworkHandle& n) { return width_or_none(n.in_features()); })
      .def_property_readonly("out_features", [](const NetworkHandle& n) { return width_or_none(n.out_features()); })
      .def(
          "strategy", [](const NetworkHandle& n, Index rows) { return n.prefers_lanes(rows) ? "lanes" : "dense"; },
          py::arg("rows"))
      .def("forward", &NetworkHandle::forward, py::arg("x"), py::arg("training"), py::arg("seed"))
      .def("predict", &NetworkHandle::predict, py::arg("x"), py::arg("out") = py::none(), py::arg("training") = false,
           py::arg("seed") = 0);
}

}  // namespace fastmlp::bindings
