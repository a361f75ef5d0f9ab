"""The data of a fit: copies, splits, and batches that come one by one."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions, _rows
from fastmlp._types import Array

Data = tuple[Any, Any, Any]  # inputs, targets, weights of the rows
NAMES = ("x", "t", "sample_weight")
NO_DATA: Data = (None, None, None)
_END: Any = object()  # of a pass


def is_on_device(data: Any) -> bool:
    return hasattr(data, "__cuda_array_interface__") or bool(getattr(data, "is_cuda", False))


def host_copy(name: str, data: Any) -> Any:
    """A copy of what lies in the host's memory, which callbacks cannot change."""
    if not isinstance(data, np.ndarray) and is_on_device(data):
        return data
    if _rows.stay(data):
        return data.copy() if _rows.is_sparse(data) else data
    array = _conversions.as_array(data, name)
    return array.copy() if array is data or array.base is not None else array


def to_host(name: str, data: Any) -> Array:
    """The same numbers in the host's memory, not copied where they lie there."""
    if not isinstance(data, np.ndarray) and is_on_device(data):
        data = data.get() if hasattr(data, "get") else data.cpu()
    return _conversions.as_array(data, name)


def check_validation(data: Any) -> Data:
    """Inputs, targets and weights, each of them None where there are none."""
    if data is None:
        return NO_DATA
    if isinstance(data, list):  # of batches, or one of the parts
        comes_in_batches = bool(data) and all(isinstance(item, tuple) for item in data)
    else:
        comes_in_batches = isinstance(data, Iterable) and not isinstance(data, tuple)
    if comes_in_batches and not _is_array(data):
        return collect("validation_data", data)
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(
            f"validation_data: expected a pair (x, t), or (x, t, sample_weight), got"
            f" {_checks.show(data)}"
        )
    for name, part in zip(("x", "t"), data, strict=False):
        if part is None:
            raise TypeError(f"validation_data {name}: expected an array, got None")
    return data[0], data[1], data[2] if len(data) == 3 else None


def check_data(
    data: Data,
    batches: "Batches | None",
    validation_data: Any,
    validation_split: Any,
    allow_nonfinite: bool,
) -> tuple[Data, Data]:
    """The data to train and to validate with; those to train with may come in batches."""
    if batches and data[2] is not None:
        raise ValueError(
            "sample_weight: expected None with batches, got weights; let them be batches"
            " (x, t, sample_weight)"
        )
    if not allow_nonfinite:
        data = _without_gaps("", data)
    if validation_split is None:
        validation = check_validation(validation_data)
        if not allow_nonfinite:
            validation = _without_gaps("validation_data ", validation)
        return NO_DATA if batches else data, validation
    fraction = _checks.real("validation_split", validation_split, above=0, below=1)
    if validation_data is not None:
        raise ValueError("validation_split: expected None beside validation_data, got both")
    if batches:
        raise ValueError(
            "validation_split: expected x and t that are arrays, got an iterable of batches; hand"
            " over validation_data"
        )
    return split(data, fraction)


def copied(name: str, data: Data) -> Data:
    """Copies which callbacks cannot change."""
    x, t, sample_weight = (
        None if part is None else host_copy(f"{name}{what}", part)
        for what, part in zip(NAMES, data, strict=True)
    )
    return x, t, sample_weight


def _without_gaps(prefix: str, data: Data) -> Data:
    x, t, sample_weight = (
        _conversions.without_gaps(part, f"{prefix}{name}")
        for name, part in zip(NAMES, data, strict=True)
    )
    return x, t, sample_weight


