#include "bindings/torch_tensors.h"

namespace fastmlp::bindings {

namespace {

py::object checked(PyObject* result) {
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}
py::object attribute(PyObject* tensor, const char* name) { return checked(PyObject_GetAttrString(tensor, name)); }
Index number(PyObject* tensor, const char* method) {
  return checked(PyObject_CallMethod(tensor, method, nullptr)).cast<Index>();
}

}  // namespace

TensorReader::TensorReader(const py::object& torch, py::object dtype, bool is_double)
    : dtype_(std::move(dtype)), bits_(is_double ? 64 : 32) {
  const ExchangeApi* const api = exchange_api(torch.attr("Tensor"));
  if (api && api->view) api_ = api;
}

TensorView TensorReader::read(PyObject* tensor) const {
  if (tensor == Py_None) return {};
  if (!api_) return read_by_methods(tensor);
  DlTensor found;
  if (api_->view(tensor, &found) != 0) {  // such as one that only stands for another
    PyErr_Clear();
    return {};
  }
  const bool fits = found.device.type == kDlHost && found.type.code == kDlFloat && found.type.bits == bits_ &&
                    found.type.lanes == 1 && found.data;
  if (!fits || !is_contiguous(found)) return {};
  TensorView view{found.begin(), 1, found.dimensions > 0 ? found.shape[0] : 1};
  for (int d = 0; d < found.dimensions; ++d) view.size *= found.shape[d];
  return view;
}

TensorView TensorReader::read_by_methods(PyObject* tensor) const {
  if (!attribute(tensor, "dtype").is(dtype_) || !attribute(tensor, "is_cpu").cast<bool>() ||
      !checked(PyObject_CallMethod(tensor, "is_contiguous", nullptr)).cast<bool>())
    return {};
  const Index dimensions = number(tensor, "dim");
  return {reinterpret_cast<void*>(number(tensor, "data_ptr")), number(tensor, "numel"),
          dimensions > 0 ? static_cast<Index>(PyObject_Size(tensor)) : 1};
}

}  // namespace fastmlp::bindings
