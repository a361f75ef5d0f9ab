"""Processes that save until they are killed; see test_files_faults.py."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

import fastmlp as fm
from fastmlp import writing

SIZE = 300  # of a file of 360 kB


def model_of(number: int) -> fm.Linear:
    model = fm.Linear(SIZE, SIZE)
    fill(model, number)
    return model


def fill(model: fm.Linear, number: int) -> None:
    model.weight.copy_(np.full((SIZE, SIZE), number))
    model.bias.copy_(np.full(SIZE, number))


def is_whole(path: Path) -> bool:
    """Whether all values are those of one save."""
    values = [np.asarray(value) for value in fm.load(path).state_dict().values()]
    return len({float(number) for value in values for number in (value.min(), value.max())}) == 1


def save_forever(path: Path, ready: int) -> None:
    """In a process of its own, which tells when the first file is there."""
    model, number = model_of(0), 0
    while True:
        fill(model, number := number + 1)
        fm.save(model, path)
        if number == 1:
            os.write(ready, b"x")


def start(path: Path) -> int:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            save_forever(path, writer)
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"x", "the child has ended"
    os.close(reader)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def main(folder: str, count: int, named: bool) -> None:
    """Kill one after another, at any moment; `named`: on a file system without unnamed files."""
    if named:
        without_unnamed_files()
    rng, path, leftovers = random.Random(count), Path(folder, "model"), 0
    fm.save(model_of(0), path)
    for _ in range(count):
        child = start(path)
        time.sleep(rng.expovariate(1 / 0.004))
        kill(child)
        assert is_whole(path)
        leftovers += len(os.listdir(folder)) - 1
        fm.save(model_of(1), path)
        assert os.listdir(folder) == ["model"]
    print(count, "killed,", leftovers, "leftovers")


def without_unnamed_files() -> None:
    opened = os.open

    def open_named(path: str, flags: int, *more: int, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "not supported")
        return opened(path, flags, *more, **options)

    os.open = open_named  # type: ignore[assignment]
    writing._PATIENCE = -1.0  # the killed one's is of this moment


def together(folder: str, seconds: float) -> None:
    """Several processes save the same file, while this one reads it."""
    path = Path(folder, "model")
    children = [start(path) for _ in range(3)]
    reads, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        assert is_whole(path)
        reads += 1
    for child in children:
        kill(child)
    fm.save(model_of(1), path)
    assert os.listdir(folder) == ["model"]
    assert reads > 10
    print(reads, "reads")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3)
