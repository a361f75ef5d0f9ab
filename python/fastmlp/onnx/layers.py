"""The modules of imported models that no other model needs."""

from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp.containers import ModuleList
from fastmlp.modules import Module
from fastmlp.parameter import Buffer
from fastmlp.symbolic import Symbolic


class Scale(Module):
    """`x * scale + shift`, with numbers, or a number a feature, that are not trained.

    Parameters
    ----------
    scale, shift : float or ndarray, shape (features,)
        Arrays become buffers.
    """

    scale: Any
    shift: Any

    def __init__(self, scale: Any = 1.0, shift: Any = 0.0) -> None:
        super().__init__()
        arrays = [n for n in (scale, shift) if isinstance(n, np.ndarray)]
        for name, value in (("scale", scale), ("shift", shift)):
            if arrays and not isinstance(value, np.ndarray):
                value = np.full_like(arrays[0], value)
            setattr(self, name, Buffer(value) if arrays else _checks.real(name, value))

    def forward(self, x: Any) -> Any:
        """Add the product and the sum to the program being traced."""
        if not isinstance(x, Symbolic):
            return self(x)
        if not isinstance(self.scale, Buffer):
            return x.trace.add_scaled(x, self.scale, self.shift)
        (features,) = self.scale.shape
        parameters = (self.scale, self.shift)
        return x.trace.add_columns("scaled", x, self, features, parameters, 1.0, 0.0, features)

    def extra_repr(self) -> str:
        """The numbers, if they are one for all features."""
        shown = {name: np.unique(getattr(self, name)) for name in ("scale", "shift")}
        return ", ".join(
            f"{name}={n[0]}" if len(n) == 1 else f"{name} of {len(n)} numbers"
            for name, n in shown.items()
        )


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
