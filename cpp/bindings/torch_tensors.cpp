#include "bindings/torch_tensors.h"

namespace fastmlp::bindings {

namespace {

// DLPack's structures, version 1.
struct DlTensor {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t dimensions;
  std::uint8_t code, bits;
  std::uint16_t lanes;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: those of a contiguous tensor
  std::uint64_t byte_offset;
};
constexpr std::int32_t kHost = 1;
constexpr std::uint8_t kFloat = 2;
constexpr std::uint32_t kMajorVersion = 1;

bool is_contiguous(const DlTensor& tensor) {
  std::int64_t expected = 1;
  for (int d = tensor.dimensions; tensor.strides && d-- > 0;) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != expected) return false;
    expected *= tensor.shape[d];
  }
  return true;
}

py::object checked(PyObject* result) {
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}
py::object attribute(PyObject* tensor, const char* name) { return checked(PyObject_GetAttrString(tensor, name)); }
Index number(PyObject* tensor, const char* method) {
  return checked(PyObject_CallMethod(tensor, method, nullptr)).cast<Index>();
}

}  // namespace

struct ExchangeApi {
  std::uint32_t major, minor;
  void* previous;
  void* others[3];                           // to allocate tensors, and to pass them on
  int (*view)(void* tensor, DlTensor* out);  // of memory that stays the tensor's; may be null
  void* stream;
};

TensorReader::TensorReader(const py::object& torch, py::object dtype, bool is_double)
    : dtype_(std::move(dtype)), bits_(is_double ? 64 : 32) {
  const py::object capsule = py::getattr(torch.attr("Tensor"), "__dlpack_c_exchange_api__", py::none());
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return;
  const auto* api = static_cast<const ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (api->major == kMajorVersion && api->view) api_ = api;
}

TensorView TensorReader::read(PyObject* tensor) const {
  if (tensor == Py_None) return {};
  if (!api_) return read_by_methods(tensor);
  DlTensor found;
  if (api_->view(tensor, &found) != 0) {  // such as one that only stands for another
    PyErr_Clear();
    return {};
  }
  const bool fits =
      found.device_type == kHost && found.code == kFloat && found.bits == bits_ && found.lanes == 1 && found.data;
  if (!fits || !is_contiguous(found)) return {};
  TensorView view{static_cast<char*>(found.data) + found.byte_offset, 1, found.dimensions > 0 ? found.shape[0] : 1};
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
