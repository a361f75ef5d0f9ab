"""What is known of the shapes of values while `forward` is traced.

Layers say how many features values have; how many rows and dimensions the input has is known only
where the model is called. A `forward` that asks for that gets a program for such inputs alone.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp.symbolic import Rows, Symbolic, Tree, refuse


class Shapes:
    """The half of a trace that answers for shapes, dtype and device.

    Parameters
    ----------
    root : Module
        The model.
    example : array_like or None
        What the model was called with.
    """

    def __init__(self, root: Tree, example: Any) -> None:
        # Of inputs, where forward has asked; None in the first place stands for any rows.
        self.for_shape: tuple[int | None, ...] | None = None
        self._root: Any = root
        self._example = example
        self._two_dimensional = False  # what is done is right for two dimensions alone
        # Of the input, and what says so.
        self._known_width: tuple[int, Callable[[], str]] | None = None

    def given_rows(self) -> int:
        """How many rows the input has: the program is right for so many alone."""
        rows = self.given_shape("the number of rows")[0]
        assert self.for_shape is not None
        self.for_shape = (rows, *self.for_shape[1:])
        return rows

    def given_shape(self, what: str) -> tuple[int, ...]:
        """The shape of the input: the program is right for the same, but for the first size."""
        if self._example is None:
            refuse(
                f"a question for {what}, which is not known before the model is called",
                "a Trainer's batches differ; x.size(0), as it is, stands for any number of rows",
            )
        shape = shape_of(self._example)
        asked = None if self.for_shape is None else self.for_shape[0]
        self.for_shape = (asked if len(shape) > 1 else shape[0], *shape[1:])
        return shape

    def need_two_dimensions(self, value: Symbolic) -> None:
        """What is done now would be something else for values of more dimensions."""
        self._two_dimensional |= not value.flat

    def ndim(self, value: Symbolic) -> int:
        """How many dimensions a value has."""
        if value.flat:
            return 2
        if self._example is not None and len(shape_of(self._example)) != 2:
            return len(self.given_shape("the number of dimensions"))
        self.need_two_dimensions(value)
        return 2

    def width(self, value: Symbolic) -> int:
        """How many features a value has."""
        if value.maker is not None:
            return value.maker.width
        if self._known_width is not None:
            return self._known_width[0]
        shape = self.given_shape("the number of features")
        return math.prod(shape[1:]) if value.flat and len(shape) > 1 else shape[-1]

    def size(self, value: Symbolic, dim: Any) -> Any:
        """The size of a value along a dimension; of the first, whatever that will be."""
        number = _checks.integer("dim", dim, at_least=-(2**31))
        if number == 0:
            return Rows(self)
        if number == -1 and not value.squeezed:
            return self.width(value)
        count = value.ndim
        if not -count <= number < count:
            raise IndexError(f"dim: expected one of {count} dimensions, got {number}")
        number %= count
        if number == 0:
            return Rows(self)
        return self.width(value) if number == count - 1 else self.given_shape("a size")[number]

    def inner_sizes(self, value: Symbolic) -> tuple[int, ...]:
        """All but the first."""
        return tuple(value.shape)[1:]

    def is_rows(self, size: Any) -> bool:
        """Whether that is the number of rows, which forward has asked for."""
        return (
            size is not None
            and self.for_shape is not None
            and len(self.for_shape) > 1
            and size == self.for_shape[0]
        )

    def show_shape(self, value: Symbolic) -> str:
        """For those who look; nothing depends on it."""
        shape = () if self._example is None else shape_of(self._example)
        inner = list(map(str, () if value.flat else shape[1:-1]))
        if value.maker is not None or self._known_width is not None:
            inner.append(str(self.width(value)))
        elif shape:
            inner.append(str(math.prod(shape[1:]) if value.flat else shape[-1]))
        else:
            inner.append("features")
        return f"({', '.join(['batch', *inner[: len(inner) - value.squeezed]])})"

    def _check_input(self, width: int, why: Callable[[], str]) -> None:
        """All that says how wide the input is must agree."""
        known = self._known_width = self._known_width or (width, why)
        if known[0] != width:
            raise ValueError(
                f"forward: expected one width of the model's input, got {known[0]} features, which"
                f" {known[1]()}, and {width}, which {why()}"
            )

    # Dtype and device: those of the parameters.

    @property
    def model_device(self) -> str:
        return str(self._root.device)

    @property
    def model_dtype(self) -> Any:
        first = next(self._root.parameters(), None)
        return np.dtype("float32") if first is None else first.dtype

    def keep_dtype(self, value: Symbolic, dtype: str) -> None:
        """The input is converted to the parameters' dtype anyway; nothing else is converted."""
        if value.number and dtype != self.model_dtype:
            refuse(
                f"a value converted to {dtype} in a model of {self.model_dtype}",
                f'model.to(dtype="{dtype}") converts the model',
            )

    def keep_device(self, value: Symbolic, device: Any) -> None:
        """The same of the place where the model computes."""
        named = str(device).removesuffix(":0")
        if value.number and named not in (self.model_device, "None"):
            refuse(
                f"a value moved to {device} in a model on {self.model_device}",
                f"model.to({str(device)!r}) moves the model",
            )


def suits(x: Any, wanted: tuple[int | None, ...]) -> bool:
    """Whether an input is of that shape."""
    shape = shape_of(x)
    known = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(size in (None, own) for own, size in known)


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of anything that NumPy can view."""
    shape = x.shape if hasattr(x, "shape") else np.shape(x)
    return tuple(int(size) for size in shape)
