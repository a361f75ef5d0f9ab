// Networks: prediction, and forward passes that leave a tape.
#include "bindings/cpython.h"
#include "bindings/tape.h"

namespace fastmlp::bindings {

namespace {

// An int64 number of NumPy's, which lives as long as the pointer to it.
std::shared_ptr<std::int64_t> shared_count(const py::object& object) {
  auto array = object.cast<py::array_t<std::int64_t, 0>>();
  if (array.size() != 1) throw py::value_error("operations: expected one number of batches");
  std::int64_t* const count = array.mutable_data();
  return {count, [owner = array.release().ptr()](std::int64_t*) {
            const py::gil_scoped_acquire acquire;
            Py_DECREF(owner);
          }};
}

// ("affine", input, weight, bias), ("activation", input, name, alpha, beta), ("dropout", input, p), ("add", input, input),
// ("layer_norm", input, weight, bias, features, eps), ("prelu", input, weight, features), ("batch_norm", input, weight,
// bias, features, eps, statistics, momentum, mean, variance, deviations, batches); inputs are numbers of values.
template <class T>
Operation<T> make_operation(const py::tuple& spec) {
  Operation<T> operation;
  const auto kind = spec[0].cast<std::string>();
  operation.inputs[0] = spec[1].cast<int>();
  const auto parameter = [&](std::size_t i) -> std::shared_ptr<Parameter<T>> {
    if (spec[i].is_none()) return nullptr;
    return native<T>(held_by<ParameterHandle>(spec[i], "operations"), "operations");
  };
  if (kind == "affine") {
    operation.weight = parameter(2);
    operation.bias = parameter(3);
  } else if (kind == "activation") {
    const auto name = spec[2].cast<std::string>();
    if (name == "softmax" || name == "log_softmax") {
      operation.kind = OperationKind::RowActivation;
      operation.row_activation = kind_named<RowActivationKind>(kRowActivationNames, name, "activation");
    } else {
      operation.kind = OperationKind::Activation;
      operation.activation = {kind_named<ActivationKind>(kActivationNames, name, "activation"), spec[3].cast<double>(),
                              spec[4].cast<double>()};
    }
  } else if (kind == "dropout") {
    operation.kind = OperationKind::Dropout;
    operation.p = spec[2].cast<double>();
  } else if (kind == "add") {
    operation.kind = OperationKind::Add;
    operation.inputs[1] = spec[2].cast<int>();
  } else if (kind == "layer_norm" || kind == "batch_norm") {
    operation.kind = kind == "layer_norm" ? OperationKind::LayerNorm : OperationKind::BatchNorm;
    operation.weight = parameter(2);
    operation.bias = parameter(3);
    operation.features = spec[4].cast<Index>();
    operation.eps = spec[5].cast<double>();
    if (operation.kind == OperationKind::BatchNorm) {
      operation.batch.statistics =
          kind_named<StatisticsOf>(kStatisticsNames, spec[6].cast<std::string>(), "operations");
      operation.batch.momentum = spec[7].cast<std::optional<double>>();
      operation.batch.mean = parameter(8);
      operation.batch.variance = parameter(9);
      operation.batch.deviations = spec[10].cast<bool>();
      if (!spec[11].is_none()) operation.batch.batches = shared_count(spec[11].attr("array"));
    }
  } else if (kind == "prelu") {
    operation.kind = OperationKind::PReLU;
    operation.weight = parameter(2);
    operation.features = spec[3].cast<Index>();
  } else {
    throw py::value_error("operations: unknown kind '" + kind + "'");
  }
  return operation;
}

std::shared_ptr<NetworkHandle> make_network(const std::vector<py::tuple>& specs, const std::string& dtype,
                                            const std::string& precision_name, bool flatten) {
  const auto precision = kind_named<Precision>(kPrecisionNames, precision_name, "precision");
  return with_dtype(dtype, [&](auto zero) __attribute__((cold)) -> std::shared_ptr<NetworkHandle> {
    using T = decltype(zero);
    std::vector<Operation<T>> operations;
    for (const py::tuple& spec : specs) operations.push_back(make_operation<T>(spec));
    return std::make_shared<NetworkOf<T>>(Program<T>(std::move(operations), precision), flatten);
  });
}

py::object width_or_none(Index width) { return width < 0 ? py::object(py::none()) : py::int_(width); }

}  // namespace

template <class T>
py::object NetworkOf<T>::forward(py::handle object, const DropoutState* dropout) {
  Matrix<T> x = input(object, "x");
  check_rows(x.rows, dropout != nullptr, "x");
  const Index work = this->work(x);
  join_streams(network_->device());
  auto tape = std::make_unique<TapeOf<T>>(network_, staging_.get(), std::move(x), work);
  tape->run(dropout);
  T* const y = tape->output();
  const BatchShape shape = tape->output_shape();
  const bool tracked = is_tensor(object) && origin(object).node;
  // Read-only, for the backward pass would not see a change.
  return recorded_tensor(std::move(tape), y, shape, tracked ? object : py::handle(), false);
}

// ValueError where a result's memory overlaps x or the parameters.
template <class T>
void NetworkOf<T>::check_apart(const void* out, Index size, const void* x, Index x_size) const {
  const auto bytes = [](Index n) { return static_cast<std::size_t>(n) * sizeof(T); };
  if (overlap(out, bytes(size), x, bytes(x_size)))
    throw py::value_error("out: expected memory of its own, got an array that overlaps x");
  for (const auto& parameter : network_->parameters())
    if (overlap(out, bytes(size), parameter->value.data(), bytes(parameter->size())))
      throw py::value_error("out: expected memory of its own, got an array that overlaps the model's parameters");
}

// `out`, if it can take the result: of the right shape and dtype.
template <class T>
T* NetworkOf<T>::checked_output(py::handle object, const BatchShape& shape) const {
  if (!py::isinstance<py::array>(object))
    throw py::type_error(std::string("out: expected a NumPy array, got ") + Py_TYPE(object.ptr())->tp_name);
  const auto array = py::reinterpret_borrow<py::array>(object);
  return output_arg<T>(array, "out", shape);
}

template <class T>
[[gnu::always_inline]] inline py::object NetworkOf<T>::predict_matrix(const Matrix<T>& x, py::handle out,
                                                                      const DropoutState* dropout,
                                                                      PyTypeObject* result) {
  check_rows(x.rows, dropout != nullptr, "x");
  const Index columns = output_columns(x.columns);
  if (x.rows == 0 && !out) return new_array<T>(x.shape(columns), result);
  py::object array = out ? py::reinterpret_borrow<py::object>(out) : new_array<T>(x.shape(columns), result);
  T* const y = out ? checked_output(out, x.shape(columns)) : data_of<T>(array);
  if (out) check_apart(y, x.rows * columns, x.data(), x.array.size());
  if (x.rows == 0) return array;
  if (!staging_) {
    const ComputeWith<T> computing(*network_, work(x));
    network_->predict(x.data(), x.rows, x.columns, dropout, y);
    return array;
  }
  predict_staged(x.data(), x, dropout, y);
  return array;
}

template <class T>
void NetworkOf<T>::predict_staged(const T* x, const RowsShape& rows, const DropoutState* dropout, T* y) {
  const Index columns = output_columns(rows.columns);
  join_streams(network_->device());
  const auto staging = staging_->acquire(network_->device());
  const ComputeWith<T> computing(*network_, work(rows));
  staging->y.reserve(static_cast<std::size_t>(rows.rows * columns));
  network_->predict(upload(staging->x, x, rows.rows * rows.columns), rows.rows, rows.columns, dropout,
                    staging->y.data());
  download(y, staging->y, rows.rows * columns);
}

template <class T>
py::object NetworkOf<T>::predict(py::handle object, py::handle out, const DropoutState* dropout, PyTypeObject* result) {
  if (!is_small_array(object)) [[unlikely]]
    return predict_any(object, out, dropout, result);
  return predict_matrix(input(object, "x"), out, dropout, result);
}

template <class T>
py::object NetworkOf<T>::predict_any(py::handle object, py::handle out, const DropoutState* dropout,
                                     PyTypeObject* result) {
  const RowsArg<T> x = input_rows(object, "x");
  return x.source ? predict_source(x, out, dropout, result) : predict_matrix(x.ready, out, dropout, result);
}

template <class T>
py::object NetworkOf<T>::predict_on_device(py::handle object, py::handle out) {
  const DeviceArray x = device_array(object, "x");
  x.require(dtype_name<T>(), "x");
  const RowsShape rows = rows_shape(x.shape, "x", network_->in_features(), kTakes, flatten_);
  check_rows(rows.rows, false, "x");
  const BatchShape shape(rows.one_row, rows.rows, output_columns(rows.columns));
  py::object result = out ? py::reinterpret_borrow<py::object>(out) : new_device_array(x, shape);
  const DeviceArray y = device_output(result, "out", dtype_name<T>(), shape);
  if (rows.rows == 0) return result;
  check_apart(y.data, y.size(), x.data, x.size());
  predict_there(x, rows, static_cast<T*>(y.data));
  return result;
}

template <class T>
void NetworkOf<T>::predict_there(const DeviceArray& x, const RowsShape& rows, T* y) {
  CallerStream stream(network_->device(), x, false);
  {
    const ReadsValues<T> reads(network_->parameters());
    const WithoutGil release;
    network_->predict(static_cast<const T*>(x.data), rows.rows, rows.columns, nullptr, y);
  }
  if (!network_->device().capture(stream.stream())) last_stream_ = stream.owner();
  stream.finish();
}

template class NetworkOf<float>;
template class NetworkOf<double>;

void bind_network(py::module_& m) {
  py::class_<NetworkHandle, std::shared_ptr<NetworkHandle>>(m, "Network", py::is_final())
      .def("__reduce__", [](py::handle self) { refuse_pickle(self); })
      .def(py::init(&make_network), py::arg("operations"), py::arg("dtype"), py::arg("precision"),
           py::arg("flatten") = false)
      .def_property_readonly(
          "in_features", [](py::handle n) { return width_or_none(held_by<NetworkHandle>(n, "self").in_features()); })
      .def_property_readonly(
          "out_features", [](py::handle n) { return width_or_none(held_by<NetworkHandle>(n, "self").out_features()); })
      .def(
          "weight_jacobian",
          [](py::handle n, py::handle x, const py::sequence& parameters) {
            return held_by<NetworkHandle>(n, "self").weight_jacobian(x, parameters);
          },
          py::arg("x"), py::arg("parameters"))
      .def(
          "evaluate",
          [](py::handle n, py::handle loss, const py::tuple& data, const NamedMetrics& metrics) {
            return held_by<NetworkHandle>(n, "self").evaluate(held_by<LossHandle>(loss, "loss"), data, metrics);
          },
          py::arg("loss"), py::arg("data"), py::arg("metrics"))
      .def(
          "group_key",
          [](py::handle n, py::handle optimizer, py::handle loss, Index rows) {
            return held_by<NetworkHandle>(n, "self").group_key(held_by<OptimizerHandle>(optimizer, "optimizer"),
                                                               held_by<LossHandle>(loss, "loss"), rows);
          },
          py::arg("optimizer"), py::arg("loss"), py::arg("rows"))
      .def(
          "strategy",
          [](py::handle n, Index rows, bool training) {
            return held_by<NetworkHandle>(n, "self").strategy(rows, training);
          },
          py::arg("rows"), py::arg("training") = true);
}

}  // namespace fastmlp::bindings
