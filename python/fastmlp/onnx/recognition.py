"""Which activation a function of a number is, found by its values.

Exporters write one activation in many ways: GELU by `Erf`, by `Tanh` and `Pow`, in one operator, in
nine. What they all have in common are the values. They are compared with those of the activations
here at points of all magnitudes, and near the numbers that the file mentions, where there may be
kinks.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np

from fastmlp import activations as act
from fastmlp import ops
from fastmlp._types import Array
from fastmlp.modules import Module
from fastmlp.onnx.layers import Scale

_FAR = 1e30
_SIZES = [
    *(0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 2.9, 3.1, 3.5, 4, 5),
    *(5.9, 6.1, 7, 8, 10, 12, 16, 19, 21, 25, 30, 40, 60, 80, 1e3, 1e5, 1e8, 1e15, _FAR),
]
POINTS = np.array([-size for size in reversed(_SIZES)] + [0, *_SIZES])
_AT = {float(point): number for number, point in enumerate(POINTS)}
_TOLERANCE = 1e-6  # constants of a file may be rounded to float32

_KNOWN: tuple[Callable[[], Module], ...] = (
    *(act.Identity, act.ReLU, act.Sigmoid, act.Tanh, act.GELU, lambda: act.GELU("tanh")),
    *(act.SiLU, act.Mish, act.Hardswish, act.Hardsigmoid, act.LogSigmoid, act.Softsign),
    *(act.SELU, act.ReLU6, act.ELU, act.Softplus, act.Hardtanh),
)


def values_of(module: Module, x: Array) -> Array:
    """What an activation makes of numbers."""
    if isinstance(module, Scale):
        return np.asarray(x * module.scale + module.shift)
    assert isinstance(module, act.Activation)
    return np.asarray(ops.affine_forward(x[:, None], np.ones((1, 1)), None, module))[:, 0]


@lru_cache(maxsize=1)
def _table() -> list[Array]:
    """Of those that are known, the values at the points."""
    return [values_of(make(), POINTS) for make in _KNOWN]


def recognise(
    function: Callable[[Array], Array], scalars: Iterable[float], wide: bool
) -> Module | None:
    """The activation, or product and sum with numbers, that a function is; None if it is none.

    Parameters
    ----------
    function : callable
        Of an array of numbers.
    scalars : iterable of float
        The numbers that occur in it.
    wide : bool
        Whether it is of float64, where smaller differences count.
    """
    y = np.asarray(function(POINTS), np.float64)
    if y.shape != POINTS.shape or np.isfinite(y).sum() * 2 < y.size:
        return None
    numbers = sorted({abs(float(s)) for s in scalars if 0 < abs(s) < _FAR})[:40]
    found = [make() for make, row in zip(_KNOWN, _table(), strict=True) if _apart(y, row) <= 0.01]
    found = [*found, *_fitted(y, numbers)]
    near = np.array(
        [sign * n * share for n in numbers for sign in (-1, 1) for share in (0.99, 1.01)]
    )
    points = np.concatenate([POINTS, near])
    y = np.asarray(function(points), np.float64)
    best, least = None, _TOLERANCE
    for module in found:
        distance = _apart(y, values_of(module, points))
        if not wide:
            distance = max(distance, 1e-8)  # of which the first one is taken
        if distance < least:
            best, least = module, distance
    return best


def _apart(y: Array, other: Array) -> float:
    """The largest distance, to the values' size, where both are numbers."""
    with np.errstate(all="ignore"):
        distance = np.abs(y - other) / np.maximum(1, np.abs(other))
    return float(np.max(distance, initial=0, where=np.isfinite(distance)))


def _fitted(y: Array, numbers: list[float]) -> Iterator[Module]:
    """Those of the families of activations that fit at a few points."""

    def is_at(point: float, value: float) -> bool:
        return math.isfinite(value) and abs(at(point) - value) <= 1e-4 * max(1, abs(value))

    def at(point: float) -> float:
        return float(y[_AT[point]])

    low, high, zero, one, minus = at(-_FAR), at(_FAR), at(0), at(1), at(-1)
    rises = is_at(_FAR, _FAR) and is_at(80, 80)  # as the input, far out
    if rises and zero == 0 and minus <= 0 and is_at(-2, 2 * minus):
        yield act.LeakyReLU(-minus)
    if rises and zero == 0 and math.isfinite(low) and low != 0:
        if is_at(-1, -low * math.expm1(-1)):
            yield act.ELU(-low)
        if low < 0 and is_at(-1, -low * math.expm1(1 / low)):
            yield act.CELU(-low)
    if rises and 1e-3 < zero < 1e3:
        beta = math.log(2) / zero
        if is_at(-1, math.log1p(math.exp(-beta)) / beta):
            yield from (act.Softplus(beta, threshold) for threshold in (20.0, 1000.0, *numbers))
    limit = float(np.finfo(np.float32).max)
    bounds = low if low > -_FAR / 2 else -limit, high if high < _FAR / 2 else limit
    if bounds[0] < bounds[1] and _apart(y, np.clip(POINTS, *bounds)) < 1e-4:
        yield act.Hardtanh(*bounds)
    if is_at(2, 2 * one - zero) and is_at(-1, 2 * zero - one) and one != zero:
        yield Scale(one - zero, zero)
