"""What is measured of layers, schedules, early stopping and Jacobians: every case as data."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A network of blocks of `width` between its input and its output, and what is done with it."""

    name: str
    kind: str  # train or jacobian
    inputs: int
    width: int
    outputs: int
    rows: int
    batch: int
    blocks: int = 2
    block: str = "plain"  # plain, batch_norm, layer_norm or residual
    activation: str = "relu"
    loss: str = "mse"  # or bce after a sigmoid, or cross_entropy
    optimizer: str = "adam"
    lr: float = 1e-3
    dropout: float = 0.0
    schedule: str | None = None  # StepLR, OneCycleLR, CosineAnnealingLR: by step
    stopping: bool = False  # validation, early stopping and a schedule by epoch
    length: int | None = 20_000  # updates until it begins anew; None: it never does
    check: int = 0  # updates after which PyTorch's loss is compared with; 0: cannot be compared

    @property
    def steps_per_epoch(self) -> int:
        return self.rows // self.batch


def _tabular(name: str, **options: object) -> Case:
    return Case(name, "train", 100, 256, 1, 8192, 256, length=640, **options)


_XOR = {
    "inputs": 2, "width": 2, "outputs": 1, "rows": 4, "batch": 4, "blocks": 1,
    "activation": "sigmoid", "loss": "bce", "optimizer": "sgd", "lr": 1.0,
}  # fmt: skip
_SPIRAL = {
    "inputs": 2, "width": 10, "outputs": 3, "rows": 300, "batch": 30, "blocks": 1,
    "activation": "sigmoid", "loss": "cross_entropy", "optimizer": "sgd", "lr": 1.0,
    "length": 3000,
}  # fmt: skip

CASES = {
    case.name: case
    for case in (
        _tabular("batch norm", block="batch_norm", check=32),
        _tabular("batch norm, dropout", block="batch_norm", dropout=0.1),
        _tabular("layer norm", block="layer_norm", check=32),
        _tabular("residual", block="residual", check=32),
        Case("jacobian b1", "jacobian", 17, 64, 6, 1, 1, activation="tanh", length=None),
        Case("jacobian b256", "jacobian", 17, 64, 6, 256, 256, activation="tanh", length=None),
        Case("xor", "train", **_XOR, check=2000),
        Case("xor, StepLR", "train", **_XOR, schedule="StepLR", check=2000),
        Case("xor, OneCycleLR", "train", **_XOR, schedule="OneCycleLR", check=2000),
        Case("xor, CosineAnnealingLR", "train", **_XOR, schedule="CosineAnnealingLR", check=2000),
        Case("spiral", "train", **_SPIRAL, check=300),
        Case("spiral, early stopping", "train", **_SPIRAL, stopping=True, check=300),
    )
}


def schedule_arguments(case: Case) -> dict[str, float]:
    return {
        "StepLR": {"step_size": 1000, "gamma": 0.9},
        "OneCycleLR": {"max_lr": 1.0, "total_steps": case.length, "cycle_momentum": False},
        "CosineAnnealingLR": {"T_max": case.length, "eta_min": 0.1},
    }[case.schedule]


def data(case: Case) -> tuple[Floats, npt.NDArray]:
    """x, and targets or class indices; a tenth as many rows follow for validation."""
    rng = np.random.default_rng(7)
    if case.loss == "bce":
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
        return x, np.array([[0], [1], [1], [0]], np.float32)
    rows = case.rows + case.rows // 10
    x = rng.standard_normal((rows, case.inputs), np.float32)
    if case.loss == "cross_entropy":
        return x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)
    t = np.sin(x @ rng.standard_normal((case.inputs, case.outputs), np.float32) / 10)
    return x, t.astype(np.float32)


def rows(case: Case) -> Floats:
    """x of a Jacobian; of a single row without the dimension of rows."""
    x = data(case)[0]
    return x[0] if case.rows == 1 else x[: case.rows]


def affine_weights(case: Case) -> list[tuple[Floats, Floats]]:
    """(out x in) and bias of each affine layer, in their order."""
    rng = np.random.default_rng(8)
    inner = [(case.width, case.width)] * (
        2 * case.blocks if case.block == "residual" else case.blocks - 1
    )
    made = []
    for fan_in, fan_out in [(case.inputs, case.width), *inner, (case.width, case.outputs)]:
        bound = fan_in**-0.5
        made.append(
            (
                rng.uniform(-bound, bound, (fan_out, fan_in)).astype(np.float32),
                rng.uniform(-bound, bound, fan_out).astype(np.float32),
            )
        )
    return made
