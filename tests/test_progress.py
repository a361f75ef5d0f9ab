"""What a training shows while it runs: a bar of tqdm's or a line, in terminals of any width."""

import io
import os
import re
import struct
import subprocess
import sys
import time
from typing import Any

import pytest

import fastmlp as fm
from fastmlp import progress
from fastmlp.progress import Bar, Progress, make_progress


class Terminal(io.StringIO):
    """A stream that is one, with so many columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(progress, "_width", lambda stream: 100)
    return Terminal()


@pytest.fixture
def no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


def _shown(line: Progress, epochs: int = 3) -> str:
    line.INTERVAL = 0.0
    with line:
        for epoch in range(line.first, line.first + epochs):
            line.poll(epoch, 1.5 / (epoch + 1))
            time.sleep(0.002)
        line.finish(line.first + epochs, 0.125)
    assert isinstance(line.stream, io.StringIO)
    return line.stream.getvalue()


def test_bar(wide: Terminal) -> None:
    """Epochs, losses, the rate and the time left."""
    before = pytest.importorskip("tqdm").tqdm.monitor  # others may have started one
    line = make_progress(wide, 10, 20, lambda: 0.25)
    assert isinstance(line, Bar)
    shown = _shown(line)
    last = shown.rstrip("\n").rpartition("\r")[2]
    assert "13/20" in last
    assert "loss 0.125, validation 0.25" in last
    assert re.search(r"<00:0\d, +[\d.]+epoch/s", last)
    assert shown.endswith("\n")
    assert line.bar.monitor is before  # no thread of ours


def test_short_trainings_have_the_line(wide: Terminal) -> None:
    """Without an import of tqdm."""
    line = make_progress(wide, 0, 10)
    with line:
        line.poll(3, 1.0)
        line.finish(10, 0.5)
    assert re.fullmatch(r"\repoch 10/10  loss 0.5  0.0 s  \S+ epochs/s\n", wide.getvalue())


def test_a_tqdm_that_does_not_work(wide: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert "epoch 3/10  loss 0.125" in _shown(make_progress(wide, 0, 10))


def test_line(wide: Terminal, no_tqdm: None) -> None:
    line = make_progress(wide, 10, 20, lambda: 0.25)
    assert type(line) is Progress
    *_, before, last = _shown(line).rstrip().split("\r")
    assert re.fullmatch(
        r"epoch 12/20  loss 0.115385  validation 0.25  \d+\.\d s left  \S+ epochs/s", before.strip()
    )
    assert re.match(r"epoch 13/20  loss 0.125  validation 0.25  \d+\.\d s", last)


@pytest.mark.parametrize("columns", [1, 5, 19, 40, 60, 80])
def test_narrow_terminals(columns: int, monkeypatch: pytest.MonkeyPatch, no_tqdm: None) -> None:
    """The line is cut at words, so that it never wraps, also where the terminal has shrunk."""
    monkeypatch.setattr(progress, "_width", lambda stream: 100)
    line = make_progress(Terminal(), 0, 100, lambda: 0.25)
    line._show(34, 0.5, "1.0 s left")
    monkeypatch.setattr(progress, "_width", lambda stream: columns)
    lines = _shown(line).split("\r")
    assert max(len(shown.rstrip("\n")) for shown in lines[2:]) <= columns
    last = lines[-1].strip()
    if columns == 19:
        assert last == "3/100  loss 0.125"
    if columns > 50:
        assert last.startswith("epoch 3/100  loss 0.125  validation 0.25")


def test_narrow_terminals_have_fewer_digits(monkeypatch: pytest.MonkeyPatch, no_tqdm: None) -> None:
    monkeypatch.setattr(progress, "_width", lambda stream: 19)  # of 20 columns
    line = make_progress(Terminal(), 0, 60)
    line._show(23, 0.186423, "")
    assert line.stream.getvalue().strip() == "23/60  loss 0.186"


def test_narrow_terminals_have_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_width", lambda stream: 19)
    assert type(make_progress(Terminal(), 0, 10)) is Progress


def test_streams_that_nobody_looks_at(capsys: Any) -> None:
    """A few plain lines on demand, and no bar."""
    line = make_progress(io.StringIO(), 0, 100)
    assert type(line) is Progress
    assert "\r" not in _shown(line, 30)
    assert progress.progress_stream("auto") is None


def test_streams_that_fail(wide: Terminal) -> None:
    """Are no reason to end a training."""
    for line in (make_progress(wide, 0, 10), Progress(wide, 0, 10)):
        line.INTERVAL = 0.0
        with line:
            line.poll(0, 1.0)
            wide.close()
            line.poll(1, 1.0)
            line.finish(2, 1.0)
        wide = Terminal()


def test_validation_losses_of_this_fit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch without validation shows none."""
    x = [[0.0], [1.0]]
    model = fm.MLP([1, 2, 1], seed=0)
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    assert trainer._history.last_validation_loss is None
    history = trainer.fit(x, x, max_epoch=2, validation_data=(x, x))
    assert trainer._history.last_validation_loss == history.validation_loss[-1]
    trainer.fit(x, x, max_epoch=1)
    assert trainer._history.last_validation_loss is None


def test_what_is_shown_changes_a_few_times_a_second(wide: Terminal) -> None:
    """However often somebody asks."""
    pytest.importorskip("tqdm")
    line = make_progress(wide, 0, 10**6, lambda: 0.25)
    with line:
        begin = time.monotonic()
        epoch = 0
        while time.monotonic() - begin < 0.7:
            line.poll(epoch := epoch + 1, 0.5)
        seconds = time.monotonic() - begin
    assert wide.getvalue().count("\r") <= 3 + 2 * seconds / line.INTERVAL


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [20, 100])
def test_in_a_real_terminal(columns: int) -> None:
    """Quietly where stderr is none, else one line in place that is not wrapped."""
    import fcntl
    import pty
    import termios

    code = (
        "import fastmlp as fm, numpy as np\n"
        "model, x = fm.MLP([2, 3, 1], seed=0), np.ones((64, 2))\n"
        "trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())\n"
        "trainer.fit(x, x[:, :1], max_epoch=60_000)"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    done = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # its end
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert done.wait() == 0
    lines = [line.rstrip() for line in re.split(r"[\r\n]", text.decode()) if line.strip()]
    assert lines
    assert max(map(len, lines)) <= columns
    assert "60000/60000" in lines[-1]
    assert text.count(b"\n") <= 2
