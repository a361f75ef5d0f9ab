"""Inputs of narrow numbers beside float32: python bench/narrow.py [--rounds N] [--rows N]

Times of an epoch of 3072-512-10 in batches of 64, as on CIFAR-10, and of a prediction, and how much
the process's memory grows by them, for the same numbers as float32, uint8 and float16, in memory,
and as a file that NumPy maps. The forms are timed in turns; the table shows medians.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np

import fastmlp as fm
from machine import machine
from worker import settle

SIZES, BATCH = (3072, 512, 10), 64


@contextmanager
def forms(rows: int) -> Iterator[dict[str, Any]]:
    """The same numbers, in several forms."""
    x = np.random.default_rng(0).integers(0, 256, (rows, SIZES[0]), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.npy")
        np.save(path, x.astype("float32"))
        yield {
            "float32": x.astype("float32"),
            "uint8": x,
            "float16": x.astype("float16"),
            "float32 in a file": np.load(path, mmap_mode="r"),
        }


def seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    t = np.random.default_rng(1).integers(0, SIZES[-1], options.rows)
    model = fm.MLP(SIZES, seed=0)
    trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=1e-6))
    print(machine())
    with forms(options.rows) as tables:
        fits: dict[str, list[float]] = {name: [] for name in tables}
        predictions: dict[str, list[float]] = {name: [] for name in tables}
        for turn in range(options.rounds + 1):
            for name, x in tables.items():
                settle()
                fit = seconds(lambda x=x: trainer.fit(x, t, 1, BATCH, seed=0))
                settle()
                prediction = seconds(lambda x=x: model.predict(x))
                if turn:  # the first one warms up
                    fits[name].append(fit)
                    predictions[name].append(prediction)
        print(f"\n| {options.rows} rows | MB | epoch, ms | beside float32 | predict, ms |")
        print("|---|---|---|---|---|")
        base = median(fits["float32"])
        for name, x in tables.items():
            own = median(fits[name])
            print(
                f"| {name} | {x.nbytes / 1e6:.0f} | {own * 1e3:.0f} | {own / base:.3f} |"
                f" {median(predictions[name]) * 1e3:.0f} |"
            )


if __name__ == "__main__":
    main()
