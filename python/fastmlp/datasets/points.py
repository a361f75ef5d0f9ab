"""Points in the plane: classes, and surfaces over it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmlp import _checks

Array = npt.NDArray[Any]


def xor() -> tuple[Array, Array]:
    """Return the four rows of XOR; targets of shape (4, 1)."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    return x, (x[:, :1] != x[:, 1:]).astype(np.float32)


def circles(
    rows: int = 500, *, noise: float = 0.2, factor: float = 0.3, seed: int = 123
) -> tuple[Array, Array]:
    """Return two noisy circles around the origin, shuffled; targets of shape (rows, 1).

    The points are those of ``sklearn.datasets.make_circles(rows, noise=noise, factor=factor,
    random_state=seed)``, bit for bit, without scikit-learn: class 0 lies evenly on the unit
    circle, class 1 on one of radius `factor`; then the rows are shuffled, then normal noise of
    deviation `noise` is added.
    """
    outer, inner = _halves(rows)
    angle = np.concatenate(
        [np.linspace(0, 2 * np.pi, count, endpoint=False) for count in (outer, inner)]
    )
    t = np.repeat([0.0, 1.0], [outer, inner])
    radius = np.where(t == 0, 1.0, factor)
    x = np.column_stack([np.cos(angle) * radius, np.sin(angle) * radius])
    return _shuffled(x, t, noise, seed)


def moons(rows: int = 500, *, noise: float = 0.2, seed: int = 123) -> tuple[Array, Array]:
    """Return two half circles that reach into one another; targets of shape (rows, 1).

    The points are those of ``sklearn.datasets.make_moons(rows, noise=noise, random_state=seed)``,
    bit for bit, without scikit-learn: class 0 lies evenly on the upper half of the unit circle,
    class 1 on the lower half of one around (1, 0.5).
    """
    outer, inner = _halves(rows)
    above, below = (np.linspace(0, np.pi, count) for count in (outer, inner))
    x = np.column_stack(
        [
            np.append(np.cos(above), 1 - np.cos(below)),
            np.append(np.sin(above), 1 - np.sin(below) - 0.5),
        ]
    )
    return _shuffled(x, np.repeat([0.0, 1.0], [outer, inner]), noise, seed)


def _halves(rows: int) -> tuple[int, int]:
    outer = _checks.integer("rows", rows, at_least=2) // 2
    return outer, rows - outer


def _shuffled(x: Array, t: Array, noise: float, seed: int) -> tuple[Array, Array]:
    """In the order and with the noise that scikit-learn draws."""
    random = np.random.RandomState(seed)
    order = np.arange(len(x))
    random.shuffle(order)
    x, t = x[order], t[order]
    x += random.normal(scale=_checks.real("noise", noise, at_least=0), size=x.shape)
    return x, t[:, None]


def spiral(*, classes: int = 3, rows_a_class: int = 100, seed: int = 1984) -> tuple[Array, Array]:
    """Return interleaved spirals; targets one-hot, of shape (classes * rows_a_class, classes).

    Point i of class j has the radius r = i / rows_a_class and the angle
    4 j + 4 r + 0.2 * standard normal, measured from the second axis.
    """
    random = np.random.RandomState(seed)
    j = np.repeat(np.arange(classes), rows_a_class)
    radius = np.tile(np.arange(rows_a_class) / rows_a_class, classes)
    angle = 4 * j + 4 * radius + 0.2 * random.standard_normal(len(j))
    x = np.column_stack([radius * np.sin(angle), radius * np.cos(angle)])
    return x, np.eye(classes)[j]


def _franke(x: Array, y: Array) -> Array:
    """Two hills, a dip and a low hill (Franke, 1979), on the unit square."""
    x, y = 9 * (x + 1) / 2, 9 * (y + 1) / 2
    hills = 0.75 * np.exp(-((x - 2) ** 2 + (y - 2) ** 2) / 4)
    hills += 0.75 * np.exp(-((x + 1) ** 2) / 49 - (y + 1) / 10)
    hills += 0.5 * np.exp(-((x - 7) ** 2 + (y - 3) ** 2) / 4)
    return np.asarray(hills - 0.2 * np.exp(-((x - 4) ** 2) - (y - 7) ** 2))


def _himmelblau(x: Array, y: Array) -> Array:
    """Four valleys of one depth (Himmelblau, 1972), on [-5, 5], divided by 100."""
    x, y = 5 * x, 5 * y
    return np.asarray(((x * x + y - 11) ** 2 + (x + y * y - 7) ** 2) / 100)


def _ripple(x: Array, y: Array) -> Array:
    """Waves around the middle that fall off: sin(r) / r with r from 0 to 4 pi."""
    return np.asarray(np.sinc(4 * np.hypot(x, y)))


SURFACES: dict[str, Callable[[Array, Array], Array]] = {
    "franke": _franke,
    "himmelblau": _himmelblau,
    "ripple": _ripple,
    "saddle": lambda x, y: np.asarray(x * y),
}


def surface(
    name: str = "franke", rows: int = 1000, *, noise: float = 0.0, seed: int = 0
) -> tuple[Array, Array]:
    """Return values of a function of two numbers; inputs of shape (rows, 2), targets (rows, 1).

    Parameters
    ----------
    name : str
        One of `SURFACES`, whose functions ``f(x, y)`` take arrays of numbers from -1 to 1.
    rows : int
        How many points, drawn evenly from the square.
    noise : float
        The deviation of normal noise on the values.
    seed : int
        Of the points and the noise.
    """
    function = SURFACES[_checks.choice("name", name, tuple(SURFACES))]
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, (_checks.integer("rows", rows, at_least=1), 2))
    t = function(x[:, 0], x[:, 1])
    t = t + random.normal(scale=_checks.real("noise", noise, at_least=0), size=len(t))
    return x, t[:, None]
