"""Recorded arithmetic: values and gradients equal torch's."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm

torch = pytest.importorskip("torch")

from expressions import BINARY, MATRIX, UNARY, draw_expression, values  # noqa: E402


def _agree(ours: Any, theirs: Any, tolerance: float) -> None:
    theirs = np.asarray(values(theirs))
    assert tuple(ours.shape) == theirs.shape
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    np.testing.assert_allclose(values(ours), theirs, rtol=0, atol=tolerance * scale)


def _check(seed: int, dtype: str, tolerance: float) -> None:
    expression = draw_expression(seed, dtype)
    ours, theirs = expression.value.ours, expression.value.theirs
    assert isinstance(ours, fm.Tensor)
    _agree(ours, theirs, tolerance)
    ours.backward()
    theirs.backward()
    for leaf in expression.leaves:
        wanted = leaf.theirs.grad
        if wanted is None:
            assert leaf.ours.grad is None
        else:
            assert leaf.ours.grad.dtype == leaf.ours.dtype
            _agree(leaf.ours.grad, wanted, tolerance)


@pytest.mark.parametrize("block", range(20))
def test_random_expressions_in_float64(block: int) -> None:
    for seed in range(50 * block, 50 * block + 50):
        _check(seed, "float64", 1e-12)


@pytest.mark.parametrize("block", range(4))
def test_random_expressions_in_float32(block: int) -> None:
    for seed in range(50 * block, 50 * block + 50):
        _check(seed, "float32", 2e-5)


@pytest.mark.parametrize("table", ["unary", "matrix", "binary"])
def test_each_function(table: str) -> None:
    """By itself, on all kinds of operands: no function is left to chance."""
    functions = {"unary": UNARY, "matrix": MATRIX, "binary": BINARY}[table]
    rng = np.random.default_rng(1)
    for ours, theirs in functions:
        arrays = [rng.normal(size=(4, 3)), rng.normal(size=(4, 1))][: 1 + (table == "binary")]
        for kind in (fm.tensor, fm.Parameter):
            a = [kind(array, requires_grad=True) for array in arrays]
            b = [torch.tensor(array, requires_grad=True) for array in arrays]
            y, z = ours(*a), theirs(*b)
            assert y.requires_grad
            _agree(y, z, 1e-12)
            g = rng.normal(size=tuple(z.shape))
            y.backward(g)
            z.backward(torch.from_numpy(g))
            for one, other in zip(a, b, strict=True):
                _agree(one.grad, other.grad, 1e-12)
