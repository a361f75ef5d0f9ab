"""Sums over many values: their error does not grow with the number of terms."""

import numpy as np
import pytest

import fastmlp as fm

MANY = (1 << 24) + (1 << 20) + 3  # a float32 sum of ones stops at 2^24


@pytest.mark.parametrize("columns", [1, 3])
def test_gradients_of_many_rows(columns: int) -> None:
    """Of the weight and of the bias, by the fused kernels."""
    dz = np.ones((MANY, columns), "f4")
    weight = np.zeros((1, columns), "f4")
    _, dw, db = fm.ops.affine_backward(dz, np.ones((MANY, 1), "f4"), weight)
    np.testing.assert_allclose(dw, np.full((1, columns), MANY), rtol=1e-7)
    np.testing.assert_allclose(db, np.full(columns, MANY), rtol=1e-7)


def test_a_constant_that_float32_rounds() -> None:
    """All roundings go the same way, the worst case for a running sum."""
    x = np.full((3_000_000, 1), 0.1, "f4")
    _, dw, db = fm.ops.affine_backward(x, x, np.zeros((1, 1), "f4"))
    exact = float(np.float32(0.1))
    np.testing.assert_allclose(db, [len(x) * exact], rtol=1e-6)
    np.testing.assert_allclose(dw, [[len(x) * exact**2]], rtol=1e-5)


@pytest.mark.parametrize("widths", [(1, 1), (2, 5, 1)])
def test_a_network_on_many_rows(widths: tuple[int, ...]) -> None:
    """Loss and gradients of equal rows are those of one row."""
    rows = 2_000_000
    model = fm.MLP(widths, "tanh", seed=0)
    twin = fm.MLP(widths, "tanh", seed=0, dtype="float64")
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        theirs.data = np.asarray(ours, "f8")
    row = np.linspace(0.3, 0.7, widths[0])[None].astype("f4")
    loss = fm.MSELoss()(model(np.repeat(row, rows, 0)), np.full((rows, 1), 3, "f4"))
    loss.backward()
    exact = fm.MSELoss()(twin(row.astype("f8")), np.full((1, 1), 3.0))
    exact.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-5)


@pytest.mark.parametrize("columns", [1000, 1 << 18, 1 << 21])
def test_losses_of_wide_rows(columns: int) -> None:
    """The mean of equal numbers is that number."""
    model = fm.Sequential(fm.Identity(), dtype="float32")
    x, t = np.zeros((4, columns), "f4"), np.full((4, columns), 0.1, "f4")
    exact = float(np.float32(0.1))
    assert fm.L1Loss()(model(x), t).item() == pytest.approx(exact, rel=2e-6)
    assert fm.MSELoss()(model(x), t).item() == pytest.approx(exact**2, rel=2e-6)


@pytest.mark.parametrize("columns", [300, 1 << 22])
def test_softmax_of_wide_rows(columns: int) -> None:
    """Of equal outputs every class has the same probability."""
    x = np.full((2, columns), 3, "f4")
    p = fm.Sequential(fm.Softmax()).predict(x)
    np.testing.assert_allclose(p[:, :5], 1 / columns, rtol=1e-6)
    log_p = fm.Sequential(fm.LogSoftmax()).predict(x)
    np.testing.assert_allclose(log_p[:, :5], -np.log(columns), rtol=1e-6)
    tracked = fm.tensor(x, requires_grad=True)
    loss = fm.CrossEntropyLoss()(tracked, np.array([0, columns - 1]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log(columns), rel=1e-6)
    assert tracked.grad is not None
    assert tracked.grad[1, -1] == pytest.approx((1 / columns - 1) / 2, rel=1e-6)
    assert tracked.grad[1, 0] == pytest.approx(1 / columns / 2, rel=1e-6)


def test_the_gradient_through_a_wide_softmax() -> None:
    columns = 1 << 20
    for head in (fm.Softmax(), fm.LogSoftmax()):
        x = fm.tensor(np.zeros((1, columns), "f4"), requires_grad=True)
        fm.Sequential(head)(x).backward(np.full((1, columns), 0.1, "f4"))
        np.testing.assert_allclose(x.grad, 0, atol=3e-7)


def test_class_numbers_beyond_those_that_float32_holds() -> None:
    columns, number = (1 << 24) + 8, (1 << 24) + 1
    y = np.zeros((1, columns), "f4")
    y[0, number] = 50
    tracked = fm.tensor(y, requires_grad=True)
    loss = fm.CrossEntropyLoss()(tracked, np.array([number]))
    assert loss.item() == pytest.approx(0, abs=1e-12)
    other = fm.CrossEntropyLoss()(tracked, np.array([number + 1]))
    assert other.item() == pytest.approx(50, rel=1e-6)
    other.backward()
    assert tracked.grad is not None
    np.testing.assert_allclose(tracked.grad[0, number - 1 : number + 2], [0, 1, -1], atol=1e-6)


def test_a_long_inner_product() -> None:
    n = 5_000_000
    y = fm.ops.affine_forward(np.ones((1, n), "f4"), np.full((n, 1), 4, "f4"))
    np.testing.assert_allclose(y, [[4 * n]], rtol=1e-6)
