"""torch's functions on tensors and parameters, where they are not recorded."""

from typing import Any

import numpy as np

from fastmlp._core import Tensor


def fallback(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """What torch computes with the values: torch's tensors, without a graph."""
    import torch

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor) or hasattr(value, "_native"):
            return torch.from_numpy(np.array(value))
        if isinstance(value, list | tuple):
            return type(value)(map(plain, value))
        return value

    return func(*map(plain, args), **{name: plain(value) for name, value in kwargs.items()})
