"""Curves that grow while a training runs, in a notebook: `fit(progress="plot")`."""

import contextlib
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fastmlp import pages
from fastmlp._types import Floats


class Measured(Protocol):
    """What a training has measured so far."""

    @property
    def loss(self) -> Floats: ...
    @property
    def validation_loss(self) -> Floats: ...


PAGE = object()  # where progress is shown in a notebook, in the place of a stream


def in_notebook() -> bool:
    """Whether there is a page that can show pictures: that of a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class Curves:
    """Shows the losses of a training, as `Progress` does with a line of text.

    Parameters
    ----------
    history : callable
        Gives what there is of the trainer's `History`.
    first, last : int
        The epochs to come are first, ..., last - 1.
    """

    INTERVAL = 0.5  # seconds between two pictures, at least
    SHARE = 0.02  # of the time may be spent on pictures

    def __init__(self, history: Callable[[], Measured], first: int, last: int) -> None:
        self.history = history
        self.first, self.last = first, last
        self.start = time.monotonic()
        self.next = self.start + self.INTERVAL
        self._handle: Any = None

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:  # what there is of a training that was interrupted
            self._show("stopped")

    def poll(self, epoch: int, loss: float) -> None:
        """Show how far it has come, unless that was shown a moment ago."""
        now = time.monotonic()
        if now < self.next:
            return
        self._show(f"loss {loss:.6g}, {self._left(epoch, now)}")
        done = time.monotonic()
        self.next = done + max(self.INTERVAL, (done - now) / self.SHARE)

    def finish(self, epochs: int, loss: float) -> None:
        """Show the end: the number of epochs done, and the last one's loss."""
        self.last = epochs
        self._show(f"loss {loss:.6g}, {time.monotonic() - self.start:.1f} s")

    def _left(self, epoch: int, now: float) -> str:
        done = epoch - self.first
        if done < 1:
            return "in the first epoch"
        return f"{(now - self.start) * (self.last - epoch) / done:.0f} s left"

    def _show(self, about: str) -> None:
        """A new picture in the place of the last. A page that is gone is no reason to end."""
        history = self.history()
        lines = {"training": history.loss}
        if np.isfinite(validation := history.validation_loss).any():
            lines["validation"] = validation
        title = f"epoch {len(lines['training'])} of {self.last}, {about}"
        with contextlib.suppress(Exception):
            ipython: Any = importlib.import_module("IPython.display")
            page = ipython.HTML(pages.chart(lines, self.last, title))
            if self._handle is None:
                self._handle = ipython.display(page, display_id=True)
            else:
                self._handle.update(page)
