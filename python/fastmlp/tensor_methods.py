"""How methods that are written in Python come into the native class of tensors."""

from typing import Any

import numpy as np

from fastmlp._core import Tensor


def install(name: str, function: Any) -> None:
    """Give all tensors a method; or a property, if that is what `function` is."""
    setattr(Tensor, name, function)


def check_writable(tensor: Any) -> None:
    """ValueError where values cannot be written into a tensor."""
    if isinstance(tensor, np.ndarray) and not tensor.flags.writeable:
        raise ValueError(
            "tensor: expected one that may be changed, got a read-only one: a recorded output"
            " (write y = y.exp() for y.exp_(), y = fm.where(...) for y[...] = ..., or change a"
            " copy, .detach().clone()), or values from a device (change the parameter itself)"
        )
