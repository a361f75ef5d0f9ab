"""What the tests of graphs share: a model, data, and its gradients."""

from typing import Any

import numpy as np

import fastmlp as fm

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(6, 2)), RNG.normal(size=(6, 1))


def model_of(dtype: str = "float64", seed: int = 0) -> fm.Sequential:
    return fm.MLP([2, 5, 1], "tanh", dtype=dtype, seed=seed)


def gradients(model: fm.Module) -> list[Any]:
    found = [np.array(p.grad) for p in model.parameters()]
    model.zero_grad()
    return found


def agree(ones: list[Any], others: list[Any], rtol: float = 1e-12) -> None:
    for a, b in zip(ones, others, strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
