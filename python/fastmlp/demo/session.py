"""What every demo shares: its options, timed training, tables of losses, and pictures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import fastmlp as fm
from fastmlp import plot as pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Session:
    """One run of a demo.

    Attributes
    ----------
    name : str
        The demo's name, with which its pictures' names begin.
    epochs, seed : int, optional
        Replace the demo's own.
    out : Path
        The folder for pictures; it exists.
    plot : bool
        Whether to draw pictures.
    data : Path, optional
        Where the data are, for demos that need to be told.
    """

    name: str
    epochs: int | None = None
    seed: int | None = None
    out: Path = Path()
    plot: bool = True
    data: Path | None = None
    timings: list[str] = field(default_factory=list)

    def seeded(self, default: int) -> int:
        """Seed the global generator by the user's seed, or `default`, and return that seed."""
        seed = default if self.seed is None else self.seed
        fm.manual_seed(seed)
        return seed

    def begin(self, what: str) -> None:
        """Say what the demo does."""
        print(f"{self.name}: {what}\n")

    def fit(
        self, trainer: fm.Trainer, x: Any, t: Any, *, epochs: int, **options: Any
    ) -> fm.History:
        """Train for the user's number of epochs, or `epochs`; `end` prints the time taken."""
        epochs = epochs if self.epochs is None else self.epochs
        start = time.perf_counter()
        history = trainer.fit(x, t, max_epoch=epochs, **options)
        seconds = time.perf_counter() - start
        each = _duration(seconds / epochs)
        self.timings.append(f"{epochs} epochs took {_duration(seconds)}, {each} an epoch")
        return history

    def end(self, *results: str) -> None:
        """Print what has come of it, and how long the trainings took."""
        print("\n" + "\n".join([*results, *self.timings]))

    def save(self, figure: "Figure", what: str) -> None:
        """Write a picture as NAME-WHAT.png and say so."""
        print("saved", pictures.save(figure, self.out / f"{self.name}-{what}.png"))

    def save_losses(self, history: fm.History, title: str, *, log: bool = False) -> None:
        """Draw and save the loss of every epoch."""
        figure, (ax,) = pictures.figure()
        pictures.loss(history, ax, log=log)
        ax.set_title(title)
        self.save(figure, "loss")


def _duration(seconds: float) -> str:
    for unit, length in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def marks(count: int, every: int, *, first: int = 0) -> list[int]:
    """Return the numbers from `first` to report: the first, the multiples of `every`, the last."""
    last = first + count - 1
    regular = (number for number in range(first, last + 1) if number % every == 0)
    return sorted({first, last, *regular})


def print_losses(
    losses: npt.NDArray[np.float64], *, steps: Sequence[int] | None = None, word: str = "epoch"
) -> None:
    """Print some ten of the losses, the first and the last among them, one a line.

    Parameters
    ----------
    losses : ndarray
    steps : sequence of int, optional
        What to call each; by default numbers from 0.
    word : str
        What is counted.
    """
    shown = marks(len(losses), max(1, len(losses) // 10))
    names = list(range(len(losses))) if steps is None else list(steps)
    width = len(str(names[-1]))
    for mark in shown:
        print(f"{word} {names[mark]:{width}}  loss {losses[mark]:.7f}")


def accuracy(predicted: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """Return the share of equal entries of two arrays of the same shape."""
    return float(np.mean(predicted == labels))
