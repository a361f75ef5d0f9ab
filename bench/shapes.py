"""What is measured: every workload as data."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

SUITES = ("tiny", "medium", "large", "predict")


def _products(sizes: tuple[int, ...]) -> list[int]:
    """Multiply-adds of one row in each layer."""
    return [a * b for a, b in pairwise(sizes)]


@dataclass(frozen=True)
class Training:
    """A network trained for `length` updates; rows are taken in order, `batch` at a time."""

    name: str
    suite: str
    sizes: tuple[int, ...]
    activation: str
    output: str  # linear, sigmoid or log_softmax
    loss: str  # mse, bce, cross_entropy or nll
    optimizer: str  # sgd or adam
    lr: float
    rows: int
    batch: int
    data: str  # a maker in problems.py
    length: int  # updates until the weights are set back to their start
    check: int  # updates after which every peer must have the reference's loss
    tolerance: float = 1e-4  # of that loss, relative
    precision: str = "float32"  # of products; another one on a GPU only
    models: int = 1  # so many networks with weights of their own, trained on the same rows

    def __post_init__(self):
        if self.rows % self.batch or self.check % self.steps_per_epoch:
            raise ValueError(f"{self.name}: not a whole number of batches or epochs")

    @property
    def steps_per_epoch(self) -> int:
        return self.rows // self.batch

    @property
    def step_rows(self) -> int:
        return self.batch

    @property
    def flops(self) -> int:
        """Of one step: forward, dW, and dx for all layers but the first."""
        products = _products(self.sizes)
        return 2 * self.models * self.batch * (3 * sum(products) - products[0])


@dataclass(frozen=True)
class Prediction:
    """A network called on the same `rows` rows again and again; its last layer is linear."""

    name: str
    sizes: tuple[int, ...]
    activation: str
    rows: int
    suite: str = "predict"
    output: str = "linear"
    data: str = "features"
    length: int | None = None
    steps_per_epoch: int = 1
    tolerance: float = 1e-4  # of the largest output
    precision: str = "float32"
    models = 1

    @property
    def step_rows(self) -> int:
        return self.rows

    @property
    def flops(self) -> int:
        return 2 * self.rows * sum(_products(self.sizes))

    @property
    def weight_bytes(self) -> int:
        return 4 * (sum(_products(self.sizes)) + sum(self.sizes[1:]))


Workload = Training | Prediction


def from_dict(fields: dict[str, Any]) -> Workload:
    """The workload of `dataclasses.asdict`, also after a way through JSON."""
    kind = Prediction if fields["suite"] == "predict" else Training
    return kind(**{**fields, "sizes": tuple(fields["sizes"])})


TRAINING = (
    Training(
        "xor", "tiny", (2, 2, 1), "sigmoid", "sigmoid", "bce", "sgd", 1.0,
        rows=4, batch=4, data="xor", length=10_001, check=2000,
    ),
    Training(
        "xor-deep", "tiny", (2, 10, 10, 10, 1), "sigmoid", "sigmoid", "bce", "sgd", 1.0,
        rows=4, batch=4, data="xor", length=10_001, check=6000, tolerance=0.05,
    ),
    Training(
        "circles", "tiny", (2, 4, 1), "sigmoid", "sigmoid", "bce", "adam", 0.01,
        rows=500, batch=500, data="circles", length=1000, check=1000, tolerance=5e-4,
    ),
    Training(
        "boston", "tiny", (13, 3, 3, 3, 1), "relu", "linear", "mse", "sgd", 1e-4,
        rows=506, batch=506, data="houses", length=200_000, check=2000,
    ),
    Training(
        "spiral", "tiny", (2, 10, 3), "sigmoid", "linear", "cross_entropy", "sgd", 1.0,
        rows=300, batch=30, data="spiral", length=3000, check=2000,
    ),
    Training(
        "temperature", "tiny", (1, 13, 1), "tanh", "linear", "mse", "sgd", 1e-3,
        rows=9, batch=9, data="temperature", length=5000, check=2000,
    ),
    Training(
        "cifar2", "medium", (3072, 512, 2), "tanh", "log_softmax", "nll", "sgd", 1e-2,
        rows=4096, batch=64, data="images", length=640, check=64,
    ),
    Training(
        "cifar2-row", "medium", (3072, 512, 2), "tanh", "log_softmax", "nll", "sgd", 1e-3,
        rows=64, batch=1, data="images", length=2560, check=256,
    ),
    Training(
        "784-512-512-10", "medium", (784, 512, 512, 10), "relu", "linear", "cross_entropy", "sgd",
        0.05, rows=4096, batch=128, data="classes", length=640, check=64, tolerance=5e-4,
    ),
    Training(
        "100-256x3-1", "medium", (100, 256, 256, 256, 1), "relu", "linear", "mse", "adam", 1e-3,
        rows=8192, batch=256, data="regression", length=640, check=32, tolerance=5e-3,
    ),
    Training(
        "2048-4096x2-1024", "large", (2048, 4096, 4096, 1024), "relu", "linear", "mse", "sgd", 1.0,
        rows=512, batch=512, data="regression", length=100, check=3,
    ),
)  # fmt: skip

PREDICTION = tuple(
    Prediction(f"{name} b{rows}", sizes, activation, rows)
    for name, sizes, activation in (
        ("2-10-3", (2, 10, 3), "sigmoid"),
        ("17-64-64-6", (17, 64, 64, 6), "tanh"),
        ("784-512-512-10", (784, 512, 512, 10), "relu"),
        ("3072-512-2", (3072, 512, 2), "tanh"),
    )
    for rows in (1, 1024)
)

WORKLOADS: dict[str, Workload] = {w.name: w for w in (*TRAINING, *PREDICTION)}


def select(suites: Iterable[str], names: Iterable[str] = ()) -> list[Workload]:
    """The workloads of `names` where given, else those of `suites`, in the table's order."""
    names = set(names)
    if unknown := names - WORKLOADS.keys():
        raise ValueError(f"no workload {sorted(unknown)}; there are {list(WORKLOADS)}")
    if names:
        return [w for w in WORKLOADS.values() if w.name in names]
    suites = set(suites)
    return [w for w in WORKLOADS.values() if "all" in suites or w.suite in suites]
