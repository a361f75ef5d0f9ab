"""Arrays on the CUDA device by each protocol, as other libraries have them.

On the emulated device, whose memory is the host's, over NumPy's arrays; on a GPU over torch's.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from devices import EMULATED


class CudaArray:
    """Speaks the CUDA array interface, and the array API as far as it makes new arrays."""

    def __init__(self, values: Any, **interface: Any) -> None:
        self.memory = _on_device(np.array(values, order="C"))
        self.dtype = np.asarray(values).dtype
        self.shape = np.shape(values)
        self.device = "cuda"
        self.interface = interface  # what to tell otherwise

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        pointer = self.memory.ctypes.data if EMULATED else self.memory.data_ptr()
        told = {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (pointer, False),
            "strides": None,
        }
        return told | self.interface

    def __array_namespace__(self) -> Any:
        def empty(shape: Any, dtype: Any, device: str) -> "CudaArray":
            assert device == "cuda"
            return type(self)(np.full(shape, np.nan, dtype))

        return SimpleNamespace(empty=empty)

    def numpy(self) -> np.ndarray:
        """A copy in the host's memory."""
        return np.array(self.memory if EMULATED else self.memory.cpu().numpy())


class DlpackArray:
    """Speaks DLPack alone."""

    def __init__(self, values: Any, device: tuple[int, int] = (2, 0)) -> None:
        self.memory = _on_device(np.array(values, order="C"))
        self.device = device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, stream: int | None = None) -> Any:
        assert stream == 1  # CUDA's legacy default stream
        return self.memory.__dlpack__() if EMULATED else self.memory.__dlpack__(stream=stream)

    numpy = CudaArray.numpy


def _on_device(values: np.ndarray) -> Any:
    if EMULATED:
        return values
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("the arrays of these tests are torch's, which has no CUDA here")
    return torch.from_numpy(values).cuda()
