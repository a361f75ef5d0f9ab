// DLPack (https://dmlc.github.io/dlpack/latest/), as far as it is used here: how it describes an array, and its exchange
// API, a table of C functions that a type of arrays has, which tell of one without running Python.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace fastmlp::bindings {

namespace py = pybind11;

struct DlDevice {
  std::int32_t type, id;
};
inline constexpr std::int32_t kDlHost = 1, kDlCuda = 2, kDlCudaManaged = 13;

struct DlType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
inline constexpr std::uint8_t kDlFloat = 2;

struct DlTensor {
  void* data;
  DlDevice device;
  std::int32_t dimensions;
  DlType type;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: C-contiguous
  std::uint64_t byte_offset;

  void* begin() const { return static_cast<char*>(data) + byte_offset; }
};

// The table of DLPack 1.2, whose functions return 0, or set a Python error.
struct ExchangeApi {
  std::uint32_t major, minor;
  const ExchangeApi* previous;  // of an older major version
  void* others[3];              // to allocate tensors, and to pass them on
  // What an object of the type is, as long as nobody changes it; may be null.
  int (*view)(void* object, DlTensor* out);
  int (*current_work_stream)(std::int32_t device_type, std::int32_t device_id, void** stream);
};

// That of a type, or null.
const ExchangeApi* exchange_api(py::handle type);

// Whether the elements lie one after the other, in C's order; `Size` is any integer, strides are in elements.
template <class Size>
bool are_contiguous(std::size_t dimensions, const Size* shape, const Size* strides) {
  bool contiguous = true;
  Size expected = 1;
  for (std::size_t d = dimensions; d-- > 0;) {
    contiguous &= shape[d] == 1 || strides[d] == expected;
    expected *= shape[d];
  }
  return contiguous || expected == 0;
}
inline bool is_contiguous(const DlTensor& tensor) {
  return !tensor.strides || are_contiguous(static_cast<std::size_t>(tensor.dimensions), tensor.shape, tensor.strides);
}

}  // namespace fastmlp::bindings
