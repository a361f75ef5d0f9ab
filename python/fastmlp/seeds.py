"""Where random numbers start: a seed, and a stream number for each thing that draws from it.

The core's generator is counter-based, so a tensor's values depend on (seed, stream) alone: not on
threads, and not on how much other tensors have drawn.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, local

from fastmlp import _checks

SEED_LIMIT = 2**64


class Generator:
    """Hands out the streams of one seed, one after another."""

    def __init__(self, seed: int, stream: int = 0) -> None:
        self.seed = seed
        self._stream = stream
        self._lock = Lock()

    def next_stream(self) -> tuple[int, int]:
        """The seed and a stream that nothing else uses."""
        with self._lock:
            stream, self._stream = self._stream, self._stream + 1
        return self.seed, stream

    def state(self) -> dict[str, int]:
        """From what `Generator(**state)` goes on."""
        return {"seed": self.seed, "stream": self._stream}

    def next_seed(self) -> int:
        """A new 64-bit seed: the next stream's number, mixed (SplitMix64, Steele et al., 2014)."""
        seed, stream = self.next_stream()
        z = (seed + (stream + 1) * 0x9E3779B97F4A7C15) % SEED_LIMIT
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % SEED_LIMIT
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % SEED_LIMIT
        return z ^ (z >> 31)


class _Override(local):
    generator: Generator | None = None


def _fresh() -> Generator:
    return Generator(int.from_bytes(os.urandom(8), "little"))


_global = _fresh()
_is_seeded = False
_override = _Override()


def _after_fork() -> None:
    """A forked process draws its own numbers, unless `manual_seed` has said which."""
    global _global
    # Not the same object: another thread of the parent may hold its lock.
    _global = Generator(**_global.state()) if _is_seeded else _fresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def check_seed(seed: int) -> int:
    """The seed as an int from 0 to 2^64 - 1."""
    return _checks.integer("seed", seed, at_least=0, below=SEED_LIMIT)


def manual_seed(seed: int) -> None:
    """Seed the generator behind layer initialisation, dropout and `fit` without a seed.

    A process that is forked afterwards goes on from the same state; without a seed, it draws
    numbers of its own.

    Parameters
    ----------
    seed : int
        From 0 to 2^64 - 1.
    """
    global _global, _is_seeded
    _global = Generator(check_seed(seed))
    _is_seeded = True


def current() -> Generator:
    """The generator to draw from: the global one, unless `seeded` replaces it in this thread."""
    return _override.generator or _global


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from a generator of one's own within the block; None leaves things as they are."""
    if seed is None:
        yield
        return
    previous = _override.generator
    _override.generator = Generator(check_seed(seed))
    try:
        yield
    finally:
        _override.generator = previous
