"""Tensors: what a model or a loss returns, with the way back to the parameters.

Recorded are calls of models and losses, and arithmetic (fastmlp.arithmetic). The class itself is
native (cpp/bindings/tensor.h), so that a training step makes its tensors in no time.
"""

from contextlib import ContextDecorator
from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp._core import Tensor

__all__ = ["Tensor", "no_grad", "tensor"]


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Copy data into a tensor.

    Parameters
    ----------
    data : array_like
        Arrays keep their dtype; Python floats become float32.
    dtype : dtype, optional
        Any of NumPy's.
    requires_grad : bool
        Whether a backward pass shall leave the gradient with respect to this input in `.grad`.

    Raises
    ------
    TypeError
        If `requires_grad` is true and the dtype is neither float32 nor float64.
    """
    array = np.array(data, dtype=dtype)
    if dtype is None and array.dtype == np.float64 and not hasattr(data, "dtype"):
        array = array.astype(np.float32)
    result = array.view(Tensor)
    if _checks.flag("requires_grad", requires_grad):
        _checks.dtype("data", array.dtype)
        _core.track(result)
    return result


def _construct(*data: Any, **options: Any) -> Tensor:
    """What `Tensor(data)` makes: a float32 copy, as in torch."""
    if len(data) != 1 or options or isinstance(data[0], int):
        raise TypeError(
            "Tensor: expected one array or nested list; see fastmlp.tensor(data, dtype=...)"
        )
    return tensor(data[0], dtype=np.float32)


class no_grad(ContextDecorator):  # noqa: N801 - torch's name
    """Record nothing for `backward` in this thread: ``with fm.no_grad():`` or ``@fm.no_grad()``."""

    def __enter__(self) -> None:
        self._previous = _core.recording()
        _core.set_recording(False)

    def __exit__(self, *error: object) -> None:
        _core.set_recording(self._previous)

    def _recreate_cm(self) -> "no_grad":
        return no_grad()  # each call of a decorated function keeps its own previous state
