"""The NumPy oracle and torch agree, so that a test against either means the same."""

from typing import Any

import numpy as np
import pytest

import reference
from cases import Case, assert_close, draw, numpy_gradients, torch_gradients
from specs import ACTIVATIONS, LOSSES, OPTIMIZERS, Optimizer

CASES = [
    Case((5, 9, 8, 4), 12, activation=activation, head=LOSSES[loss].head, loss=loss, reduction=r)
    for i, activation in enumerate(ACTIVATIONS)
    for loss, r in [
        (list(LOSSES)[i % len(LOSSES)], "mean"),
        (list(LOSSES)[(i + 4) % len(LOSSES)], "sum"),
    ]
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_gradients(case: Case, torch: Any) -> None:
    problem = draw(case)
    assert_close(numpy_gradients(problem), torch_gradients(torch, problem), 1e-12)


@pytest.mark.parametrize("row", OPTIMIZERS, ids=lambda o: o.id)
def test_optimizers(row: Optimizer, torch: Any) -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=20)
    parameter = torch.nn.Parameter(torch.from_numpy(w.copy()))
    optimizer, state = row.torch(torch, [parameter]), {}
    start = w.copy()
    for _ in range(30):
        g = rng.normal(size=20)
        parameter.grad = torch.from_numpy(g.copy())
        optimizer.step()
        row.numpy(w, g, state)
    assert np.abs(w - start).max() > 1e-3
    np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping(max_norm: float, torch: Any) -> None:
    rng = np.random.default_rng(1)
    grads = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    parameters = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads]
    for parameter, g in zip(parameters, grads, strict=True):
        parameter.grad = torch.from_numpy(g.copy())
    want = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    assert reference.clip_grad_norm(grads, max_norm) == pytest.approx(want.item(), rel=1e-14)
    for parameter, g in zip(parameters, grads, strict=True):
        np.testing.assert_allclose(g, parameter.grad.numpy(), rtol=1e-14)
