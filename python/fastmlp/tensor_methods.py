"""How methods that are written in Python come into the native class of tensors."""

from typing import Any

from fastmlp._core import Tensor


def install(name: str, function: Any) -> None:
    """Give all tensors a method; or a property, if that is what `function` is."""
    setattr(Tensor, name, function)
