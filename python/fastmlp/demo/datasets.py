"""The data of the documents' networks, made or loaded as the documents did.

Every function returns ``(x, t)``: inputs of shape (rows, features) and their targets.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
    random = np.random.RandomState(seed)
    outer = rows // 2
    inner = rows - outer
    angle = np.concatenate(
        [np.linspace(0, 2 * np.pi, count, endpoint=False) for count in (outer, inner)]
    )
    t = np.repeat([0.0, 1.0], [outer, inner])
    radius = np.where(t == 0, 1.0, factor)
    x = np.column_stack([np.cos(angle) * radius, np.sin(angle) * radius])

    order = np.arange(rows)
    random.shuffle(order)
    x, t = x[order], t[order]
    x += random.normal(scale=noise, size=x.shape)
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


def temperature() -> tuple[Array, Array]:
    """Return readings of a thermometer in Fahrenheit and the same in Celsius, (11, 1) each."""
    celsius = [0.5, 14, 15, 28, 11, 8, 3, -4, 6, 13, 21]
    fahrenheit = [35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4]
    return np.array(fahrenheit)[:, None], np.array(celsius)[:, None]


def boston() -> tuple[Array, Array]:
    """Return Boston's 506 house prices, columns standardised; targets of shape (506, 1).

    Harrison and Rubinfeld, 1978; see the head of ``boston.csv``.
    """
    rows = np.loadtxt(Path(__file__).with_name("boston.csv"), delimiter=",", skiprows=3)
    x, t = rows[:, :-1], rows[:, -1:]
    return (x - x.mean(axis=0)) / x.std(axis=0), t
