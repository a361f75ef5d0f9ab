"""CSV files as frames of text, whole or in blocks; what is wrong with one is a DataError."""

import csv
import io
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from fastmlp import _checks
from fastmlp.datasets import DataError

SEPARATORS = ",;\t|"
MISSING = ("?", "-")  # beside those of pandas, such as NA and nothing at all
CELLS = 1 << 20  # of a block
_LONGEST_HEADER = 1 << 24  # characters
_IN_LINE = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


def pandas() -> Any:
    """The module, or an ImportError that says how to get it."""
    try:
        import pandas as pd  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError('CSV files need pandas: pip install "fastmlp[table]"') from error
    return pd


def short(text: Any) -> str:
    """Some text of a file in quotes, and not too long for a line."""
    shown = repr(str(text))
    return shown if len(shown) <= 50 else shown[:46] + "...'"


def count(number: int, what: str) -> str:
    """Such as "1 row" or "2 rows"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


class Table:
    """An open CSV file, whose first line has been read.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    columns : list of str
    """

    def __init__(self, name: str, text: Any) -> None:
        self.name, self._text = name, text
        lines = _Lines(text)
        separator = _separator(lines.peek())
        try:
            header = next(csv.reader(lines, delimiter=separator, skipinitialspace=True), [])
        except csv.Error as error:
            raise DataError(f"{name}: expected a CSV file, got one with {error}") from None
        self.columns = [column.strip() for column in header]
        self._separator, self._lines = separator, lines.count
        if not any(self.columns):
            raise DataError(f"{name}: expected a line with the columns' names, got an empty file")
        seen: set[str] = set()
        for column in self.columns:
            if column and column in seen:
                raise DataError(f"{name}: expected columns of different names, got {short(column)}"
                                " twice")  # fmt: skip
            seen.add(column)

    def find(self, column: str, what: str) -> str:
        """The column of this name, or an error with the names that are like it."""
        if column in self.columns:
            return column
        raise DataError(f"{self.name}: no column {short(column)}{what}{self._meant(column)}")

    def _meant(self, column: str) -> str:
        names = [name for name in self.columns if name]
        lower = {name.lower(): name for name in names}
        if column.lower() in lower:
            return f"; did you mean {short(lower[column.lower()])}?"
        if found := _checks.similar(column, names):
            return found
        if all(_is_number(name) for name in names):
            return "; the first line should have the columns' names, and has numbers"
        more = f" and {len(names) - 8} others" if len(names) > 8 else ""
        return f"; there are {', '.join(map(short, names[:8]))}{more}"

    def frame(self, columns: Iterable[str]) -> Any:
        """All rows, of these columns."""
        frame = next(self._parts(list(columns), None))
        if not len(frame):
            raise DataError(f"{self.name}: expected rows below the columns' names, got none")
        return frame

    def blocks(self, columns: Iterable[str]) -> Iterator[Any]:
        """The rows in frames of a moderate size, of these columns; at least one frame."""
        return self._parts(list(columns), max(1, CELLS // len(self.columns)))

    def _parts(self, columns: list[str], rows: int | None) -> Iterator[Any]:
        pd, reader = pandas(), None
        # Columns without a name are of no use to anybody, but have to be called something; without
        # all of them, pandas does not see that a line has too many values.
        names = [column or f"\0{place}" for place, column in enumerate(self.columns)]
        while True:
            try:
                with self._errors(pd):
                    reader = reader or pd.read_csv(
                        self._text,
                        header=None,
                        names=names,
                        dtype=str,
                        index_col=False,
                        sep=self._separator,
                        skipinitialspace=True,
                        na_values=list(MISSING),
                        iterator=True,
                    )
                    frame = reader.read(rows)
            except StopIteration:
                return
            except pd.errors.EmptyDataError:
                frame = pd.DataFrame({name: pd.Series([], dtype=object) for name in names})
                rows = None
            yield frame[columns]
            if rows is None:
                return

    @contextmanager
    def _errors(self, pd: Any) -> Iterator[None]:
        """What pandas says of a file as a DataError."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                yield
            except pd.errors.EmptyDataError:
                raise
            except pd.errors.ParserWarning:
                raise DataError(
                    f"{self.name}: expected {count(len(self.columns), 'value')} a line, as there"
                    " are columns, got more"
                ) from None
            except (pd.errors.ParserError, UnicodeDecodeError) as error:
                raise DataError(f"{self.name}: {self._told(error)}") from None

    def _told(self, error: Exception) -> str:
        if isinstance(error, UnicodeDecodeError):
            return _not_text(error)
        if found := _IN_LINE.search(str(error)):
            wanted, line, got = map(int, found.groups())
            return f"expected {wanted} values in line {line + self._lines}, got {got}"
        if "EOF inside string" in str(error):
            return "expected a CSV file, got one with a quote that is not closed"
        return f"expected a CSV file, got one with {' '.join(str(error).split())}"


class _Lines:
    """The lines of a text, which are read no further than asked for."""

    def __init__(self, text: Any) -> None:
        self._text, self.count = text, 0
        self._next: str | None = None

    def peek(self) -> str:
        """The first line that is not blank."""
        line = "\n"
        while line and not line.strip():
            line = self._text.readline(_LONGEST_HEADER)
            self.count += 1
        self._next = line
        return line

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line, self._next = self._next, None
        if line is None:
            line = self._text.readline(_LONGEST_HEADER)
            self.count += 1
        if not line:
            raise StopIteration
        return line


def _separator(line: str) -> str:
    """The one that parts the first line into the most names."""
    csv.field_size_limit(_LONGEST_HEADER)
    counts = {}
    for separator in SEPARATORS:
        try:
            counts[separator] = len(next(csv.reader([line], delimiter=separator), []))
        except csv.Error:
            counts[separator] = 0
    return max(counts, key=lambda separator: counts[separator])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _not_text(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start] if error.start < len(error.object) else 0
    return (
        f"expected a CSV file in UTF-8, got one with the byte 0x{byte:02x}; save it as UTF-8, or"
        " convert it: iconv -f FROM -t UTF-8, with FROM such as UTF-16, CP949, CP1252"
    )


@contextmanager
def open_table(path: str) -> Iterator[Table]:
    """A CSV file to read, or that of standard input for "-".

    Raises
    ------
    DataError
        If it is none.
    OSError
        If there is no such file, or no permission.
    """
    name = "standard input" if path == "-" else path
    binary = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115
    text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
    try:
        try:
            table = Table(name, text)
        except UnicodeDecodeError as error:
            raise DataError(f"{name}: {_not_text(error)}") from None
        if "\0" in "".join(table.columns):
            raise DataError(f"{name}: expected a CSV file, got a binary one")
        yield table
    finally:
        if path == "-":
            text.detach()
        else:
            text.close()
