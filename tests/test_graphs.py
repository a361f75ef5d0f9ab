"""Graphs of arithmetic, models and losses: where gradients go, how often, and what is an error."""

import gc
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(6, 2)), RNG.normal(size=(6, 1))
STRATEGIES = ["lanes", "dense"]


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


@pytest.fixture(params=STRATEGIES)
def strategy(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTMLP_STRATEGY", request.param)


# --- losses


@pytest.mark.usefixtures("strategy")
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 1e-5)])
def test_a_formula_equals_the_loss(dtype: str, rtol: float) -> None:
    model = model_of(dtype)
    t = T.astype(dtype)
    loss = ((model(X) - t) ** 2).mean()
    assert loss.dtype == dtype
    loss.backward()
    formula = gradients(model)
    fm.MSELoss()(model(X), t).backward()
    agree(formula, gradients(model), rtol)


@pytest.mark.usefixtures("strategy")
def test_losses_add_up_and_scale() -> None:
    model = model_of()
    y = model(X)
    whole = fm.MSELoss()(y, T) + 0.5 * nn.functional.l1_loss(y, T) - fm.HuberLoss("sum")(y, T) / 3
    whole += 0.25 * fm.MSELoss()(model(2 * X), T)
    whole.backward()
    sum_ = gradients(model)
    want = [np.zeros(g.shape) for g in sum_]
    parts: list[tuple[float, Any, Any]] = [
        (1, fm.MSELoss(), X),
        (0.5, fm.L1Loss(), X),
        (-1 / 3, fm.HuberLoss("sum"), X),
        (0.25, fm.MSELoss(), 2 * X),
    ]
    for factor, loss_fn, x in parts:
        loss_fn(model(x), T).backward()
        want = [a + factor * g for a, g in zip(want, gradients(model), strict=True)]
    agree(sum_, want)


def test_values_of_a_loss_are_weighed() -> None:
    model, w = model_of(), RNG.random((6, 1))
    (fm.MSELoss("none")(model(X), T) * w).sum().backward()
    weighed = gradients(model)
    fm.MSELoss("sum")(model(X), T, sample_weight=w[:, 0]).backward()
    agree(weighed, gradients(model))


def test_a_gradient_for_a_loss() -> None:
    model = model_of()
    fm.MSELoss()(model(X), T).backward(np.array(3.0))
    scaled = gradients(model)
    fm.MSELoss()(model(X), T).backward(gradient=np.float64(1))
    agree(scaled, [3 * g for g in gradients(model)])


def test_penalties_on_parameters() -> None:
    model = model_of()
    loss = fm.MSELoss()(model(X), T)
    loss = loss + 0.1 * sum((p**2).sum() for p in model.parameters())
    loss = loss + 0.2 * sum(p.abs().sum() for p in model.parameters())
    loss.backward()
    penalised = gradients(model)
    fm.MSELoss()(model(X), T).backward()
    plain = gradients(model)
    values = [np.asarray(p) for p in model.parameters()]
    agree(penalised, [g + 0.2 * p + 0.2 * np.sign(p) for g, p in zip(plain, values, strict=True)])


def test_frozen_parameters_are_constants() -> None:
    model = model_of()
    model[0].weight.requires_grad = False
    (sum((p**2).sum() for p in model.parameters()) + model(X).sum()).backward()
    assert model[0].weight.grad is None
    assert model[0].bias.grad is not None
    assert not (model[0].weight * 2).requires_grad


def test_losses_of_arithmetic() -> None:
    model = model_of()
    labels = (T > 0).astype(float)
    for got, want in (
        (fm.BCELoss()(model(X).sigmoid(), labels), fm.BCEWithLogitsLoss()(model(X), labels)),
        (fm.MSELoss()(model(X).squeeze(), T[:, 0]), fm.MSELoss()(model(X), T)),
        (fm.MSELoss()(2 * model(X), 2 * T) / 4, fm.MSELoss()(model(X), T)),
    ):
        assert got.item() == pytest.approx(want.item(), rel=1e-12)
        got.backward()
        ours = gradients(model)
        want.backward()
        agree(ours, gradients(model), 1e-10)


@pytest.mark.parametrize(
    "loss_fn", [fm.MSELoss(), fm.L1Loss(), fm.HuberLoss(delta=0.5), fm.SmoothL1Loss("sum")]
)
def test_targets_that_are_recorded(loss_fn: Any, torch: Any) -> None:
    a, b = RNG.normal(size=(6, 1)), RNG.normal(size=(6,))
    x, t = fm.tensor(a, requires_grad=True), fm.tensor(b, requires_grad=True)
    loss_fn(x, t).backward()
    u, v = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
    other = getattr(torch.nn, type(loss_fn).__name__)(
        **{name: getattr(loss_fn, name) for name in loss_fn._options}
    )
    other(u, v[:, None]).backward()
    agree([x.grad, t.grad], [u.grad.numpy(), v.grad.numpy()])


