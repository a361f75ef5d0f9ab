"""A row's prediction has the same bits whichever rows come with it, on the CPU."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from specs import ACTIVATIONS

ROWS = 257
# Tiny networks and large ones; one output and more; sums of one block and of several.
SHAPES = [
    *((2, 10, 3), (3, 1), (5, 3), (4, 200, 3), (1, 50, 1), (13, 10, 1), (17, 64, 64, 6)),
    *((64, 100, 100, 10), (40, 33, 16), (128, 128, 128, 8), (70, 90, 60, 5), (100, 256, 1)),
    *((300, 17, 2), (600, 16, 7), (784, 128, 10), (1300, 40, 12), (3072, 64, 2), (90, 1000, 40)),
    *((70, 24, 31, 19), (300, 200, 17)),
]


class Residual(fm.Module):
    def __init__(self, width: int, activation: Any, dtype: str) -> None:
        super().__init__()
        self.block = fm.Sequential(
            fm.Linear(width, 30, dtype=dtype), activation(), fm.Linear(30, width, dtype=dtype)
        )
        self.head = fm.Linear(width, 9, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return self.head(x + self.block(x))


def check(model: fm.Module, columns: int, dtype: str) -> None:
    x = np.random.default_rng(columns).normal(size=(ROWS, columns)).astype(dtype)
    whole = model.predict(x)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(np.stack([model.predict(row) for row in x]), whole)
    for rows in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100):
        parts = [model.predict(x[i : i + rows]) for i in range(0, ROWS, rows)]
        np.testing.assert_array_equal(np.concatenate(parts), whole, err_msg=f"{rows} rows")
    np.testing.assert_array_equal(model(x), whole, err_msg="model(x)")
    longer = model.predict(np.tile(x, (9, 1)))
    np.testing.assert_array_equal(longer, np.tile(whole, (9, 1)), err_msg="2313 rows")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def test_layers(shape: tuple[int, ...], dtype: str) -> None:
    for seed, activation in enumerate(("relu", "tanh", "gelu")):
        check(fm.MLP(shape, activation, dtype=dtype, seed=seed), shape[0], dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def test_products_in_bfloat16(shape: tuple[int, ...]) -> None:
    check(fm.MLP(shape, "gelu", precision="bf16", seed=0), shape[0], "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, dtype: str) -> None:
    """Also at the end, where softmax has rows of one and of several vectors."""
    for width in (3, 12, 50):
        layers = [fm.Linear(11, width, dtype=dtype), ACTIVATIONS[name].module()]
        check(fm.Sequential(*layers), 11, dtype)
        check(Residual(width, ACTIVATIONS[name].module, dtype), width, dtype)
