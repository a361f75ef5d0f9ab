"""Graphs of arithmetic, models and losses: how often they run backward, and what is an error."""

import gc
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from graphs import T, X, agree, gradients, model_of

# --- retain_graph, and what is gone


@pytest.mark.parametrize("kind", ["loss", "output", "formula", "tracked", "values"])
def test_retain_graph(kind: str) -> None:
    model = model_of()
    x = fm.tensor(X, requires_grad=True) if kind == "tracked" else X
    y = model(x)
    g: Any = None
    if kind == "output":
        root, g = y, T
    elif kind == "values":
        root, g = fm.MSELoss("none")(y, T), T
    elif kind == "formula":
        root = (y * y).mean() + fm.MSELoss()(y, T)
    else:
        root = fm.MSELoss()(y, T)
    root.backward(g, retain_graph=True)
    once = gradients(model)
    root.backward(g, retain_graph=True)
    agree(gradients(model), once)
    root.backward(g)
    agree(gradients(model), once)
    with pytest.raises(RuntimeError, match="backward has run already"):
        root.backward(g)
    assert all(p.grad is None for p in model.parameters())
    if kind == "tracked":
        assert x.grad is not None


def test_a_graph_that_is_gone() -> None:
    model = model_of()
    y = model(X)
    z = y * 2
    z.sum().backward()
    for late in (z.mean(), y.mean(), fm.MSELoss()(z, T), fm.Linear(1, 1, dtype="float64")(z)):
        before = gradients(model) if model[0].weight.grad is not None else None
        with pytest.raises(RuntimeError, match="backward has run already"):
            late.backward() if late.size == 1 else late.backward(T)
        assert all(p.grad is None for p in model.parameters()), before


def test_an_error_changes_nothing() -> None:
    """The whole graph is looked at before the first gradient is added."""
    model, other = model_of(), model_of()
    gone = other(X)
    gone.sum().backward()
    w = fm.tensor(X, requires_grad=True)
    with pytest.raises(RuntimeError, match="already"):
        (model(X).sum() + w.sum() + gone.sum()).backward()
    assert w.grad is None
    assert all(p.grad is None for p in model.parameters())
    loss = (model(X) ** 2).mean()
    with fm.no_grad():
        model[0].weight[...] = 0
    with pytest.raises(RuntimeError, match="parameters were changed"):
        loss.backward()


def test_gradients_that_do_not_fit() -> None:
    y = model_of()(X) * 2
    for g, error, match in (
        (None, ValueError, r"\(6, 1\)"),
        (np.ones(3), ValueError, r"\(3,\)"),
        (1.0, TypeError, "number"),
        ("a", TypeError, "grad_output"),
    ):
        with pytest.raises(error, match=match):
            y.backward(g)
    with pytest.raises(ValueError, match="create_graph"):
        y.backward(T, create_graph=True)
    with pytest.raises(TypeError, match="both"):
        y.backward(T, gradient=T)
    with pytest.raises(RuntimeError, match="no_grad"):
        y.detach().backward()
    y.backward(gradient=T)


# --- modes, changes in place


def test_no_grad_and_detach() -> None:
    model, x = model_of(), fm.tensor(X, requires_grad=True)
    with fm.no_grad():
        assert not ((model(X) - T) ** 2).requires_grad
        assert not (x * 2).requires_grad
        assert not (model[0].weight ** 2).sum().requires_grad
    y = model(x)
    assert y.detach().base is not None
    assert not y.detach().requires_grad
    (y * y.detach()).sum().backward()
    want = fm.tensor(X, requires_grad=True)
    z = model(want)
    z.backward(np.asarray(z))
    np.testing.assert_allclose(x.grad, want.grad, rtol=1e-12)


def test_changes_in_place() -> None:
    y = model_of()(X)
    first = z = y * 1
    z += 1
    z *= 2
    assert z.requires_grad
    assert z is not first
    np.testing.assert_allclose(z, (np.asarray(first) + 1) * 2)
    with pytest.raises(ValueError, match="read-only"):
        z[0] = 0
    total: Any = fm.tensor(0.0, dtype="float64")
    total += y.sum()
    assert total.requires_grad
    x = fm.tensor(X, requires_grad=True)
    with pytest.raises(RuntimeError, match="in place"):
        x += x * 2
    square = (x * x).sum()
    x[...] = 0  # the graph keeps what it has seen
    square.backward()
    np.testing.assert_allclose(x.grad, 2 * X)
    p = fm.Parameter(X)
    with pytest.raises(RuntimeError, match="in place"):
        p -= 0.1 * p
    with fm.no_grad():
        p -= 0.1 * p
    p -= 0.1 * X
    np.testing.assert_allclose(np.asarray(p), 0.8 * X, atol=1e-15)


def test_retain_grad() -> None:
    x = fm.tensor(X, requires_grad=True)
    y = x * 3
    assert y.grad is None
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_allclose(y.grad, 6 * X)
    with pytest.raises(RuntimeError, match="retain_grad"):
        model_of()(X).retain_grad()


# --- dtypes and shapes


