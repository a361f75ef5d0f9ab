"""Tensors: what a model or a loss returns, with the way back to the parameters.

Recorded are calls of models and losses, and arithmetic (fastmlp.arithmetic). The class itself is
native (cpp/bindings/tensor.h), so that a training step makes its tensors in no time.
"""

from contextlib import ContextDecorator
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions, _core
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.arithmetic.functions import cast
from fastmlp.arithmetic.tape import node_of, recording

__all__ = ["Tensor", "as_tensor", "no_grad", "sizes", "tensor"]


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Copy data into a tensor.

    Parameters
    ----------
    data : array_like
        Arrays and tensors keep their dtype; Python floats become float32.
    dtype : dtype, optional
        Any of NumPy's, also as torch's.
    device : device, optional
        Any that there is. The tensor lies in the host's memory, from where models on a CUDA device
        read it, too.
    requires_grad : bool
        Whether a backward pass shall leave the gradient with respect to this input in `.grad`.

    Raises
    ------
    TypeError
        If the data are no real numbers, or if `requires_grad` is true and the dtype is neither
        float32 nor float64.
    """
    flag = _checks.flag("requires_grad", requires_grad)
    result = _noted(np.array(_shared(data, dtype, device)).view(Tensor), data)
    result.requires_grad = flag
    return result


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """The same as `tensor`, but on the memory of the data, where their dtype allows it.

    A tensor or parameter that is recorded stays so.
    """
    shared = _shared(data, dtype, device)
    if recording() and node_of(data) is not None:
        return (
            data
            if isinstance(data, Tensor) and data.dtype == shared.dtype
            else cast(data, shared.dtype)
        )
    return _noted(shared.view(Tensor), data)


def _noted(tensor: Tensor, data: Any) -> Tensor:
    """A model will warn of a copy whose graph stayed behind."""
    if tensor.dtype.kind == "f" and recording():
        parts = data if isinstance(data, list | tuple) else (data,)
        lost = any(node_of(part) is not None or _core.is_lost(part) for part in parts)
        _core.set_lost(tensor, lost)
    return tensor


def _shared(data: Any, dtype: Any, device: Any) -> Array:
    array = _conversions.as_array(data, "data")
    if device is not None:
        _checks.device("device", str(device))
    if dtype is not None:
        return array.astype(_checks.any_dtype("dtype", dtype), copy=False)
    of_python = array.dtype == np.float64 and not hasattr(data, "dtype")
    return array.astype(np.float32) if of_python else array


def sizes(size: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape, from the arguments of `zeros(2, 3)` or `zeros((2, 3))`."""
    given = size[0] if len(size) == 1 and isinstance(size[0], tuple | list) else size
    return tuple(_checks.integer("size", one, at_least=0) for one in given)


def _construct(*data: Any, **options: Any) -> Tensor:
    """What `Tensor(data)` makes: a float32 copy, or, as in torch, one of sizes `Tensor(2, 3)`."""
    if options:
        raise TypeError("Tensor: expected data or sizes; see fastmlp.tensor(data, dtype=...)")
    if len(data) == 1 and not isinstance(data[0], int):
        return tensor(data[0], dtype=np.float32)
    return tensor(np.zeros(sizes(data) if data else 0), dtype=np.float32)


class no_grad(ContextDecorator):  # noqa: N801 - torch's name
    """Record nothing for `backward` in this thread: ``with fm.no_grad():`` or ``@fm.no_grad()``."""

    def __enter__(self) -> None:
        self._previous = _core.set_recording(False)

    def __exit__(self, *error: object) -> None:
        _core.set_recording(self._previous)

    def _recreate_cm(self) -> "no_grad":
        return no_grad()  # each call of a decorated function keeps its own previous state
