"""The progress of a training, as one line that changes in place, or as a few plain lines."""

import contextlib
import sys
import time
from typing import Any, TextIO

from fastmlp import _checks


def progress_stream(progress: Any) -> TextIO | None:
    """Where to show progress: nowhere for False, and for "auto" unless stderr is a terminal."""
    if progress is not True and progress is not False and progress != "auto":
        raise ValueError(f'progress: expected "auto", True or False, got {_checks.show(progress)}')
    stream = sys.stderr  # None where a program has no console, or anything that has a write()
    wanted = progress is True or (progress == "auto" and _is_live(stream))
    return stream if wanted and stream is not None else None


def _is_live(stream: Any) -> bool:
    """Whether a line there can change in place: in terminals and notebooks."""
    try:
        return type(stream).__module__.startswith("ipykernel.") or bool(stream.isatty())
    except Exception:  # a logger's stream, a closed one, none
        return False


class Progress:
    """Shows how far a training has come. Used as a context, it ends the line however that is left.

    Parameters
    ----------
    stream : TextIO
        Where to write.
    first, last : int
        The epochs to come are first, ..., last - 1.
    """

    INTERVAL = 0.1  # seconds between changes of the line

    def __init__(self, stream: TextIO, first: int, last: int) -> None:
        self.stream = stream
        self.first, self.last = first, last
        self.in_place = _is_live(stream)
        self.start = self.shown_at = time.monotonic()
        self.next_plain = self._plain_after(first)
        self.width = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self.in_place and self.width:
            self._write("\n")

    def poll(self, epoch: int, loss: float) -> None:
        """Show that `epoch` is running, unless something was shown a moment ago."""
        now = time.monotonic()
        if self.in_place:
            if now - self.shown_at >= self.INTERVAL:
                self.shown_at = now
                self._show(epoch, loss, self._left(epoch, now))
        elif epoch >= self.next_plain:
            self.next_plain = self._plain_after(epoch)
            self._show(epoch, loss, self._left(epoch, now))

    def finish(self, epochs: int, loss: float) -> None:
        """Show the end: the number of epochs done, and the last one's loss."""
        self._show(epochs, loss, f"{time.monotonic() - self.start:.1f} s")

    def _plain_after(self, epoch: int) -> int:
        return epoch + max(1, (self.last - self.first) // 10)

    def _left(self, epoch: int, now: float) -> str:
        done = epoch - self.first
        if done < 1:
            return ""
        return f"{(now - self.start) * (self.last - epoch) / done:.1f} s left"

    def _show(self, epoch: int, loss: float, time_text: str) -> None:
        text = f"epoch {epoch}/{self.last}  loss {loss:.6g}  {time_text}".rstrip()
        if self.in_place:
            self._write("\r" + text.ljust(self.width))
            self.width = len(text)
        else:
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        """Progress is no reason to end a training: a stream that fails is left alone."""
        with contextlib.suppress(Exception):
            self.stream.write(text)
            self.stream.flush()
