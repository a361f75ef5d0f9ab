"""A plane through the inputs: two features vary over a grid, the others stay where they are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions
from fastmlp.plot.style import Array

_CHUNK = 1 << 17  # grid points predicted at once: a few MiB, whatever the picture's size
_POINTS = 300  # along each side


class Grid:
    """Evenly spaced points around the rows of x.

    Parameters
    ----------
    x : array_like or DataFrame, shape (rows, columns)
    features : pair of int or str
        Which two columns vary, by index or by name.
    fixed : mapping of int or str to values, optional
        Where the other columns stay; by default at their medians or, of text, what occurs most.
    step : float, optional
        Distance of the points along both axes; by default there are 300 along each.

    Attributes
    ----------
    points : ndarray, shape (rows, 2)
        The two features of x.
    x1, x2 : ndarray
        The grid's coordinates.
    names : list of str or None
        Those of the two features, in a frame.
    """

    def __init__(self, x: Any, features: Any, fixed: Any, step: Any) -> None:
        self._frame = x if hasattr(x, "iloc") else None
        table = x if self._frame is not None else _numbers(x)
        if table.ndim != 2 or table.shape[1] < 2:
            raise ValueError(f"x: expected shape (rows, at least 2), got {table.shape}")
        columns = list(getattr(x, "columns", ()))
        self._names = [str(name) for name in columns]
        self.two = self._pair(features, table.shape[1])
        self.names = [self._names[i] for i in self.two] if columns else None
        self.points = np.stack([self._column(table, i) for i in self.two], axis=1)
        self._base = self._at_rest(table, {} if fixed is None else fixed)
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        margin = 0.1 * np.maximum(high - low, 1e-6)
        self.equal = table.shape[1] == 2 and not columns and _alike(high - low)
        if self.equal:
            margin[:] = margin.max()
        low, high = low - margin, high + margin
        if step is None:
            sides = [np.linspace(a, b, _POINTS) for a, b in zip(low, high, strict=True)]
        else:
            step = _checks.real("step", step, above=0)
            if ((high - low) / step > 1e4).any():
                raise ValueError(f"step: expected at most 10000 points along a side, got {step:g}")
            sides = [np.arange(a, b + step, step) for a, b in zip(low, high, strict=True)]
        self.x1, self.x2 = sides
        self.extent = tuple(float(side[end]) for side in sides for end in (0, -1))

    def _pair(self, features: Any, width: int) -> tuple[int, int]:
        if isinstance(features, str) or not hasattr(features, "__len__") or len(features) != 2:
            raise ValueError(f"features: expected two features, got {_checks.show(features)}")
        first, second = (self._index("features", feature, width) for feature in features)
        if first == second:
            raise ValueError(f"features: expected two different ones, got {features!r}")
        return first, second

    def _index(self, argument: str, feature: Any, width: int) -> int:
        if not isinstance(feature, str):
            return _checks.integer(argument, feature, at_least=0, below=width)
        if feature not in self._names:
            near = _checks.similar(feature, self._names)
            raise ValueError(f"{argument}: expected columns of x, got {feature!r}{near}")
        return self._names.index(feature)

    def _column(self, table: Any, index: int) -> Array:
        name = self._names[index] if self._names else str(index)
        values = table.iloc[:, index] if self._frame is not None else table[:, index]
        column = _conversions.as_array(values, f"x, column {name}").astype(np.float64)
        if not len(column):
            raise ValueError("x: expected at least one row, got none")
        if not np.isfinite(column).all():
            raise ValueError(f"x: expected finite numbers in column {name} that is drawn")
        return column

    def _at_rest(self, table: Any, fixed: Any) -> Any:
        """One row with the values of all columns."""
        if not isinstance(fixed, Mapping):
            raise TypeError(f"fixed: expected values by feature, got {_checks.show(fixed)}")
        width = table.shape[1]
        given = {self._index("fixed", feature, width): value for feature, value in fixed.items()}
        for index in self.two:
            if index in given:
                raise ValueError("fixed: expected other features than the two that vary")
        if self._frame is None:
            row = np.nanmedian(table, axis=0)
            for index, value in given.items():
                row[index] = _checks.real("fixed", value)
            return row[None]
        row = table.iloc[:1].copy()
        for i, name in enumerate(table.columns):
            value = given[i] if i in given else _typical(table.iloc[:, i])
            column = table.iloc[:1, i]
            is_number = column.dtype.kind in "iuf"
            # Text and categories keep their dtype; whole numbers have medians with fractions.
            row[name] = float(value) if is_number else _like(column, value, str(name))
        return row

    def rows(self) -> Iterator[Any]:
        """All points of the grid, some lines at a time, as the model takes them."""
        lines = max(1, _CHUNK // len(self.x1))
        for start in range(0, len(self.x2), lines):
            x1, x2 = np.meshgrid(self.x1, self.x2[start : start + lines])
            if self._frame is None:
                part = np.repeat(self._base, x1.size, axis=0)
                part[:, self.two[0]], part[:, self.two[1]] = x1.ravel(), x2.ravel()
            else:
                part = self._base.iloc[np.zeros(x1.size, int)].reset_index(drop=True)
                for index, values in zip(self.two, (x1, x2), strict=True):
                    part[self._frame.columns[index]] = values.ravel()
            yield part

    def image(self, parts: Sequence[Array]) -> Array:
        """One value, or several, for each point, as an image whose first line is the lowest x2."""
        values = np.concatenate(parts)
        return values.reshape(len(self.x2), len(self.x1), *values.shape[1:])


def _numbers(x: Any) -> Array:
    return _conversions.as_array(x, "x").astype(np.float64)


def _like(column: Any, value: Any, name: str) -> Any:
    """A value as a column of the same dtype."""
    categories = getattr(column.dtype, "categories", None)
    if categories is not None and value not in categories:
        raise ValueError(f"fixed: expected a value that column {name} can have, got {value!r}")
    return type(column)([value], index=column.index, dtype=column.dtype)


def _typical(column: Any) -> Any:
    if column.dtype.kind in "iuf":
        return float(column.median())
    mode = column.mode()
    if not len(mode):
        raise ValueError(f"x: expected a value in column {column.name}, got none")
    return mode.iloc[0]


def _alike(ranges: Array) -> bool:
    """Whether one scale for both axes leaves neither of them thin."""
    return bool(ranges.max() < 3 * ranges.min())