def split(data: Data, fraction: float) -> tuple[Data, Data]:
    """The first rows, to train with, and the last ones, to validate with."""
    parts: list[Any] = [
        part if part is None or is_on_device(part) else _conversions.kept(part, name)
        for name, part in zip(NAMES, data, strict=True)
    ]
    given = [(name, part) for name, part in zip(NAMES, parts, strict=True) if part is not None]
    for name, part in given:
        if not len(part.shape):
            raise ValueError(f"{name}: expected rows, got a single number")
    rows = parts[0].shape[0]
    for name, part in given:
        if part.shape[0] != rows:
            raise ValueError(f"{name} has {part.shape[0]} rows, but x has {rows}")
    first = int(rows * (1 - fraction))
    if not 0 < first < rows:
        raise ValueError(
            "validation_split: expected a fraction that leaves rows to train and to validate with,"
            f" got {fraction} of {rows}"
        )
    x, t, w = parts
    if w is None:
        return (x[:first], t[:first], None), (x[first:], t[first:], None)
    return (x[:first], t[:first], w[:first]), (x[first:], t[first:], w[first:])


def check_batches(x: Any, max_epoch: int) -> "Batches":
    """x without t, which must be an iterable of batches."""
    if _is_array(x) or (not isinstance(x, Iterable) and not hasattr(x, "__getitem__")):
        raise TypeError(
            "t: expected targets, got None, which goes with an x that is an iterable of batches"
            " (x, t), or (x, t, sample_weight), only"
        )
    if isinstance(x, Iterator) and max_epoch > 1:
        raise TypeError(
            f"x: expected batches that can be passed through {max_epoch} times, got an iterator,"
            " which is used up after one epoch; hand over what makes it, such as a list or a"
            " DataLoader"
        )
    return Batches(x)


def collect(name: str, batches: Any) -> Data:
    """All rows of an iterable of batches, in memory of their own; without weights they count 1."""
    source, found = Batches(batches, name), []
    while (batch := source()) is not None:
        found.append(batch)
    x, t = (
        np.concatenate([to_host(f"{name} {NAMES[i]}", batch[i]) for batch in found])
        for i in range(2)
    )
    if all(batch[2] is None for batch in found):
        return x, t, None
    weights = [
        np.ones(len(batch[0])) if batch[2] is None else to_host(f"{name} sample_weight", batch[2])
        for batch in found
    ]
    return x, t, np.concatenate(weights)


def _is_array(x: Any) -> bool:
    if x is None or isinstance(x, str | bytes | dict | set | frozenset) or _rows.is_sparse(x):
        return True
    if isinstance(x, list | tuple):  # of numbers, or of rows of numbers
        return not all(isinstance(item, list | tuple) and len(item) in (2, 3) for item in x) or all(
            np.ndim(part) == 0 for item in x for part in item
        )
    return any(hasattr(x, name) for name in ("__array__", "__cuda_array_interface__", "dtypes"))


class Batches:
    """Gives the batches of an iterable one by one, and None at the end of each pass.

    They are pairs (x, t), or (x, t, sample_weight).
    """

    def __init__(self, batches: Any, name: str = "x") -> None:
        self._batches = batches
        self._name = name
        self._pass: Iterator[Any] | None = None
        self._passes = 0  # that have ended

    def steps(self, accumulate: int) -> int:
        """How many steps a pass has; 0 if nobody knows."""
        try:
            return -(-len(self._batches) // accumulate)
        except TypeError:  # such as a DataLoader's of a stream
            return 0

    def restart(self) -> None:
        """Begin a new pass with the next batch."""
        self._pass = None

    def __call__(self) -> Data | None:
        is_first = self._pass is None
        if self._pass is None:
            self._pass = iter(self._batches)
        batch = next(self._pass, _END)
        if batch is _END:
            if is_first:
                raise ValueError(f"{self._name}: expected {self._missing()}")
            self._pass = None
            self._passes += 1
            return None
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            raise TypeError(
                f"{self._name}: expected batches (x, t), or (x, t, sample_weight), got"
                f" {_checks.show(batch)}"
            )
        return batch[0], batch[1], batch[2] if len(batch) == 3 else None

    def _missing(self) -> str:
        if not self._passes:
            return "at least one batch, got none"
        return (
            f"batches in each pass, got none in pass {self._passes + 1}; what its __iter__ returns"
            " has to begin anew each time"
        )
