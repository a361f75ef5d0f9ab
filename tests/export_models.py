"""Models that an exporter of headers must get right, beside those of program_models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastmlp as fm


class Branches(fm.Module):
    """Values that are needed for long, a sum of the input, a sum of one value with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = fm.Linear(4, 9), fm.Linear(9, 4), fm.Linear(4, 4)
        self.norm = fm.BatchNorm1d(4)

    def forward(self, x: Any) -> Any:
        h = self.b(fm.tanh(self.a(x)))
        k = fm.relu(h + x)
        return self.norm(self.c(k + k)) + h + fm.sigmoid(x) + x


def far_standardize() -> fm.Module:
    layer = fm.Standardize.from_data(np.random.default_rng(0).normal(5000, 1, size=(100, 3)))
    return fm.Sequential(layer, fm.Linear(3, 2))


SHAPES: dict[str, Callable[[], fm.Module]] = {
    "1-1": lambda: fm.Linear(1, 1),
    "1-1-1": lambda: fm.MLP([1, 1, 1], activation="tanh"),
    "300-1-200": lambda: fm.MLP([300, 1, 200]),
    "17-64-64-6": lambda: fm.MLP([17, 64, 64, 6], activation="tanh"),
    "784-512-10": lambda: fm.MLP([784, 512, 10]),
    **{f"{n}-{9 - n}": lambda n=n: fm.Linear(n, 9 - n) for n in range(1, 9)},
    "branches": Branches,
    "far standardize": far_standardize,
    "layer norm of 100": lambda: fm.Sequential(fm.Linear(3, 100), fm.LayerNorm(100)),
    "softmax of 1000": lambda: fm.Sequential(fm.Linear(3, 1000), fm.Softmax()),
    "scales": lambda: fm.Sequential(
        fm.BatchNorm1d(4), fm.BatchNorm1d(4), fm.Linear(4, 4), fm.BatchNorm1d(4), fm.ReLU(),
        fm.BatchNorm1d(4), fm.Sigmoid(), fm.LayerNorm(4, bias=False), fm.BatchNorm1d(4),
    ),
}  # fmt: skip


def shape_of(name: str, dtype: str) -> fm.Module:
    fm.manual_seed(1)
    model = SHAPES[name]().to(dtype=dtype)
    rng = np.random.default_rng(2)
    for module in model.modules():
        if isinstance(module, fm.BatchNorm1d):
            module.running_mean.copy_(rng.normal(size=4))
            module.running_var.copy_(rng.uniform(0.5, 2, size=4))
    return model


def export(model: fm.Module, folder: Path, name: str, **options: Any) -> str:
    fm.export_c(model, folder / f"{name}.h", name, **options)
    return (folder / f"{name}.h").read_text()
