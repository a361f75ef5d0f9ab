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
    features : int, optional
        Of arrays, which become buffers; floats become arrays of so many.
    dtype : {"float32", "float64"}
        Of arrays that are made of floats.
    """

    scale: Any
    shift: Any

    def __init__(
        self,
        scale: Any = 1.0,
        shift: Any = 0.0,
        features: int | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        for value in (scale, shift):
            if isinstance(value, np.ndarray):
                features, dtype = len(value), value.dtype
        self.features = features
        for name, value in (("scale", scale), ("shift", shift)):
            if features is not None:
                arrays = value if isinstance(value, np.ndarray) else np.full(features, value, dtype)
                setattr(self, name, Buffer(arrays))
            else:
                setattr(self, name, _checks.real(name, value))

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
        self.steps = tuple((layer, tuple(inputs)) for layer, inputs in steps)
        for number, (layer, inputs) in enumerate(self.steps):
            if len(inputs) != (2 if layer is None else 1):
                raise ValueError("steps: expected one value for a layer, and two for a sum")
            for known, count in ((layer, len(layers)), *((value, number + 1) for value in inputs)):
                if known is not None:
                    _checks.integer("steps", known, at_least=0, below=count)
        self.squeeze = _checks.flag("squeeze", squeeze)

    def forward(self, x: Any) -> Any:
        """Take all steps; the last value is the output."""
        layers, values = list(self.layers), [x]
        for layer, inputs in self.steps:
            given = [values[number] for number in inputs]
            values.append(given[0] + given[1] if layer is None else layers[layer](given[0]))
        return values[-1].squeeze(-1) if self.squeeze else values[-1]
