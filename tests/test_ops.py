"""The fused kernels, called alone: the same formulas as in a network, weights in x out."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm
import reference
import reference_optimizers
from cases import SIZES, covering, relative_error
from specs import ACTIVATIONS, TOLERANCE, Activation

ELEMENTWISE = [row for row in ACTIVATIONS.values() if not row.rowwise and not row.kinks]
SHAPES = covering({"rows": SIZES, "fan_in": SIZES, "fan_out": SIZES}, seed=3)


def _arrays(rows: int, fan_in: int, fan_out: int, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng([rows, fan_in, fan_out])
    x, dy = rng.normal(size=(rows, fan_in)), rng.normal(size=(rows, fan_out))
    weight, bias = rng.normal(size=(fan_in, fan_out)) * fan_in**-0.5, rng.normal(size=fan_out)
    return [a.astype(dtype) for a in (x, weight, bias, dy)]


def _expected(
    activation: Activation, x: np.ndarray, weight: np.ndarray, bias: Any, dy: np.ndarray
) -> list[np.ndarray]:
    """y, dx, dW and db."""
    x, weight, dy = (a.astype("float64") for a in (x, weight, dy))
    offset = np.zeros(weight.shape[1]) if bias is None else bias.astype("float64")
    affine = reference.Affine(weight.T, offset)
    z, pull_affine = affine(x)
    y, pull_activation = activation.numpy(z)
    dx = pull_affine(pull_activation(dy))
    return [y, dx, affine.grads[0].T, affine.grads[1]]


def _assert_right(
    activation: Activation, given: Any, arrays: list[np.ndarray], with_bias: bool
) -> None:
    x, weight, bias, dy = arrays
    offset = bias if with_bias else None
    before = [a.copy() for a in arrays]
    y = fm.ops.affine_forward(x, weight, offset, given)
    got = [y, *fm.ops.affine_backward(dy, x, weight, offset, given)]
    for value, want in zip(got, _expected(activation, x, weight, offset, dy), strict=True):
        assert value.dtype == x.dtype
        assert relative_error(value, want) < TOLERANCE[str(x.dtype)]
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda a: a.id)
def test_affine_with_every_activation(activation: Activation, dtype: str) -> None:
    """By name, where the constants are the default ones, and as a module."""
    arrays = _arrays(17, 9, 31, dtype)
    given = [activation.module()] + ([activation.name] if activation.name else [])
    for form in given:
        for with_bias in (True, False):
            _assert_right(activation, form, arrays, with_bias)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_affine_of_every_size(dtype: str) -> None:
    assert len(SHAPES) >= len(SIZES) ** 2
    for i, shape in enumerate(SHAPES):
        arrays = _arrays(**shape, dtype=dtype)
        _assert_right(ACTIVATIONS["tanh"], "tanh", arrays, with_bias=i % 3 > 0)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "hardtanh"])
def test_affine_with_kinks(name: str) -> None:
    """At the kinks themselves too: torch's derivatives there are those of the oracle."""
    z = np.concatenate([np.linspace(-3, 3, 61), [0.0, -0.0, 1.0, -1.0]])[:, None]
    dy = np.linspace(1, 2, len(z))[:, None]
    y = fm.ops.affine_forward(z, np.ones((1, 1)), None, name)
    dx, dw, db = fm.ops.affine_backward(dy, z, np.ones((1, 1)), None, name)
    want, pullback = ACTIVATIONS[name].numpy(z)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(dx, pullback(dy))
    assert dw.item() == pytest.approx((pullback(dy) * z).sum(), rel=1e-12)
    assert db.item() == pytest.approx(pullback(dy).sum(), rel=1e-12)


def test_views_and_lists_are_taken() -> None:
    x, weight, bias, _ = _arrays(8, 6, 4, "float64")
    want = fm.ops.affine_forward(x, weight, bias, "relu")
    strided = np.repeat(x, 2, axis=1)[:, ::2]
    assert not strided.flags.c_contiguous
    got = fm.ops.affine_forward(strided, np.asfortranarray(weight), bias[::-1].copy()[::-1], "relu")
    np.testing.assert_array_equal(got, want)
    assert want.max() > 0
    np.testing.assert_array_equal(fm.ops.affine_forward([[1.0, 2.0]], [[3.0], [4.0]]), [[11.0]])


SGD = {
    "plain": {},
    "decay": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.9, "nesterov": True},
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [1, 7, 8, 17, 1000])
@pytest.mark.parametrize("options", SGD.values(), ids=list(SGD))
def test_sgd(options: dict[str, Any], n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    param, grad, buffer = (rng.normal(size=n).astype(dtype) for _ in range(3))
    want, state = param.astype("float64"), {"buffer": buffer.astype("float64")}
    momentum = {"momentum_buffer": buffer} if "momentum" in options else {}
    for _ in range(3):
        reference_optimizers.sgd(want, grad.astype("float64"), state, lr=0.1, **options)
        assert fm.ops.sgd_(param, grad, lr=0.1, **options, **momentum) is param
    assert relative_error(param, want) < TOLERANCE[dtype] / 10
    if momentum:
        assert relative_error(buffer, state["buffer"]) < TOLERANCE[dtype] / 10


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(1,), (7, 3), (257,)])
def test_adam(shape: tuple[int, ...], dtype: str, amsgrad: bool) -> None:
    rng = np.random.default_rng(1)
    param = rng.normal(size=shape).astype(dtype)
    mean, square, largest = (np.zeros(shape, dtype) for _ in range(3))
    want, state = param.astype("float64"), {}
    options = {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}
    for step in range(1, 5):
        grad = (rng.normal(size=shape) / step).astype(dtype)
        reference_optimizers.adam(want, grad.astype("float64"), state, amsgrad=amsgrad, **options)
        extra = {"max_exp_avg_sq": largest} if amsgrad else {}
        assert fm.ops.adam_(param, grad, mean, square, step, **options, **extra) is param
    assert relative_error(param, want) < TOLERANCE[dtype] / 10
    assert relative_error(mean, state["mean"]) < TOLERANCE[dtype] / 10
    assert relative_error(square, state["square"]) < TOLERANCE[dtype] / 10
    if amsgrad:
        assert relative_error(largest, state["largest"]) < TOLERANCE[dtype] / 10
        assert (largest > square).any(), "the maximum never mattered"
