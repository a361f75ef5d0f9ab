// Predictions for inputs that a source gives by and by.
#include <chrono>

#include "bindings/network_of.h"
#include "core/pacer.h"

namespace fastmlp::bindings {

namespace {

// The same rows; Ctrl-C ends it.
template <class T>
class Polled final : public RowSource<T> {
 public:
  Polled(const RowSource<T>& source, WithoutGil& released) : source_(source), released_(released) {}

  void fetch(const RowNumbers& rows, T* to) const override {
    source_.fetch(rows, to);
    if (!pacer_.due(1)) return;
    const WithoutGil::Pause acquire(released_);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }

 private:
  const RowSource<T>& source_;
  WithoutGil& released_;
  mutable Pacer pacer_;
};

}  // namespace

// On a device all rows are there at once.
template <class T>
py::object NetworkOf<T>::predict_source(const RowsArg<T>& x, py::handle out, const DropoutState* dropout,
                                        PyTypeObject* result) {
  check_rows(x.rows, dropout != nullptr, "x");
  const Index columns = output_columns(x.columns);
  const BatchShape shape(x.one_row, x.rows, columns);
  const py::object array = out ? py::reinterpret_borrow<py::object>(out) : new_array<T>(shape, result);
  T* const y = out ? checked_output(out, shape) : data_of<T>(array);
  if (out) {
    check_apart(y, x.rows * columns, nullptr, 0);
    const bool in_array = py::isinstance<py::array>(x.owner);  // a sparse table has no memory that it could share
    if (in_array && py::module_::import("numpy").attr("may_share_memory")(array, x.owner).template cast<bool>())
      throw py::value_error("out: expected memory of its own, got an array that overlaps x");
  }
  join_streams(network_->device());
  std::optional<typename StagingPool<T>::Lease> staging;
  if (staging_) staging.emplace(staging_->acquire(network_->device()));
  const ReadsValues<T> reads(network_->parameters());
  WithoutGil released;
  const Polled<T> source(*x.source, released);
  if (!staging) {
    network_->predict(source, x.rows, x.columns, dropout, y);
    return array;
  }
  Staging<T>& there = **staging;
  there.y.reserve(static_cast<std::size_t>(x.rows * columns));
  network_->predict(upload(there.x, source, x.rows, x.columns), x.rows, x.columns, dropout, there.y.data());
  download(y, there.y, x.rows * columns);
  return array;
}

template py::object NetworkOf<float>::predict_source(const RowsArg<float>&, py::handle, const DropoutState*,
                                                     PyTypeObject*);
template py::object NetworkOf<double>::predict_source(const RowsArg<double>&, py::handle, const DropoutState*,
                                                      PyTypeObject*);

}  // namespace fastmlp::bindings
