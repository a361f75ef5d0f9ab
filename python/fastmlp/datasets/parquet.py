"""Batches from Parquet files, of which some rows at a time are in memory."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp.datasets.pieces import Arrays, PieceBatches

_AT_ONCE = 1 << 16  # rows


def parquet_batches(
    files: Any,
    columns: Sequence[str],
    target: str | Sequence[str],
    batch_size: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    shuffle: bool = False,
    seed: int | None = None,
    sample_weight: str | None = None,
) -> "ParquetBatches":
    """The batches of Parquet files of any size, for `fit`.

    Parameters
    ----------
    files : str, path, or list of them
        A file, a folder (its files `*.parquet`, by name), or several files; their rows one after
        the other.
    columns : list of str
        Of the inputs: columns of numbers.
    target : str or list of str
        Of the targets; a name gives arrays of one dimension, such as classes.
    batch_size : int
        Rows in a batch; the last one of a pass may have fewer.
    rank, world_size : int
        Which part of the rows, of how many: all rows are shared evenly. A process reads its own row
        groups alone.
    shuffle : bool
        Whether each pass has an order of its own: that of the row groups is drawn, and then that of
        rows within 65536 that lie together. Rows that are sorted by what they mean have to be
        shuffled when the file is written.
    seed : int, optional
        For these orders; without it, one is drawn from the global generator.
    sample_weight : str, optional
        The column of what each row counts.

    Returns
    -------
    ParquetBatches
        An iterable of (x, t), or of (x, t, sample_weight), with a length.

    Raises
    ------
    ImportError
        If pyarrow is missing (it comes with the extra "parquet").
    TypeError, ValueError
        If an argument is wrong, or a column is not there or not of numbers.
    OSError
        If a file cannot be read.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "parquet_batches() needs pyarrow: pip install pyarrow, or fastmlp[parquet]"
        ) from error
    wanted = {"columns": _names("columns", columns)}
    wanted["target"] = [target] if isinstance(target, str) else _names("target", target)
    if sample_weight is not None:
        if not isinstance(sample_weight, str):
            raise TypeError(
                f"sample_weight: expected a column's name, got {_checks.show(sample_weight)}"
            )
        wanted["sample_weight"] = [sample_weight]
    flat = isinstance(target, str)
    return ParquetBatches(_paths(files), wanted, flat, batch_size, rank, world_size, shuffle, seed)


class ParquetBatches(PieceBatches):
    """What `parquet_batches` returns."""

    def __init__(
        self,
        paths: list[str],
        wanted: dict[str, list[str]],
        flat: bool,
        batch_size: int,
        rank: int,
        world_size: int,
        shuffle: bool,
        seed: int | None,
    ) -> None:
        from pyarrow import parquet

        self._wanted, self._flat = wanted, flat
        self._groups: list[tuple[str, int]] = []
        sizes = []
        for path in paths:
            with parquet.ParquetFile(path) as file:
                _check_columns(path, file.schema_arrow, wanted)
                for group in range(file.metadata.num_row_groups):
                    self._groups.append((path, group))
                    sizes.append(file.metadata.row_group(group).num_rows)
        super().__init__(sizes, batch_size, rank, world_size, shuffle, seed)

    def _read(self, number: int, first: int, end: int) -> Iterator[Arrays]:
        from pyarrow import parquet

        path, group = self._groups[number]
        names = list(dict.fromkeys(name for part in self._wanted.values() for name in part))
        at = 0
        with parquet.ParquetFile(path) as file:
            for rows in file.iter_batches(_AT_ONCE, row_groups=[group], columns=names):
                skipped = min(max(first - at, 0), len(rows))
                own = rows.slice(skipped, min(end - at, len(rows)) - skipped)
                at += len(rows)
                if len(own):
                    yield self._arrays(own)
                if at >= end:
                    return

    def _arrays(self, rows: Any) -> Arrays:
        def column(name: str) -> Any:
            return rows.column(name).to_numpy(zero_copy_only=False)

        arrays = []
        for part, names in self._wanted.items():
            flat = part == "sample_weight" or (part == "target" and self._flat)
            arrays.append(column(names[0]) if flat else np.stack(list(map(column, names)), axis=1))
        return tuple(arrays)


def _names(argument: str, names: Any) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"{argument}: expected a list of columns' names, got {_checks.show(names)}")
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument}: expected columns' names, got {_checks.show(names)}")
    return list(names)


def _paths(files: Any) -> list[str]:
    if isinstance(files, str | os.PathLike):
        path = os.fspath(files)
        if not os.path.isdir(path):
            return [path]
        names = sorted(name for name in os.listdir(path) if name.endswith(".parquet"))
        if not names:
            raise ValueError(f"files: expected a folder with files *.parquet, got {path!r}")
        return [os.path.join(path, name) for name in names]
    if not isinstance(files, Sequence) or not files:
        raise TypeError(f"files: expected a path, or several, got {_checks.show(files)}")
    return [os.fspath(path) for path in files]


def _check_columns(path: str, schema: Any, wanted: dict[str, list[str]]) -> None:
    from pyarrow import types

    for part, names in wanted.items():
        for name in names:
            if name not in schema.names:
                raise ValueError(
                    f"{part}: expected columns of {path}, got {name!r}"
                    f"{_checks.similar(name, schema.names)}"
                )
            kind = schema.field(name).type
            if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
                raise ValueError(f"{part}: expected columns of numbers, got {name!r} of {kind}")
