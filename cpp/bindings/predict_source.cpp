// Predictions for inputs that a source gives by and by.
#include <algorithm>

#include "bindings/network_of.h"

namespace fastmlp::bindings {

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
  const ReadsValues<T> reads(network_->parameters());
  WithoutGil released;
  DataSet<T> data{nullptr, {}, x.rows, x.columns};
  data.sources.x = x.source.get();
  Pacer pacer;
  network_->predict(data, dropout, [&](const T* part, const Targets<T>&, Index row, Index rows) {
    std::copy_n(part, rows * columns, y + row * columns);
    poll_signals(pacer, released);
  });
  return array;
}

template py::object NetworkOf<float>::predict_source(const RowsArg<float>&, py::handle, const DropoutState*,
                                                     PyTypeObject*);
template py::object NetworkOf<double>::predict_source(const RowsArg<double>&, py::handle, const DropoutState*,
                                                      PyTypeObject*);

}  // namespace fastmlp::bindings
