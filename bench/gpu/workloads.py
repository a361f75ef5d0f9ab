"""What is measured on a GPU: workloads of the CPU's benchmark, larger ones, and precisions."""

from collections.abc import Iterable
from dataclasses import replace

from shapes import PREDICTION, TRAINING, Prediction, Training, Workload

SUITES = ("tiny", "medium", "large", "predict", "ensemble")
PRECISIONS = ("float32", "tf32", "bf16")
BY_PRECISION = ("medium", "large")  # suites whose products are long enough for it to matter
TOLERANCE = {"float32": 0.0, "tf32": 5e-4, "bf16": 1e-3}  # of the loss, where a workload's is less
LONGER = 10  # a GPU does as many more updates before it goes back to the start
MODELS = 4096

_TRAINING = (
    *(w for w in TRAINING if w.name != "cifar2-row"),
    Training(
        "4096-4096-4096", "large", (4096, 4096, 4096), "relu", "linear", "mse", "sgd", 1.0,
        rows=512, batch=512, data="regression", length=100, check=3,
    ),
)  # fmt: skip

# as in ensemble.cpp
_ENSEMBLES = (
    Training(
        f"xor x{MODELS}", "ensemble", (2, 2, 1), "tanh", "sigmoid", "bce", "sgd", 0.5,
        rows=4, batch=4, data="xor", length=10_000, check=200, models=MODELS,
    ),
    Training(
        f"spiral x{MODELS}", "ensemble", (2, 10, 3), "tanh", "linear", "cross_entropy", "adam",
        0.01, rows=300, batch=30, data="spiral", length=10_000, check=200, models=MODELS,
    ),
)  # fmt: skip

_PREDICTION = (
    *(w for w in PREDICTION if w.rows == 1),
    Prediction("4096-4096-4096 b1", (4096, 4096, 4096), "relu", 1),
    Prediction("8192-8192-8192 b1", (8192, 8192, 8192), "relu", 1),
)


def label(workload: Workload) -> str:
    """Its name in tables; float32 goes without saying."""
    return workload.name + ("" if workload.precision == "float32" else f", {workload.precision}")


def _in(precision: str, workload: Workload) -> Workload:
    tolerance = max(workload.tolerance, TOLERANCE[precision])
    return replace(workload, precision=precision, tolerance=tolerance)


def _all() -> list[Workload]:
    found: list[Workload] = []
    for w in _TRAINING:
        longer = replace(w, length=LONGER * w.length)
        precisions = PRECISIONS if w.suite in BY_PRECISION else PRECISIONS[:1]
        found += [_in(precision, longer) for precision in precisions]
    found += _PREDICTION
    return [*found, *_ENSEMBLES]


WORKLOADS = tuple(_all())


def select(
    suites: Iterable[str], names: Iterable[str], precisions: Iterable[str]
) -> list[Workload]:
    """The workloads of `names` where given, else those of `suites`, in these precisions."""
    suites, names, precisions = set(suites), set(names), set(precisions)
    if unknown := names - {w.name for w in WORKLOADS}:
        raise ValueError(f"no workload {sorted(unknown)}")
    return [
        w
        for w in WORKLOADS
        if w.precision in precisions
        and (w.name in names if names else "all" in suites or w.suite in suites)
    ]
