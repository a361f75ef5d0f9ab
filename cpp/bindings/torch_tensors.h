// What native code has to know of a torch tensor, without torch's headers or libraries. Newer versions of torch tell it
// in one C call, by DLPack's exchange API (https://dmlc.github.io/dlpack/latest/); of older ones, Python's methods do.
#pragma once

#include "bindings/dlpack.h"
#include "core/types.h"

namespace fastmlp::bindings {

struct TensorView {
  void* data = nullptr;  // null: native code cannot work on it
  Index size = 0;        // values, which lie one after the other
  Index first = 0;       // of the first dimension
};

// Reads tensors of one dtype. torch: the module; dtype: torch's.
class TensorReader {
 public:
  TensorReader(const py::object& torch, py::object dtype, bool is_double);

  // Of a dense, contiguous tensor of the dtype in the host's memory; nothing of any other, or of None.
  TensorView read(PyObject* tensor) const;

 private:
  TensorView read_by_methods(PyObject* tensor) const;

  const py::object dtype_;
  const int bits_;
  const ExchangeApi* api_ = nullptr;
};

}  // namespace fastmlp::bindings
