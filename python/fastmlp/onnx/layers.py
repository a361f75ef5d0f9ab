"""The modules of imported models that no other model needs."""

from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp.containers import ModuleList
from fastmlp.modules import Module
from fastmlp.parameter import Buffer


class Scale(Module):
    """`x * scale + shift`, with numbers, or arrays of a number a feature, that are not trained.

    Parameters
    ----------
    scale, shift : float or array_like, shape (features,)
        Arrays become buffers.
    """

    scale: Any
    shift: Any

    def __init__(self, scale: Any = 1.0, shift: Any = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = _number("scale", scale), _number("shift", shift)

    def forward(self, x: Any) -> Any:
        """The product and the sum; not done with 1 and 0."""
        if isinstance(self.scale, Buffer) or self.scale != 1:
            x = x * self.scale
        return x + self.shift if isinstance(self.shift, Buffer) or self.shift != 0 else x

    def extra_repr(self) -> str:
        """The numbers."""
        shown = {name: getattr(self, name) for name in ("scale", "shift")}
        return ", ".join(
            f"{name}={f'{value.numel()} numbers' if isinstance(value, Buffer) else value}"
            for name, value in shown.items()
        )


def _number(name: str, value: Any) -> Any:
    return Buffer(value) if isinstance(value, np.ndarray) else _checks.real(name, value)


class Graph(Module):
    """Layers and sums that do not follow one another in a line.

    Parameters
    ----------
    layers : list of Module
        A layer may serve several steps.
    steps : list of (int or None, tuple of int)
        Of each value after the input, which is value 0: the layer that makes it, by its number in
        `layers`, or None for a sum; and the numbers of the values that it takes.
    squeeze : bool
        Whether the output's dimension of one feature is left out.
    """

    def __init__(
        self, layers: list[Module], steps: list[tuple[int | None, tuple[int, ...]]], squeeze: bool
    ) -> None:
        super().__init__()
        self.layers = ModuleList(layers)
        self.steps = tuple(steps)
        self.squeeze = squeeze

    def forward(self, x: Any) -> Any:
        """Take all steps; the last value is the output."""
        layers, values = list(self.layers), [x]
        for layer, inputs in self.steps:
            given = [values[number] for number in inputs]
            values.append(given[0] + given[1] if layer is None else layers[layer](given[0]))
        return values[-1].squeeze(-1) if self.squeeze else values[-1]
