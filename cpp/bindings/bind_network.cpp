// Networks: prediction, and forward passes that leave a tape.
#include "bindings/tape.h"

namespace fastmlp::bindings {

namespace {

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
py::object NetworkOf<T>::forward(py::handle object, const DropoutState* dropout) {
  Matrix<T> x = input(object, "x");
  const Index work = this->work(x);
  auto tape = std::make_unique<TapeOf<T>>(network_, std::move(x), work);
  tape->run(dropout);
  T* const y = tape->output();
  const BatchShape shape = tape->output_shape();
  const bool tracked = is_tensor(object) && origin(object).node;
  // Read-only, for the backward pass would not see a change.
  return recorded_tensor(std::move(tape), y, shape, tracked ? object : py::handle(), false);
}

// `out`, if it can take the result: the right shape and dtype, and apart from x and the parameters.
template <class T>
T* NetworkOf<T>::checked_output(py::handle object, const Matrix<T>& x) const {
  if (!py::isinstance<py::array>(object))
    throw py::type_error(std::string("out: expected a NumPy array, got ") + Py_TYPE(object.ptr())->tp_name);
  const auto array = py::reinterpret_borrow<py::array>(object);
  T* out = output_arg<T>(array, "out", x.shape(output_columns(x)));
  const auto bytes = static_cast<std::size_t>(array.nbytes());
  if (overlap(out, bytes, x.data(), static_cast<std::size_t>(x.array.nbytes())))
    throw py::value_error("out: expected memory of its own, got an array that overlaps x");
  for (const auto& parameter : network_->parameters())
    if (overlap(out, bytes, parameter->value.data(), static_cast<std::size_t>(parameter->size()) * sizeof(T)))
      throw py::value_error("out: expected memory of its own, got an array that overlaps the model's parameters");
  return out;
}

template <class T>
py::object NetworkOf<T>::predict(py::handle object, py::handle out, const DropoutState* dropout, PyTypeObject* result) {
  const Matrix<T> x = input(object, "x");
  py::object array = out ? py::reinterpret_borrow<py::object>(out) : new_array<T>(x.shape(output_columns(x)), result);
  T* y = out ? checked_output(out, x) : data_of<T>(array);
  const ReleaseGilFor release(work(x));
  network_->predict(x.data(), x.rows, x.columns, dropout, y);
  return array;
}

template class NetworkOf<float>;
template class NetworkOf<double>;

void bind_network(py::module_& m) {
  py::class_<NetworkHandle, std::shared_ptr<NetworkHandle>>(m, "Network", py::is_final())
      .def(py::init(&make_network), py::arg("layers"), py::arg("dtype"))
      .def_property_readonly("in_features", [](const NetworkHandle& n) { return width_or_none(n.in_features()); })
      .def_property_readonly("out_features", [](const NetworkHandle& n) { return width_or_none(n.out_features()); })
      .def(
          "strategy",
          [](const NetworkHandle& n, Index rows, bool training) {
            return n.prefers_lanes(rows, training) ? "lanes" : "dense";
          },
          py::arg("rows"), py::arg("training") = true);
}

}  // namespace fastmlp::bindings
