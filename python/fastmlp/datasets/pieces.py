"""Batches of a data set that is read piece by piece, by one process or by several."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmlp import _checks, seeds

Arrays = tuple[npt.NDArray[Any], ...]


class PieceBatches:
    """An iterable of batches (x, t), or (x, t, sample_weight), again in each pass.

    A subclass reads. One piece and one batch are in memory at a time.

    Attributes
    ----------
    rows : int
        Of this process's part: all rows are shared evenly, in their order.
    epoch : int
        The number of the next pass, which can be set: it decides on the order of a shuffled one.
    """

    def __init__(
        self,
        sizes: list[int],
        batch_size: int,
        rank: int,
        world_size: int,
        shuffle: bool,
        seed: int | None,
    ) -> None:
        self.batch_size = _checks.integer("batch_size", batch_size, at_least=1)
        world_size = _checks.integer("world_size", world_size, at_least=1)
        rank = _checks.integer("rank", rank, at_least=0, below=world_size)
        self.shuffle = _checks.flag("shuffle", shuffle)
        self.seed = seeds.current().next_seed() if seed is None else seeds.check_seed(seed)
        self.epoch = 0
        total = sum(sizes)
        if total < world_size:
            raise ValueError(
                f"world_size: expected at most {total}, the number of rows, got {world_size}"
            )
        first, end = total * rank // world_size, total * (rank + 1) // world_size
        self.rows = end - first
        # Of each piece that has some of these rows: its number, and which of its own rows they are.
        self._pieces: list[tuple[int, int, int]] = []
        at = 0
        for number, size in enumerate(sizes):
            own = max(first - at, 0), min(end - at, size)
            if own[0] < own[1]:
                self._pieces.append((number, *own))
            at += size

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[Arrays]:
        epoch, self.epoch = _checks.integer("epoch", self.epoch, at_least=0), self.epoch + 1
        return self._pass(epoch)

    def _read(self, number: int, first: int, end: int) -> Iterator[Arrays]:
        """Some rows of a piece, in parts that fit into memory."""
        raise NotImplementedError

    def _pass(self, epoch: int) -> Iterator[Arrays]:
        rng = np.random.default_rng([self.seed, epoch])
        pieces = self._pieces
        if self.shuffle:
            pieces = [pieces[i] for i in rng.permutation(len(pieces))]
        rest: Arrays | None = None
        for piece in pieces:
            for arrays in self._read(*piece):
                if self.shuffle:
                    order = rng.permutation(len(arrays[0]))
                    arrays = tuple(array[order] for array in arrays)
                if rest is not None:
                    arrays = tuple(map(np.concatenate, zip(rest, arrays, strict=True)))
                whole = len(arrays[0]) // self.batch_size * self.batch_size
                for first in range(0, whole, self.batch_size):
                    yield tuple(array[first : first + self.batch_size] for array in arrays)
                rest = tuple(array[whole:].copy() for array in arrays)
        if rest is not None and len(rest[0]):
            yield rest

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.rows} rows in {len(self._pieces)} pieces,"
            f" batch_size={self.batch_size}, shuffle={self.shuffle})"
        )
