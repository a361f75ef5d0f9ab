// Derivatives of a network's output, or of a loss, with respect to an input that lies in the host's memory.
#include "bindings/network_of.h"
#include "bindings/target_args.h"
#include "bindings/tensor.h"
#include "core/host_copy.h"

namespace fastmlp::bindings {

// An array of this shape, which body(x, result, staging) fills; both pointers are to the network's memory. `values`: how
// many there are.
template <class T>
template <class Body>
py::object NetworkOf<T>::derivatives(const Matrix<T>& x, std::span<const py::ssize_t> shape, Index values, Index work,
                                     const Body& body) {
  py::object array = new_array<T>(shape);
  if (values == 0) return array;
  T* const result = data_of<T>(array);
  if (!staging_) {
    const ComputeWith<T> computing(*network_, work);
    body(x.data(), result, nullptr);
    return array;
  }
  join_streams(network_->device());
  const auto staging = staging_->acquire(network_->device());
  const ComputeWith<T> computing(*network_, std::numeric_limits<Index>::max());
  staging->dx.reserve(static_cast<std::size_t>(values));
  body(upload(staging->x, x.data(), x.rows * x.columns), staging->dx.data(), staging.get());
  download(result, staging->dx, values);
  return array;
}

template <class T>
void NetworkOf<T>::check_rows_apart() const {
  if (network_->program().mixes_rows(false))
    throw py::value_error(
        "model: expected one whose rows do not depend on each other, got a BatchNorm1d that takes its statistics from"
        " the batch; input_gradient has gradients of sums and losses");
}

template <class T>
py::object NetworkOf<T>::jacobian(py::handle object) {
  const Matrix<T> x = input(object, "x");
  check_rows_apart();
  const Index out = output_columns(x.columns);
  const auto sizes = shape_of(x.array);
  std::vector<py::ssize_t> shape(sizes.begin(), sizes.end());
  shape.insert(shape.begin() + (x.one_row ? 0 : 1), out);
  return derivatives(
      x, shape, x.rows * out * x.columns, x.rows * out * (x.columns + weights_),
      [&](const T* from, T* result, Staging<T>*) { network_->jacobian(from, x.rows, x.columns, result); });
}

// On the host, also for a network on a device.
template <class T>
py::object NetworkOf<T>::weight_jacobian(py::handle object, const py::sequence& objects) {
  const Matrix<T> x = input(object, "x");
  check_rows_apart();
  std::optional<HostCopy<T>> copy;
  if (staging_) {
    join_streams(network_->device());
    copy.emplace(*network_);
  }
  Network<T>& network = copy ? copy->network() : *network_;
  WeightColumns<T> columns;
  std::vector<std::shared_ptr<Parameter<T>>> wanted;  // which live as long
  for (const ParameterHandle& handle : parameter_handles(objects, "params")) {
    const std::shared_ptr<Parameter<T>> parameter = native<T>(handle, "params");
    wanted.push_back(copy ? copy->of(parameter) : parameter);
    columns.add(wanted.back().get());
  }
  const Index out = output_columns(x.columns), values = x.rows * out * columns.count();
  std::vector<py::ssize_t> shape{out, columns.count()};
  if (!x.one_row) shape.insert(shape.begin(), x.rows);
  py::object array = new_array<T>(shape);
  if (values == 0) return array;
  T* const result = data_of<T>(array);
  const ComputeWith<T> computing(network, values + x.rows * out * weights_);
  network.weight_jacobian(x.data(), x.rows, x.columns, columns, result);
  return array;
}

template <class T>
py::object NetworkOf<T>::input_gradient(py::handle object, py::handle t, const LossHandle* loss, py::handle function) {
  const Matrix<T> x = input(object, "x");
  check_rows(x.rows, false, "x");
  const Index out = output_columns(x.columns);
  const auto shape = shape_of(x.array);
  const Index values = x.rows * x.columns;
  if (loss) {
    const TargetArg<T> target = target_arg<T>(t, {}, kTargetNames, *loss, x.rows, out, x.one_row);
    const LossSpec spec = loss->spec;
    if (spec.reduction == Reduction::None)
      throw py::value_error("loss_fn: expected a loss with reduction 'mean' or 'sum', got 'none'");
    check_loss_takes_output(spec, x);
    return derivatives(x, shape, values, work(x), [&](const T* from, T* result, Staging<T>* staging) {
      const Targets<T> targets = staging ? staging->targets.take(target.targets, x.rows, out) : target.targets;
      network_->loss_gradient(spec, from, targets, x.rows, x.columns, result);
    });
  }
  CArray<T> dy;
  if (function && x.rows > 0)
    dy = shaped_arg<T>(function(predict(x.array, {}, nullptr, nullptr), t), "gradient", x.shape(out));
  const T* const gradient = function && x.rows > 0 ? dy.data() : nullptr;
  return derivatives(x, shape, values, work(x), [&](const T* from, T* result, Staging<T>* staging) {
    const T* const there = staging && gradient ? upload(staging->dy, gradient, x.rows * out) : gradient;
    network_->output_gradient(there, from, x.rows, x.columns, result);
  });
}

// ValueError where outputs are no probabilities, or no variances, that the loss looks at as such.
template <class T>
void NetworkOf<T>::check_loss_takes_output(const LossSpec& loss, const Matrix<T>& x) {
  const bool probabilities = loss.kind == LossKind::BCE && !gives_probabilities(*network_);
  if (!probabilities && !is_pair_loss(loss.kind)) return;
  const py::object y = predict(x.array, {}, nullptr, nullptr);
  const Index out = output_columns(x.columns);
  if (probabilities) check_probabilities(data_of<T>(y), x.rows * out);
  if (is_pair_loss(loss.kind)) check_variances(data_of<T>(y), x.rows, out);
}

#define FASTMLP_INSTANTIATE(T)                                                        \
  template py::object NetworkOf<T>::jacobian(py::handle object);                      \
  template py::object NetworkOf<T>::weight_jacobian(py::handle, const py::sequence&); \
  template py::object NetworkOf<T>::input_gradient(py::handle, py::handle, const LossHandle*, py::handle);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::bindings