def test_targets_of_other_losses_lose_their_gradient_aloud() -> None:
    model = model_of()
    with pytest.warns(UserWarning, match="target"):
        fm.BCELoss()(model(X).sigmoid(), model(X).sigmoid())
    with pytest.raises(TypeError, match="order is"):
        fm.BCELoss()(np.full((6, 1), 0.5), model(X).sigmoid())


@pytest.mark.usefixtures("strategy")
def test_function_losses_are_formulas() -> None:
    loss_fn = fm.FunctionLoss(lambda y, t: ((y - t) ** 2).mean())
    model = model_of()
    loss_fn(model(X), T).backward()
    formula = gradients(model)
    fm.MSELoss()(model(X), T).backward()
    agree(formula, gradients(model))
    histories = []
    for function in (loss_fn, fm.MSELoss()):
        model = model_of()
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), function)
        history = trainer.fit(X, T, max_epoch=5, batch_size=4, seed=0, validation_data=(X, T))
        histories.append([*history.loss, *history.validation_loss])
    np.testing.assert_allclose(*histories, rtol=1e-12)


def test_a_function_loss_may_use_parameters_in_a_loop_but_not_in_a_trainer() -> None:
    model = model_of()
    loss_fn = fm.FunctionLoss(
        lambda y, t: ((y - t) ** 2).mean() + sum((p**2).sum() for p in model.parameters())
    )
    loss_fn(model(X), T).backward()
    assert all(p.grad is not None for p in model.parameters())
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), loss_fn)
    with pytest.raises(TypeError, match="y alone"):
        trainer.fit(X, T)


# --- several networks


@pytest.mark.usefixtures("strategy")
def test_one_network_in_anothers_input(torch: Any) -> None:
    actor, critic = fm.Linear(2, 2, dtype="float64"), fm.MLP([4, 3, 1], "tanh", dtype="float64")
    x = fm.tensor(X, requires_grad=True)
    loss = -critic(fm.cat([x, actor(x)], dim=1)).mean()
    loss.backward()
    a = torch.nn.Linear(2, 2).double()
    c = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    for ours, theirs in ((actor, a), (critic, c)):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            q.data = torch.from_numpy(np.array(p))
    u = torch.tensor(X, requires_grad=True)
    other = -c(torch.cat([u, a(u)], 1)).mean()
    other.backward()
    assert loss.item() == pytest.approx(other.item(), rel=1e-12)
    parameters = [*a.parameters(), *c.parameters()]
    agree(
        [x.grad, *gradients(actor), *gradients(critic)],
        [u.grad.numpy(), *(p.grad.numpy() for p in parameters)],
    )


@pytest.mark.usefixtures("strategy")
def test_heads_on_one_trunk() -> None:
    trunk = fm.MLP([2, 4, 3], "tanh", dtype="float64", seed=0)
    left, right = fm.Linear(3, 1, dtype="float64"), fm.Linear(3, 1, dtype="float64")
    h = trunk(X)
    (fm.MSELoss()(left(h), T) + 2 * fm.L1Loss()(right(h), T)).backward()
    both = gradients(trunk)
    assert left.weight.grad is not None
    assert right.weight.grad is not None
    fm.MSELoss()(left(trunk(X)), T).backward()
    first = gradients(trunk)
    fm.L1Loss()(right(trunk(X)), T).backward()
    agree(both, [a + 2 * b for a, b in zip(first, gradients(trunk), strict=True)])


def test_a_network_used_twice_and_a_tensor_used_often() -> None:
    model, x = fm.Linear(2, 2, dtype="float64"), fm.tensor(X, requires_grad=True)
    y = model(model(x))
    (y * y + x * y + 3 * x).sum().backward()
    w, b = np.asarray(model.weight), np.asarray(model.bias)
    h = X @ w.T + b
    y = h @ w.T + b
    dy = 2 * y + X
    np.testing.assert_allclose(x.grad, dy @ w @ w + y + 3, rtol=1e-12)


def test_leaves_do_not_share_a_gradient() -> None:
    a, b = (fm.tensor(X, requires_grad=True) for _ in "ab")
    g = np.ones(X.shape)
    (a + b).backward(g)
    a.grad[0, 0] = 7
    assert b.grad[0, 0] == g[0, 0] == 1


# --- retain_graph, and what is gone


@pytest.mark.usefixtures("strategy")
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
