"""How tensors are pickled: as bytes, so that `torch.load` reads what `torch.save` has written.

torch loads by default only what it knows to be safe, or has been told of. It is told of the one
function that makes a tensor of bytes.
"""

import sys
from typing import Any

import numpy as np

from fastmlp._core import Tensor
from fastmlp.tensor_methods import install

_told: list[Any] = []  # torch, if it was


def restored(data: bytes, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of such values, in C order."""
    return np.frombuffer(data, dtype).reshape(shape).copy().view(Tensor)


def tell_torch() -> None:
    """Let `torch.load` read our tensors, if torch is there."""
    torch = sys.modules.get("torch")
    if torch is None or torch in _told:
        return
    tell = getattr(getattr(torch, "serialization", None), "add_safe_globals", None)
    if tell is not None:  # torch 2.4 or later, and imported as a whole
        tell([restored])
        _told.append(torch)


def _reduce(self: Tensor, protocol: Any = None) -> Any:
    if self.dtype.hasobject:
        return np.asarray(self).__reduce_ex__(protocol)
    return restored, (self.tobytes(), self.dtype.str, self.shape)


install("__reduce_ex__", _reduce)
tell_torch()
