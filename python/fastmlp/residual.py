"""Residual: what layers make of x, added to x."""

from typing import Any

from fastmlp.containers import Sequential
from fastmlp.layers import Linear
from fastmlp.modules import Module
from fastmlp.symbolic import UncompilableError
from fastmlp.tracing import Trace


class Residual(Module):
    """`x + f(x)`, with f the layers one after another (He and others, arXiv 1512.03385).

    Where f gives another number of features than it takes, x goes through a projection, a `Linear`
    without a bias, before the sum.

    Parameters
    ----------
    *layers : Module, or one list of them
        As for `Sequential`.

    Attributes
    ----------
    layers : Sequential
        f.
    projection : Linear or None
        Of the dtype, device and precision of the layers' parameters.

    Raises
    ------
    TypeError
        If an argument is no module, or layers differ in their dtype.
    ValueError
        If there are no layers, or they do not fit together.
    """

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.layers = Sequential(*layers)
        if len(self.layers) == 0:
            raise ValueError("layers: expected at least one, got none")
        self.projection: Linear | None = self._new_projection()

    def _new_projection(self) -> Linear | None:
        try:
            trace = Trace(self.layers).run(self.layers.forward)
        except UncompilableError:  # which says nothing of widths
            return None
        wide, out = trace.in_width, trace.out_width
        if wide is None or out is None or wide == out:
            return None
        like = next(self.layers.parameters())
        return Linear(
            wide, out, bias=False, dtype=like.dtype, device=like.device, precision=like._precision
        )

    def forward(self, x: Any) -> Any:
        """The sum of x, or its projection, and what the layers make of it."""
        return (x if self.projection is None else self.projection(x)) + self.layers(x)
