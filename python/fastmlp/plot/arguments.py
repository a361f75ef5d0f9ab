"""What the pictures take, as plain arrays; or an error that names the argument."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions
from fastmlp.modules import Module
from fastmlp.plot.style import Array


def numbers(name: str, values: Any, *, columns: bool = False) -> Array:
    """Finite numbers of shape (rows,) or, with `columns`, of (rows, columns).

    A single column of shape (rows, 1) counts as (rows,), unless `columns`.
    """
    array = _conversions.as_array(values, name).astype(np.float64)
    if array.ndim == 1 and columns:
        array = array[:, None]
    if array.ndim == 2 and array.shape[1] == 1 and not columns:
        array = array[:, 0]
    if array.ndim != 1 + columns or not array.size:
        expected = "(rows, columns)" if columns else "(rows,) or (rows, 1)"
        raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got {_first_odd(array)}")
    return array


def _first_odd(array: Array) -> str:
    at = np.argwhere(~np.isfinite(array))[0]
    return f"{array[tuple(at)]} in row {at[0]}"


def same_rows(first: str, a: Array, second: str, b: Array) -> None:
    """ValueError unless both have as many rows."""
    if len(a) != len(b):
        raise ValueError(f"{second}: expected {len(a)} rows, as {first} has, got {len(b)}")


def module_of(model: Any) -> Module:
    """The network of a model of fastmlp, or of one of its fitted estimators."""
    if isinstance(model, Module):
        return model
    if _is_estimator(model):
        if not isinstance(found := getattr(model, "_model", None), Module):
            raise ValueError("model: expected a fitted estimator, got one that is not fitted yet")
        return found
    hint = _checks.origin(model)
    raise TypeError(
        f"model: expected a model or an estimator of fastmlp, got {_checks.show(model)}{hint}"
    )


def _is_estimator(model: Any) -> bool:
    return any(kind.__module__.startswith("fastmlp.sklearn") for kind in type(model).__mro__)


def inputs_of(model: Any, x: Any) -> Any:
    """What the network of a model sees of x: estimators scale and encode it first."""
    return model._inputs(model._encode(x, reset=False)) if _is_estimator(model) else x


class Classes:
    """Rows' classes as indices, and the classes' names.

    Parameters
    ----------
    argument : str
        What the user calls them.
    t : array_like
        Class indices, of shape (rows,) or (rows, 1); one-hot rows; or names of classes.
    known : sequence, optional
        The classes, in their order, if they are known.
    names : sequence of str, optional
        What to call them.
    """

    def __init__(self, argument: str, t: Any, known: Any = None, names: Any = None) -> None:
        labels = _labels(argument, t)
        if known is None and labels.dtype.kind in "iu":
            if labels.min() < 0:
                raise ValueError(f"{argument}: expected classes from 0 on, got {labels.min()}")
            self.index = labels.astype(np.intp)
            self.names = [f"class {i}" for i in range(int(labels.max()) + 1)]
        else:
            given = np.unique(labels) if known is None else np.asarray(known)
            order = np.argsort(given)
            at = np.searchsorted(given, labels, sorter=order).clip(max=len(given) - 1)
            self.index = order[at]
            if (odd := given[self.index] != labels).any():
                raise ValueError(
                    f"{argument}: expected classes of the model, {_few(given)},"
                    f" got {labels[odd][0].item()!r}"
                )
            named = given.dtype.kind not in "iufb"
            self.names = [str(name) if named else f"class {name}" for name in given]
        if names is not None:
            if isinstance(names, str) or len(names := list(names)) < len(self.names):
                raise ValueError(
                    f"class_names: expected {len(self.names)} names, got {_checks.show(names)}"
                )
            self.names = [str(name) for name in names]

    def name(self, index: int) -> str:
        """The name of a class, also of one that no row has."""
        return self.names[index] if index < len(self.names) else f"class {index}"


def _few(values: Sequence[Any] | Array) -> str:
    shown = [repr(value) for value in list(np.asarray(values).tolist())[:5]]
    return ", ".join(shown) + (", ..." if len(values) > 5 else "")


def _labels(argument: str, t: Any) -> Array:
    """Labels of shape (rows,): whole numbers as integers, all else as it is."""
    if type(t).__module__.split(".")[0] == "torch" and hasattr(t, "detach"):
        t = t.detach().cpu()
    labels = np.asarray(t)
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = np.asarray(_one_hot(argument, labels).argmax(axis=1))
    if labels.ndim == 2:
        labels = labels[:, 0]
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"{argument}: expected classes of shape (rows,), got {labels.shape}")
    if labels.dtype.kind == "O":
        missing = [value is None or value != value for value in labels]
        if any(missing):
            raise ValueError(f"{argument}: expected classes, got a missing value")
        labels = np.array(labels.tolist())
    if labels.dtype.kind == "f":
        if not (labels == np.rint(labels)).all():
            odd = labels[labels != np.rint(labels)][0]
            raise ValueError(f"{argument}: expected classes, got {odd:g}, which is no whole number")
        labels = labels.astype(np.int64)
    return labels.astype(np.int64) if labels.dtype.kind == "b" else labels


def _one_hot(argument: str, labels: Array) -> Array:
    numbers = _conversions.as_array(labels, argument)
    if not ((numbers == 0) | (numbers == 1)).all() or not (numbers.sum(axis=1) == 1).all():
        raise ValueError(f"{argument}: expected one class a row, got rows that are not one-hot")
    return numbers
