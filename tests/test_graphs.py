"""Graphs of arithmetic, models and losses: where gradients go, and that they are the right ones."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn
from graphs import RNG, T, X, agree, gradients, model_of
from subprocesses import output_of

# --- losses


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
    for loss_fn in (fm.BCELoss(weight=2.0), fm.PoissonNLLLoss()):
        with pytest.warns(UserWarning, match="target"):
            loss_fn(model(X).sigmoid(), model(X).sigmoid())
    with pytest.raises(TypeError, match="order is"):
        fm.BCELoss()(np.full((6, 1), 0.5), model(X).sigmoid())


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


def test_parameters_as_inputs_and_targets() -> None:
    model, code = model_of(), fm.Parameter(X)
    model(code).sum().backward()
    want = fm.tensor(X, requires_grad=True)
    model(want).sum().backward()
    agree([code.grad], [want.grad])
    code.grad = None
    for loss in (
        fm.MSELoss()(code, X + 1),
        fm.MSELoss()(X + 1, code),
        fm.FunctionLoss(_mse)(code, X + 1),
    ):
        loss.backward()
        np.testing.assert_allclose(code.grad, -1 / 6, rtol=1e-12)
        code.grad = None
    with fm.no_grad():
        assert not model(code).requires_grad
    vector = nn.utils.parameters_to_vector(model.parameters())
    (vector**2).sum().backward()
    model.zero_grad()


def _mse(y: Any, t: Any) -> Any:
    return ((y - t) ** 2).mean()


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 2)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_losses_of_any_shape(shape: tuple[int, ...], reduction: str) -> None:
    a, t = RNG.normal(size=shape), RNG.normal(size=shape)
    x = fm.tensor(a, requires_grad=True)
    loss = fm.MSELoss(reduction)(x * 2, t)
    np.testing.assert_allclose(
        loss, ((2 * a - t) ** 2 if reduction == "none" else ((2 * a - t) ** 2).mean())
    )
    loss.sum().backward()
    count = a.size if reduction == "mean" else 1
    np.testing.assert_allclose(x.grad, 4 * (2 * a - t) / count, rtol=1e-12)


# --- several networks


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


def test_all_of_it_on_a_device(device: str) -> None:
    found = []
    for place in ("cpu", device):
        trunk = fm.MLP([2, 4, 3], "tanh", dtype="float64", seed=0).to(place)
        head = fm.MLP([5, 1], dtype="float64", seed=1).to(place)
        x = fm.tensor(X, requires_grad=True)
        h = trunk(x)
        y = head(fm.cat([x, h * 2], 1))
        loss = fm.MSELoss()(y, T) + 0.5 * fm.L1Loss()(h, np.zeros((6, 3))) + (y**2).mean()
        loss = loss + 0.1 * sum((p**2).sum() for p in trunk.parameters())
        loss.backward(retain_graph=True)
        loss.backward()
        found.append([loss.item(), x.grad, *gradients(trunk), *gradients(head)])
    agree(found[1], found[0])


@pytest.mark.parametrize("strategy", ["lanes", "dense"])
def test_either_way_to_run_a_network(strategy: str) -> None:
    code = """
import torch
import test_graph_rules
import test_graphs
test_graphs.test_a_formula_equals_the_loss("float64", 1e-12)
test_graphs.test_losses_add_up_and_scale()
test_graphs.test_values_of_a_loss_are_weighed()
test_graphs.test_function_losses_are_formulas()
test_graphs.test_one_network_in_anothers_input(torch)
test_graphs.test_heads_on_one_trunk()
for kind in ("loss", "output", "formula", "tracked", "values"):
    test_graph_rules.test_retain_graph(kind)
print("done")
"""
    assert output_of(code, FASTMLP_STRATEGY=strategy) == "done\n"
