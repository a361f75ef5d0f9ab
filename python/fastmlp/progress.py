"""The progress of a training: tqdm's bar where that is installed, else a line of our own.

Either changes in place in terminals and notebooks; elsewhere there are a few plain lines, and those
only on demand. The native training asks for it every 50 ms at most, and what is shown changes less
often than that, so that nobody waits for it.
"""

import contextlib
import importlib.util
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, TextIO

from fastmlp import _checks, live

NARROW = 50  # columns of a terminal, below which words are left out


def progress_stream(progress: Any) -> Any:
    """Where to show progress: nowhere for False, and for "auto" unless stderr is a terminal.

    For "plot" it is `live.PAGE` in a notebook; elsewhere that is True.
    """
    if progress is not True and progress is not False and progress not in ("auto", "plot"):
        expected = '"auto", "plot", True or False'
        raise ValueError(f"progress: expected {expected}, got {_checks.show(progress)}")
    if progress == "plot":
        if live.in_notebook():
            return live.PAGE
        progress = True
    stream = sys.stderr  # None where a program has no console, or anything that has a write()
    wanted = progress is True or (progress == "auto" and _is_live(stream))
    return stream if wanted and stream is not None else None


def make_progress(
    stream: TextIO,
    first: int,
    last: int,
    validation_loss: Callable[[], float | None] = lambda: None,
    unit: str = "epoch",
) -> "Progress":
    """A bar or a line, whatever can be had.

    Parameters
    ----------
    stream : TextIO
        Where to write.
    first, last : int
        The epochs to come are first, ..., last - 1.
    validation_loss : callable
        The last one that there is, or None.
    unit : str
        What is counted, if not epochs.
    """
    wide = _is_live(stream) and _width(stream) >= NARROW
    kind = Bar if wide and _has_tqdm() else Progress
    return kind(stream, first, last, validation_loss, unit)


def _has_tqdm() -> bool:
    try:
        return importlib.util.find_spec("tqdm") is not None
    except Exception:  # somebody has put None in its place
        return False


def _is_live(stream: Any) -> bool:
    """Whether a line there can change in place: in terminals and notebooks."""
    try:
        return type(stream).__module__.startswith("ipykernel.") or bool(stream.isatty())
    except Exception:  # a logger's stream, a closed one, none
        return False


def _width(stream: Any) -> int:
    """The columns that a line may have without being wrapped."""
    try:
        return os.get_terminal_size(stream.fileno()).columns - 1
    except Exception:  # no terminal
        return 200


class Progress:
    """A line of our own. Used as a context, it ends the line however that is left.

    The parameters are those of `make_progress`.
    """

    INTERVAL = 0.1  # seconds between changes of the line

    def __init__(
        self,
        stream: TextIO,
        first: int,
        last: int,
        validation_loss: Callable[[], float | None] = lambda: None,
        unit: str = "epoch",
    ) -> None:
        self.unit = unit
        self.stream = stream
        self.first, self.last = first, last
        self.validation_loss = validation_loss
        self.in_place = _is_live(stream)
        self.start = self.shown_at = time.monotonic()
        self.next_plain = self._plain_after(first)
        self.width = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self.in_place and self.width:
            self._write("\n")

    def poll(self, epoch: int, loss: float | None) -> None:
        """Show that `epoch` is running, unless something was shown a moment ago."""
        now = time.monotonic()
        if self.in_place:
            if now - self.shown_at >= self.INTERVAL:
                self.shown_at = now
                self._show(epoch, loss, self._left(epoch, now))
        elif epoch >= self.next_plain:
            self.next_plain = self._plain_after(epoch)
            self._show(epoch, loss, self._left(epoch, now))

    def finish(self, epochs: int, loss: float | None) -> None:
        """Show the end: the number of epochs done, and the last one's loss."""
        self._show(epochs, loss, f"{time.monotonic() - self.start:.1f} s")

    def _plain_after(self, epoch: int) -> int:
        return epoch + max(1, (self.last - self.first) // 10)

    def _left(self, epoch: int, now: float) -> str:
        done = epoch - self.first
        if done < 1:
            return ""
        return f"{(now - self.start) * (self.last - epoch) / done:.1f} s left"

    def _show(self, epoch: int, loss: float | None, time_text: str) -> None:
        if not self.in_place:
            self._write("  ".join(self._parts(epoch, loss, time_text)) + "\n")
            return
        width = _width(self.stream)
        text, *more = self._parts(epoch, loss, time_text, 6 if width >= NARROW else 3)
        if width < NARROW:
            text = text.removeprefix(f"{self.unit} ")
        for part in more:  # the first ones that fit, none in halves
            if len(text) + 2 + len(part) > width:
                break
            text += "  " + part
        text = text[:width]
        self._write("\r" + text.ljust(min(self.width, width)))
        self.width = len(text)

    def _parts(self, epoch: int, loss: float | None, time_text: str, digits: int = 6) -> list[str]:
        parts = [f"{self.unit} {epoch}/{self.last}"]
        if loss is not None:
            parts.append(f"loss {loss:.{digits}g}")
        if (validation := self.validation_loss()) is not None:
            parts.append(f"validation {validation:.{digits}g}")
        if time_text:
            parts.append(time_text)
        seconds, done = time.monotonic() - self.start, epoch - self.first
        if done > 0 and seconds > 0:
            parts.append(f"{done / seconds:.3g} {self.unit}s/s")
        return parts

    def _write(self, text: str) -> None:
        """Progress is no reason to end a training: a stream that fails is left alone."""
        with contextlib.suppress(Exception):
            self.stream.write(text)
            self.stream.flush()


class Bar(Progress):
    """tqdm's bar, in a terminal or as a notebook's widget, once a training has taken a moment.

    One that is shorter does not wait for tqdm's import: it has the line. So has one where tqdm is
    there, but does not work.
    """

    INTERVAL = 0.2  # of a widget, which takes longer
    bar: Any = None

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if self.bar:
            with contextlib.suppress(Exception):
                self.bar.close()

    def poll(self, epoch: int, loss: float | None) -> None:
        """Likewise."""
        if self.bar is None and time.monotonic() - self.shown_at >= self.INTERVAL:
            self.bar = False
            with contextlib.suppress(Exception):
                self.bar = self._make()
        super().poll(epoch, loss)

    def finish(self, epochs: int, loss: float | None) -> None:
        """Likewise."""
        super().finish(epochs, loss)
        if self.bar:
            with contextlib.suppress(Exception):
                self.bar.refresh()

    def _make(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a notebook without widgets
            from tqdm.auto import tqdm

        # Its thread, which wakes bars that nobody updates, is not needed and outlives the training.
        quiet = type("tqdm", (tqdm,), {"monitor_interval": 0})
        bar: Any = quiet(
            initial=self.first,
            total=self.last,
            unit=self.unit,
            file=self.stream,
            mininterval=self.INTERVAL / 2,  # it is asked less often than that
            miniters=0,  # losses change within an epoch, too
            smoothing=0.05,
            dynamic_ncols=True,
        )
        bar.start_t -= time.monotonic() - self.start
        return bar

    def _show(self, epoch: int, loss: float | None, time_text: str) -> None:
        if not self.bar:
            super()._show(epoch, loss, time_text)
            return
        told = [] if loss is None else [f"loss {loss:.4g}"]
        if (validation := self.validation_loss()) is not None:
            told.append(f"validation {validation:.4g}")
        with contextlib.suppress(Exception):
            self.bar.set_postfix_str(", ".join(told), refresh=False)
            self.bar.update(epoch - self.bar.n)
