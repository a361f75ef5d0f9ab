"""Batches of arrays that are in memory by the chunk, such as Dask's."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp.datasets.pieces import Arrays, PieceBatches

_AT_ONCE = 1 << 16  # rows, of arrays that do not say what their chunks are


def chunk_batches(
    x: Any,
    t: Any,
    batch_size: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    shuffle: bool = False,
    seed: int | None = None,
    sample_weight: Any = None,
) -> "ChunkBatches":
    """The batches of arrays of any size that are computed or read by the chunk, for `fit`.

    Parameters
    ----------
    x : dask.array.Array, shape (rows, ...), or alike
        Rows that ``numpy.asarray(x[i:j])`` gives. An array with `chunks`, as Dask, Zarr and h5py
        have, is taken chunk by chunk of its rows, each of which has to fit into memory.
    t : array_like or alike, shape (rows, ...)
        Targets; their chunks may be others.
    batch_size : int
        Rows in a batch; the last one of a pass may have fewer.
    rank, world_size : int
        Which part of the rows, of how many: all rows are shared evenly. A process computes its own
        chunks alone.
    shuffle : bool
        Whether each pass has an order of its own: that of the chunks is drawn, and then that of the
        rows within each.
    seed : int, optional
        For these orders; without it, one is drawn from the global generator.
    sample_weight : array_like or alike, shape (rows,), optional
        What each row counts.

    Returns
    -------
    ChunkBatches
        An iterable of (x, t), or of (x, t, sample_weight), with a length.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    """
    return ChunkBatches(x, t, batch_size, rank, world_size, shuffle, seed, sample_weight)


class ChunkBatches(PieceBatches):
    """What `chunk_batches` returns."""

    def __init__(
        self,
        x: Any,
        t: Any,
        batch_size: int,
        rank: int,
        world_size: int,
        shuffle: bool,
        seed: int | None,
        sample_weight: Any,
    ) -> None:
        given = {"x": x, "t": t, "sample_weight": sample_weight}
        self._parts = {
            name: np.asarray(part) if isinstance(part, list) else part
            for name, part in given.items()
            if name != "sample_weight" or part is not None
        }
        for name, part in self._parts.items():
            if not hasattr(part, "shape") or not hasattr(part, "__getitem__"):
                raise TypeError(f"{name}: expected an array, got {_checks.show(part)}")
            if not len(part.shape) or part.shape[0] != part.shape[0]:  # NaN: Dask does not know
                raise ValueError(
                    f"{name}: expected rows whose number is known, got shape {tuple(part.shape)};"
                    " Dask's compute_chunk_sizes() finds it"
                )
            if part.shape[0] != (rows := self._parts["x"].shape[0]):
                raise ValueError(
                    f"{name}: expected {rows} rows, as x has, got shape {tuple(part.shape)}"
                )
        sizes = _row_chunks(self._parts["x"])
        self._starts = np.cumsum([0, *sizes]).tolist()
        super().__init__(sizes, batch_size, rank, world_size, shuffle, seed)

    def _read(self, number: int, first: int, end: int) -> Iterator[Arrays]:
        start = self._starts[number]
        own = slice(start + first, start + end)
        yield tuple(np.asarray(part[own]) for part in self._parts.values())


def _row_chunks(x: Any) -> list[int]:
    """How many rows the chunks have."""
    rows = int(x.shape[0])
    chunks = getattr(x, "chunks", None) or (_AT_ONCE,)
    if not isinstance(chunks[0], int):  # Dask's are listed
        return [int(size) for size in chunks[0]]
    return [min(chunks[0], rows - first) for first in range(0, rows, chunks[0])]
