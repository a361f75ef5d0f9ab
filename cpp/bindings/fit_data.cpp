#include "bindings/fit_data.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bindings/network_of.h"
#include "core/clipping.h"

namespace fastmlp::bindings {

template <class T>
void FitData<T>::take_host() {
  set.rows = x.rows;
  set.columns = x.columns;
  set.x = x.data();
  set.targets = t.targets;
  set.sources = t.sources;
  set.sources.x = x.source.get();
}

template <class T>
void FitData<T>::take_shares() {
  set.all_shares = t.all_shares;
  if (!set.all_shares) shares = t.shares(set.rows);
  if (!shares.empty()) set.shares = shares.data();
}

template <class T>
void FitData<T>::fetch() {
  if (!x.source) return;
  x_copy.reserve(static_cast<std::size_t>(set.rows * set.columns));
  x.source->fetch({nullptr, 0, set.rows}, x_copy.data());
  set.x = x_copy.data();
  set.sources.x = nullptr;
}

template <class T>
void FitData<T>::upload_copies(Index columns) {
  if (stays) return;
  if (x.source)
    set.x = upload(x_copy, *x.source, set.rows, set.columns);
  else if (set.x == nullptr)
    set.x = upload(x_copy, x.data(), set.rows * set.columns);
  Targets<T> host = t.targets;
  if (set.targets.classes) host.classes = nullptr;  // they are there already
  const Targets<T> there = set.targets;
  set.targets = copies.take(host, set.rows, columns);
  if (there.dense) set.targets.dense = there.dense;
  if (there.classes) set.targets.classes = there.classes;
}

template <class T>
void FitData<T>::take_function(const py::object& called, Index columns, std::optional<WithoutGil>& released) {
  if (!called || called.is_none()) return;
  function = called;
  set.function = [this, columns, &released](const T* y, const RowNumbers& rows, T* dy) {
    const WithoutGil::Pause acquire(*released);
    const py::ssize_t shape[] = {rows.count, columns};
    const py::object output = new_array<T>(shape);  // of its own: the function may keep it
    std::copy_n(y, rows.count * columns, data_of<T>(output));
    py::object ids = py::int_(rows.first);
    if (rows.ids) {
      const py::ssize_t count[] = {rows.count};
      ids = new_array<Index>(count);
      std::copy_n(rows.ids, rows.count, data_of<Index>(ids));
    }
    const py::tuple result = function(output, ids, dy != nullptr);
    if (dy) std::copy_n(shaped_arg<T>(result[1], "gradient", shape).data(), rows.count * columns, dy);
    return result[0].template cast<double>();
  };
}

namespace {

// The same as check_finite where the values lie on a device: they are fetched only where their norm says that one is not
// finite, or that it may not be.
template <class T>
void check_finite_there(const Device& device, const T* values, Index rows, Index columns, const char* name) {
  if (std::isfinite(norm(device, values, rows * columns))) return;
  std::vector<T> copy(static_cast<std::size_t>(rows * columns));
  check(device.download(copy.data(), values, copy.size() * sizeof(T), StreamScope::current()));
  check_finite(copy.data(), rows, columns, name);
}

template <class V>
py::object on_host(const Device& device, const DeviceArray& array) {
  const py::object copy = new_array<V>(array.shape);
  check(device.download(data_of<V>(copy), array.data, static_cast<std::size_t>(array.size()) * sizeof(V),
                        StreamScope::current()));
  return copy;
}

}  // namespace

// Class indices are looked at, for a wrong one would lead beyond the device's memory; other values are not. Where the
// kernels want targets of another form, they are brought to the host first.
template <class T>
void NetworkOf<T>::take_device_targets(FitData<T>& d, const FitRequest::Data& from, const TargetNames& names,
                                       const LossHandle& loss, bool allow_nonfinite) const {
  const Index rows = d.set.rows, columns = output_columns(d.set.columns);
  const Device& device = network_->device();
  const LossKind kind = loss.spec.kind;
  check_outputs(loss, columns);
  d.device_t = device_array(from.t, names.targets);
  const bool classes = are_classes(d.device_t.shape, names.targets, kind, rows, columns, false);
  d.device_t.require(classes ? "int64" : dtype_name<T>(), names.targets);
  if (classes || target_columns(kind, columns) != columns) {
    const py::object copy = classes ? on_host<Index>(device, d.device_t) : on_host<T>(device, d.device_t);
    d.t = target_arg<T>(copy, from.sample_weight, names, loss, rows, columns, false, allow_nonfinite);
    if (classes && d.t.classes.empty()) d.set.targets.classes = static_cast<const Index*>(d.device_t.data);
    return;
  }
  d.set.targets.dense = static_cast<const T*>(d.device_t.data);
  d.t.take_weights(from.sample_weight, names.weights, rows, false);
  d.t.take_columns(loss, columns);
  if (!allow_nonfinite) check_finite_there(device, d.set.targets.dense, rows, columns, names.targets);
}

// Data that lie in the memory of the parameters, which training changes, are copied.
template <class T>
void NetworkOf<T>::keep_apart(FitData<T>& data, Index columns) const {
  const auto shared = [&](const T* values, Index size) {
    return std::ranges::any_of(network_->parameters(), [&](const auto& parameter) {
      return overlap(values, static_cast<std::size_t>(size) * sizeof(T), parameter->value.data(),
                     static_cast<std::size_t>(parameter->size()) * sizeof(T));
    });
  };
  const auto copy = [](const T*& values, Index size, Buffer<T>& to) {
    to.reserve(static_cast<std::size_t>(size));
    std::copy_n(values, size, to.data());
    values = to.data();
  };
  const Index x_size = data.set.rows * data.set.columns, t_size = data.set.rows * columns;
  if (data.set.x && shared(data.set.x, x_size)) copy(data.set.x, x_size, data.x_copy);
  if (const T*& dense = data.set.targets.dense; dense && shared(dense, t_size)) copy(dense, t_size, data.copies.dense);
}

template <class T>
void NetworkOf<T>::take_data(FitData<T>& d, const FitRequest& request, const FitRequest::Data& from,
                             const DataNames& names) const {
  const bool allow_nonfinite = request.options.allow_nonfinite;
  const bool x_there = takes_device_array(from.x), t_there = takes_device_array(from.t);
  RowsShape rows;
  if (x_there) {
    d.device_x = device_array(from.x, names.x);
    d.device_x.require(dtype_name<T>(), names.x);
    rows = rows_shape(d.device_x.shape, names.x, network_->in_features(), kTakes, flatten_);
    d.set.x = static_cast<const T*>(d.device_x.data);
  } else {
    d.x = input_rows(from.x, names.x);
    rows = d.x;
  }
  check_has_rows(rows, names.x);
  // The rows of a file come to a device by and by, too.
  if (d.by_parts && d.x.source && d.x.source->waits() && !t_there) d.stays = true;
  d.set.rows = rows.rows;
  d.set.columns = rows.columns;
  const Index columns = output_columns(rows.columns);
  if (!allow_nonfinite) {
    if (x_there)
      check_finite_there(network_->device(), d.set.x, rows.rows, rows.columns, names.x);
    else if (d.x.source)
      check_finite(*d.x.source, rows, names.x);
    else
      check_finite(d.x.data(), rows.rows, rows.columns, names.x);
  }
  if (from.function.is_none()) {
    if (t_there)
      take_device_targets(d, from, names.t, request.loss, allow_nonfinite);
    else if (d.stays)
      d.t = target_rows<T>(from.t, from.sample_weight, names.t, request.loss, rows.rows, columns,
                           {.nan = allow_nonfinite, .infinite = allow_nonfinite});
    else
      d.t =
          target_arg<T>(from.t, from.sample_weight, names.t, request.loss, rows.rows, columns, false, allow_nonfinite);
    if (!allow_nonfinite && d.t.targets.dense && !d.stays)
      check_finite(d.t.targets.dense, rows.rows, columns, names.t.targets);
    d.take_shares();
    if (d.set.share() == 0)
      throw py::value_error(std::string(names.t.targets) +
                            ": expected at least one row that counts, got only such as are ignored or have weight 0");
  }
  if (d.stays || !staging_) d.take_host();
  if (!staging_) keep_apart(d, columns);
}

void check_has_rows(const RowsShape& rows, const char* name) {
  if (rows.one_row)
    throw py::value_error(std::string(name) + ": expected shape (rows, features), got (" +
                          std::to_string(rows.columns) + ",); for rows of one feature write " + name + "[:, None]");
  if (rows.rows == 0) throw py::value_error(std::string(name) + ": expected at least one row, got none");
}

#define FASTMLP_INSTANTIATE(T)                                                                                     \
  template struct FitData<T>;                                                                                      \
  template void NetworkOf<T>::take_device_targets(FitData<T>&, const FitRequest::Data&, const TargetNames&,        \
                                                  const LossHandle&, bool) const;                                  \
  template void NetworkOf<T>::keep_apart(FitData<T>&, Index) const;                                                \
  template void NetworkOf<T>::take_data(FitData<T>&, const FitRequest&, const FitRequest::Data&, const DataNames&) \
      const;
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::bindings
