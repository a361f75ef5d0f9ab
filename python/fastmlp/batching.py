"""Batches of a data set, for loops of one's own and for `Trainer.fit`."""

from collections.abc import Iterator
from typing import Any

from fastmlp import _checks, _conversions, _core, _rows, seeds
from fastmlp._types import Array

__all__ = ["RowBatches", "batches"]


def batches(
    x: Any,
    t: Any,
    batch_size: int,
    shuffle: bool = False,
    seed: int | None = None,
    sample_weight: Any = None,
    drop_last: bool = False,
) -> "RowBatches":
    """The batches of a data set, again in each pass.

    Parameters
    ----------
    x : array_like, shape (rows, ...)
        Anything with rows of numbers: arrays, frames, tensors in the host's memory, SciPy's sparse
        tables, whose batches are dense, and files (`numpy.memmap`) of any size, of which one batch
        at a time is in memory. The batches have its dtype.
    t : array_like, shape (rows, ...)
        Targets.
    batch_size : int
        Rows in a batch; the last one may have fewer.
    shuffle : bool
        Whether each pass has an order of its own. Pass number `epoch` then has that of
        ``Trainer.fit(x, t, batch_size=batch_size, seed=seed)`` in the epoch of this number.
    seed : int, optional
        For these orders; without it, one is drawn from the global generator (see `manual_seed`).
    sample_weight : array_like, shape (rows,), optional
        What each row counts.
    drop_last : bool
        Leave out a last batch that has fewer rows.

    Returns
    -------
    RowBatches
        An iterable of (x, t), or of (x, t, sample_weight), with a length. Without `shuffle`, the
        parts of an array are views of it.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or a file has become shorter.

    Examples
    --------
    >>> import numpy as np
    >>> import fastmlp as fm
    >>> pairs = fm.batches(np.arange(6.0).reshape(3, 2), [0, 1, 1], 2)
    >>> [(x.shape, t.tolist()) for x, t in pairs]
    [((2, 2), [0, 1]), ((1, 2), [1])]
    """
    return RowBatches(x, t, batch_size, shuffle, seed, sample_weight, drop_last)


class RowBatches:
    """What `batches` returns.

    Attributes
    ----------
    epoch : int
        The number of the next pass, which can be set: it decides on the order of a shuffled one.
    """

    def __init__(
        self,
        x: Any,
        t: Any,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        sample_weight: Any,
        drop_last: bool,
    ) -> None:
        given = {"x": x, "t": t} | (
            {} if sample_weight is None else {"sample_weight": sample_weight}
        )
        self._parts = {name: _conversions.kept(part, name) for name, part in given.items()}
        for name, part in self._parts.items():
            if not part.ndim:
                raise ValueError(f"{name}: expected rows, got a single number")
        self._rows = int(self._parts["x"].shape[0])
        if not self._rows:
            raise ValueError("x: expected at least one row, got none")
        for name, part in self._parts.items():
            if part.shape[0] != self._rows:
                raise ValueError(f"{name} has {part.shape[0]} rows, but x has {self._rows}")
        self.batch_size = _checks.integer("batch_size", batch_size, at_least=1)
        self.shuffle = _checks.flag("shuffle", shuffle)
        self.drop_last = _checks.flag("drop_last", drop_last)
        self.seed = seeds.current().next_seed() if seed is None else seeds.check_seed(seed)
        self.epoch = 0
        if not len(self):
            raise ValueError(
                f"batch_size: expected at most {self._rows}, the number of rows, with"
                f" drop_last=True, got {self.batch_size}"
            )

    def __len__(self) -> int:
        whole, rest = divmod(self._rows, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        epoch, self.epoch = _checks.integer("epoch", self.epoch, at_least=0), self.epoch + 1
        return self._pass(epoch)

    def _pass(self, epoch: int) -> Iterator[tuple[Array, ...]]:
        # A single batch has all rows, as they come, also in `fit`.
        order = None
        if self.shuffle and self._rows > self.batch_size:
            order = _core.shuffled_rows(self._rows, self.seed, epoch)
        for first in range(0, len(self) * self.batch_size, self.batch_size):
            own: Any = slice(first, min(first + self.batch_size, self._rows))
            if order is not None:
                own = order[own]
            yield tuple(_rows.take(part, own, name) for name, part in self._parts.items())

    def __repr__(self) -> str:
        return (
            f"RowBatches({self._rows} rows, batch_size={self.batch_size}, shuffle={self.shuffle},"
            f" drop_last={self.drop_last}): {len(self)} of {', '.join(self._parts)}"
        )
