"""What fastmlp costs besides the time of a step: memory of `fit`, its import, a call of `fit`.

python bench/costs.py [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import report

MIB = 1 << 20
SIZES, BATCH, ROWS = (256, 512, 512, 10), 128, 200_000
FITS = {  # optimizer, targets, shuffled
    "fit, SGD, in order": ("SGD", "values", False),
    "fit, SGD, shuffled": ("SGD", "classes", True),
    "fit, Adam, shuffled": ("Adam", "values", True),
}


# --- in a process of its own: each prints one JSON value


def peak_bytes() -> int:
    """The most memory that this process has held at once."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def _needed_bytes(optimizer: str, targets: str, shuffled: bool) -> int:
    """The model, its gradients or optimizer state, and the buffers of one batch."""
    parameters = sum((a + 1) * b for a, b in pairwise(SIZES))
    states = {"SGD": 0, "Adam": 2}[optimizer]
    activations = BATCH * sum(SIZES[1:])
    gradients = 2 * BATCH * max(SIZES)
    floats = parameters * (2 + states) + activations + gradients
    if not shuffled:
        return 4 * floats
    columns = SIZES[0] + (SIZES[-1] if targets == "values" else 2)
    return 4 * (floats + BATCH * columns) + 8 * ROWS  # the rows of a batch, and their order


def fit_memory(name: str) -> dict[str, int]:
    import numpy as np

    import fastmlp as fm

    optimizer, targets, shuffled = FITS[name]

    def fit(sizes: tuple[int, ...], x: Any, t: Any) -> None:
        model = fm.MLP(sizes, seed=0)
        loss_fn = fm.CrossEntropyLoss() if targets == "classes" else fm.MSELoss()
        trainer = fm.Trainer(model, getattr(fm, optimizer)(model.parameters(), lr=1e-3), loss_fn)
        trainer.fit(x, t, 2, BATCH, shuffle=shuffled, seed=0, progress=False)

    def data(rows: int, sizes: tuple[int, ...]) -> tuple[Any, Any]:
        """Every page touched, and no copies on the way."""
        x = np.full((rows, sizes[0]), 0.5, np.float32)
        if targets == "classes":
            return x, np.ones(rows, np.int64)
        return x, np.full((rows, sizes[-1]), 0.5, np.float32)

    fit((3, 70, 90, 2), *data(300, (3, 70, 90, 2)))  # starts threads and loads code
    x, t = data(ROWS, SIZES)
    before = peak_bytes()
    fit(SIZES, x, t)
    return {
        "data": x.nbytes + t.nbytes,
        "beyond": peak_bytes() - before,
        "needed": _needed_bytes(*FITS[name]),
    }


def import_seconds() -> list[float]:
    """That of NumPy, and of fastmlp after it."""
    times = [time.perf_counter()]
    import numpy  # noqa: F401

    times.append(time.perf_counter())
    import fastmlp  # noqa: F401

    times.append(time.perf_counter())
    return [times[1] - times[0], times[2] - times[1]]


def fit_call_us() -> float:
    """A call of `fit` with one step of 2-10-3 on 30 rows."""
    import numpy as np

    import fastmlp as fm

    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(30, 2)).astype("float32"), rng.integers(0, 3, 30)
    model = fm.MLP([2, 10, 3], "sigmoid", seed=0)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.CrossEntropyLoss())
    times = []
    for _ in range(3000):
        start = time.perf_counter()
        trainer.fit(x, t, max_epoch=1, batch_size=None)
        times.append(time.perf_counter() - start)
    return median(times) * 1e6


# --- the table


def _measure(expression: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", f"import costs, json; print(json.dumps(costs.{expression}))"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> dict[str, Any]:
    imports = [_measure("import_seconds()") for _ in range(9)]
    return {
        "memory": {name: _measure(f"fit_memory({name!r})") for name in FITS},
        "import_seconds": {
            "numpy": median(numpy for numpy, _ in imports),
            "fastmlp": median(ours for _, ours in imports),
            "both": median(map(sum, imports)),
        },
        "fit_call_us": median(_measure("fit_call_us()") for _ in range(3)),
    }


def table(costs: dict[str, Any]) -> str:
    sizes = "-".join(map(str, SIZES))
    rows = [[f"peak memory, MiB ({sizes}, batch {BATCH})", "data set", "beyond it", "needed"]]
    for name, memory in costs["memory"].items():
        rows.append([name, *(f"{memory[k] / MIB:.1f}" for k in ("data", "beyond", "needed"))])
    seconds = costs["import_seconds"]
    return "\n".join([
        report.table(rows),
        "needed: the model, its gradients, optimizer state, one batch, and the order of the rows;\n"
        "kernels pack blocks of matrices into some MiB beyond that, whatever the data",
        "",
        f"import fastmlp: {seconds['both']:.3f} s in a fresh process, of which "
        f"{seconds['numpy']:.3f} s is NumPy's",
        f"a call of fit with one step of 2-10-3, batch 30: {costs['fit_call_us']:.1f} us",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    args = parser.parse_args()
    costs = measure()
    print(table(costs))
    if args.json:
        args.json.write_text(json.dumps(costs, indent=1) + "\n")


if __name__ == "__main__":
    main()
