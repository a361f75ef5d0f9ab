"""Rows of a table as the native training takes them, also of a sparse one."""

from typing import Any, NamedTuple

import numpy as np

from fastmlp._types import Array

AT_ONCE = 1 << 28  # bytes: a sparse table that needs no more as a dense one becomes one


class Rows(NamedTuple):
    """Inputs, targets and the weights of rows, if they have any."""

    x: Any  # an array, or a large sparse table in rows
    t: Array
    weights: Array | None

    def take(self, rows: Any) -> "Rows":
        return Rows(
            self.x[rows], self.t[rows], None if self.weights is None else self.weights[rows]
        )


def narrow(x: Any, dtype: str) -> Any:
    """Checked numbers in the network's dtype, in rows; ValueError if some are too large for it."""
    if not isinstance(x, np.ndarray):
        narrowed = x.tocsr().astype(dtype)
        _check_range(x.data, narrowed.data)
        size = x.shape[0] * x.shape[1] * narrowed.dtype.itemsize
        return np.ascontiguousarray(narrowed.toarray()) if size <= AT_ONCE else narrowed
    with np.errstate(over="ignore"):
        narrowed = np.ascontiguousarray(x, dtype)
    _check_range(x, narrowed)
    return narrowed


def _check_range(x: Array, narrowed: Array) -> None:
    if narrowed.dtype.itemsize >= x.dtype.itemsize:
        return
    if not np.isfinite(narrowed).all():
        raise ValueError(
            f"Input contains a value too large for dtype('{narrowed.dtype}'), in which the"
            " network computes; scale the data, or set dtype='float64'."
        )


Scale = tuple[Array, Array]  # means and deviations of columns


def scale_of(x: Any, weights: Array | None) -> Scale:
    """Of the rows; a column that does not vary keeps its scale."""
    if not isinstance(x, np.ndarray):
        raise ValueError("standardize: expected False with a sparse table, got True")
    x = x.astype(np.float64, copy=False)
    mean = np.average(x, axis=0, weights=weights)
    deviation = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    return mean, np.where(deviation > 0, deviation, 1.0)


def dense(x: Any) -> Array:
    """An array itself, or a sparse table as one."""
    return x if isinstance(x, np.ndarray) else np.asarray(x.toarray())