def test_dtypes_meet_as_in_torch(torch: Any) -> None:
    """Arrays decide, then arrays without dimensions; numbers and integers adapt."""
    values = {
        "f4": np.ones((2, 2), "f4"),
        "f8": np.ones((2, 2)),
        "f4 0-d": np.array(2, "f4"),
        "f8 0-d": np.array(2.0),
        "int": np.ones((2, 2), int),
        "bool": np.ones((2, 2), bool),
        "number": 2.5,
        "f8 number": np.float64(2.5),
    }
    for one in ("f4", "f8", "f4 0-d", "f8 0-d"):
        for other, value in values.items():
            x = fm.tensor(values[one], requires_grad=True)
            u = torch.tensor(values[one], requires_grad=True)
            v = float(value) if "number" in other else torch.tensor(value)
            for ours, theirs in ((x * value, u * v), (value + x, v + u), (x / value, u / v)):
                assert str(theirs.dtype) == f"torch.{ours.dtype}", (one, other)
                ours.sum().backward()
                assert x.grad.dtype == x.dtype


def test_what_cannot_be_computed_is_named() -> None:
    y = model_of()(X)
    for call, error, match in (
        (lambda: y + 1j * T, TypeError, "other.*complex"),
        (lambda: y * "a", TypeError, "other.*'a'"),
        (lambda: y - np.ones((5, 1)), ValueError, "(6,1)"),
        (lambda: y @ np.ones((6, 1)), ValueError, "matmul"),
        (lambda: y @ 2.0, ValueError, "other"),
        (lambda: y.sum(dim=2), ValueError, "dim.*2"),
        (lambda: y.mean(dim=(0, 0)), ValueError, "dim.*once"),
        (lambda: y.max(dim=-3), ValueError, "dim.*-3"),
        (lambda: fm.cat([y, np.ones((5, 2))], 1), ValueError, "dimension"),
        (lambda: fm.cat(y), TypeError, "tensors"),
        (lambda: fm.cat([]), ValueError, "tensors"),
        (lambda: fm.stack([y, y[0]]), ValueError, r"\(6, 1\), \(1,\)"),
        (lambda: y.gather(1, np.ones((6, 1))), TypeError, "index.*float64"),
        (lambda: y.clamp(), ValueError, "min, max"),
        (lambda: y[9], IndexError, "9"),
        (lambda: y.reshape(4, 4), ValueError, "reshape"),
    ):
        with pytest.raises(error, match=match):
            call()


def test_torch_tensors_with_a_graph_of_their_own(torch: Any) -> None:
    y = model_of()(X)
    with pytest.raises(TypeError, match="detach"):
        y - torch.ones(6, 1, requires_grad=True)
    total = torch.zeros(1)
    with pytest.raises(RuntimeError, match="total = total"):
        total += y.sum()
    assert (total + y.sum()).requires_grad


# --- torch's losses


def test_torch_functions_and_losses(torch: Any) -> None:
    functional = torch.nn.functional
    model, t = model_of(), torch.from_numpy(T)
    fm.MSELoss()(model(X), T).backward()
    want = gradients(model)
    for loss in (
        functional.mse_loss(model(X), t),
        torch.nn.MSELoss()(model(X), t),
        torch.mean((model(X) - t) ** 2),
        torch.square(t - model(X)).mean(),
    ):
        assert isinstance(loss, fm.Tensor)
        loss.backward()
        agree(gradients(model), want)
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    three = fm.MLP([2, 3], dtype="float64", seed=0)
    functional.cross_entropy(three(X), classes).backward()
    first = gradients(three)
    rows = torch.log_softmax(three(X), 1)[np.arange(6), classes]
    (-rows.mean()).backward()
    agree(gradients(three), first, 1e-10)


# --- memory, depth, threads


def test_a_graph_is_freed_without_a_collector() -> None:
    model, w = model_of(), fm.Parameter(X)
    gc.disable()
    try:
        for run in (True, False):
            y = model(X)
            loss = ((y - T) ** 2).mean() + (w**2).sum().exp()
            step = weakref.ref(y)
            kept = sys.getrefcount(w)
            if run:
                loss.backward()
                del y
                assert step() is None  # before the loss itself
            else:
                del y, loss
                assert step() is None
                assert sys.getrefcount(w) < kept
    finally:
        gc.enable()


def test_deep_graphs() -> None:
    x = fm.tensor(np.ones(2), requires_grad=True)
    y: Any = x
    for _ in range(60_000):
        y = y * 1.0
    y.sum().backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, 1)
    del y
    layer, y = fm.Linear(2, 2), x
    for _ in range(5_000):
        y = layer(y + 1).tanh()
    del y


def test_a_graph_in_other_threads() -> None:
    model = model_of()
    losses = [(model(X) ** 2).mean() for _ in range(8)]
    (model(X) ** 2).mean().backward()
    once = gradients(model)
    threads = [threading.Thread(target=loss.backward) for loss in losses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    agree(gradients(model), [8 * g for g in once])
    w = fm.tensor(X, requires_grad=True)
    shared, errors = (w * w).sum(), []

    def run() -> None:
        try:
            shared.backward()
        except RuntimeError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    assert all("already" in error for error in errors)
    np.testing.assert_allclose(w.grad, 2 * X)
