"""What the columns of a table become as numbers for a network, learnt from the rows of a training.

A column of numbers becomes one of mean 0 and variance 1, and a column of text one of 0 and 1 for
each of its values. A missing number is the mean, a value that was not there is 0 in all columns;
either has a further column that tells of missing ones, if the rows of the training had some.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastmlp._types import Array
from fastmlp.datasets import DataError
from fastmlp.shell.reading import pandas, short

MOST_VALUES = 100  # of a column of text that have a column of their own
LONGEST_VALUE = 200  # characters
FEW_VALUES = 10  # that may all differ, in a table of few rows
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?$|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( .*)?$"
)


@dataclass
class Number:
    """A column of numbers: `(x - mean) / scale`."""

    name: str
    mean: float
    scale: float
    missing: bool

    @property
    def width(self) -> int:
        return 1 + self.missing

    def encode(self, values: Any, out: Array, where: str, first: int) -> None:
        """Fill the columns of `out` that are its own; `first` is the number of the first row."""
        x = numbers(values, f"{where}: column {short(self.name)}", first)
        absent = np.isnan(x)
        with np.errstate(over="ignore"):
            out[:, 0] = np.where(absent, 0.0, (x - self.mean) / self.scale)
        if self.missing:
            out[:, 1] = absent
        if not np.isfinite(out[:, 0]).all():
            row = first + int(np.argmin(np.isfinite(out[:, 0])))
            raise DataError(
                f"{where}: column {short(self.name)}: expected numbers like those of the training,"
                f" got {x[row - first]:.6g} in row {row}"
            )


@dataclass
class Category:
    """A column of text, or of numbers that stand for something."""

    name: str
    values: list[str]
    missing: bool
    unknown: int = field(default=0, compare=False)  # values met that the training had not

    @property
    def width(self) -> int:
        return len(self.values) + self.missing

    def encode(self, values: Any, out: Array, where: str, first: int) -> None:
        """Likewise."""
        places = pandas().Index(self.values, dtype=object).get_indexer(values.astype(object))
        absent = values.isna().to_numpy(bool)
        self.unknown += int(((places < 0) & ~absent).sum())
        out[:] = 0.0
        rows = np.flatnonzero(places >= 0)
        out[rows, places[rows]] = 1.0
        if self.missing:
            out[:, -1] = absent


Column = Number | Category


def numbers(values: Any, what: str, first: int) -> Array:
    """A column of text as float64 with NaN where there is nothing; DataError for other text."""
    x = np.asarray(pandas().to_numeric(values, errors="coerce"), np.float64)
    if (wrong := ~np.isfinite(x) & values.notna().to_numpy(bool)).any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{what}: expected numbers, got {short(values.iloc[row])} in row {first + row}"
        )
    return x


def are_numbers(values: Any) -> bool:
    """Whether all of them are, as far as there are any."""
    try:
        numbers(values, "", 1)
    except DataError:
        return False
    return True


def mostly_numbers(values: Any) -> bool:
    """Whether more than half of them are."""
    return bool(pandas().to_numeric(values, errors="coerce").notna().mean() > 0.5)


def written_otherwise(values: Any) -> str | None:
    """The first of the values, if they are numbers with commas, spaces or a sign of percent."""
    present = values.dropna().head(100).astype(str)
    bare = present.str.replace(r"[,%'\s]", "", regex=True).str.replace("\u2212", "-")
    if not len(present) or not are_numbers(bare) or are_numbers(present):
        return None
    return str(present[pandas().to_numeric(present, errors="coerce").isna()].iloc[0])


def are_dates(values: Any) -> bool:
    """Whether they look like days, with or without a time."""
    return bool(values.dropna().head(100).astype(str).str.match(_DATE).all())


def kind_of(values: Any, categories: bool) -> type[Number] | type[Category] | str:
    """What a column is to be, or why it is left out."""
    present = values.dropna()
    if not len(present):
        return "it is empty"
    if not categories and are_numbers(present):
        return Number
    count = present.nunique()
    if not categories and are_dates(present):
        return "it has dates; make numbers of them, such as the month or the days since the first"
    if count > max(FEW_VALUES, len(present) / 2):
        if not categories and mostly_numbers(present):
            parsed = pandas().to_numeric(present, errors="coerce")
            odd = present[~np.isfinite(np.asarray(parsed, np.float64))]
            return f"it has numbers, but also {short(odd.iloc[0])}"
        if not categories and (odd := written_otherwise(present)) is not None:
            return f"it has numbers such as {short(odd)}, which have to be written like 1234.5"
        return "it has text that differs from row to row"
    return Category


def learn(name: str, values: Any, kind: type[Number] | type[Category]) -> Column | str:
    """The column as the rows of the training have it, or why it is left out."""
    missing = bool(values.isna().any())
    present = values.dropna()
    if not len(present):
        return "it is empty"
    if kind is Number:
        x = numbers(present, "", 1)
        mean, scale = _moments(x)
        if scale == 0:
            if not missing:
                return "it has one value alone"
            scale = 1.0
        return Number(name, mean, scale, missing)
    counted = Counter(present.tolist())
    if len(counted) + missing < 2:
        return "it has one value alone"
    frequent = sorted(counted, key=lambda value: (-counted[value], value))
    kept = [value for value in frequent if len(value) <= LONGEST_VALUE][:MOST_VALUES]
    return Category(name, sorted(kept), missing)


def _moments(x: Array) -> tuple[float, float]:
    """The mean and the root of the variance, also of numbers whose squares are too large."""
    largest = float(np.abs(x).max())
    if x.min() == x.max():
        return float(x[0]), 0.0
    return float(np.mean(x / largest) * largest), float(np.std(x / largest) * largest)


def encode(columns: list[Column], frame: Any, where: str, first: int = 1) -> Array:
    """The rows of a frame as numbers, of shape (rows, columns)."""
    out = np.empty((len(frame), sum(column.width for column in columns)), np.float32)
    begin = 0
    for column in columns:
        end = begin + column.width
        column.encode(frame[column.name], out[:, begin:end], where, first)
        begin = end
    return out
