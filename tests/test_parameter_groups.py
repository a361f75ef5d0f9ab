"""Parameter groups: options of their own, in the five lines and in fit, as torch has them."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from torch_optimizers import torch_class

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(20, 4)), RNG.normal(size=(20, 2))
WIDTHS = [[4, 5, 2], [4, 70, 2]]
RULES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}, {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}, {"momentum": 0.5, "dampening": 0.2}),
    ("Adam", {"lr": 0.01}, {"lr": 0.003, "betas": (0.8, 0.9), "amsgrad": True, "eps": 1e-6}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3}, {"weight_decay": 0.0, "maximize": True}),
    ("RMSprop", {"lr": 0.003}, {"alpha": 0.9, "centered": True, "momentum": 0.5}),
    ("NAdam", {"lr": 0.01}, {"betas": (0.5, 0.9), "momentum_decay": 0.3, "weight_decay": 0.1}),
    ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.3}, {"lr": 0.02, "eps": 1e-4}),
    ("Adagrad", {"lr": 0.05}, {"initial_accumulator_value": 0.5, "lr_decay": 0.1}),
    ("Adagrad", {"lr_decay": 0.1, "eps": 1e-4}, {"weight_decay": 0.1, "lr": 0.02}),
    ("Lion", {"lr": 0.003}, {"betas": (0.5, 0.6), "weight_decay": 0.3, "lr": 0.001}),
]
EACH = pytest.mark.parametrize(("name", "options", "own"), RULES, ids=lambda v: str(v)[:40])
SIZES = pytest.mark.parametrize("widths", WIDTHS, ids=["lanes", "dense"])


def groups(model: Any, own: dict[str, Any]) -> list[dict[str, Any]]:
    """The weights, and the biases with options of their own."""
    parameters = list(model.parameters())
    return [{"params": parameters[::2]}, {"params": parameters[1::2], **own}]


def loop(model: Any, optimizer: Any, steps: int) -> None:
    loss_fn = fm.MSELoss()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_fn(model(X), T).backward()
        optimizer.step()


def fit(model: Any, optimizer: Any, steps: int) -> None:
    fm.Trainer(model, optimizer, fm.MSELoss()).fit(X, T, max_epoch=steps, batch_size=None)


def torch_twin(torch: Any, model: Any) -> Any:
    twin = torch.nn.Sequential(
        torch.nn.Linear(*model[0].weight.shape[::-1], dtype=torch.float64),
        torch.nn.Tanh(),
        torch.nn.Linear(*model[2].weight.shape[::-1], dtype=torch.float64),
    )
    with torch.no_grad():
        for theirs, ours in zip(twin.parameters(), model.parameters(), strict=True):
            theirs.copy_(torch.tensor(np.array(ours)))
    return twin


def torch_loop(torch: Any, model: Any, optimizer: Any, steps: int) -> None:
    x, t = torch.tensor(X), torch.tensor(T)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), t).backward()
        optimizer.step()


def make(widths: list[int], device: str = "cpu") -> Any:
    return fm.MLP(widths, "tanh", dtype="float64", seed=3, device=device)


def assert_same(model: Any, twin: Any, tolerance: float = 1e-12) -> None:
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        want = theirs.detach().numpy()
        np.testing.assert_allclose(
            np.array(ours), want, rtol=0, atol=tolerance * np.abs(want).max()
        )


@SIZES
@EACH
@pytest.mark.parametrize("run", [loop, fit])
def test_options_of_groups(
    run: Any,
    name: str,
    options: dict[str, Any],
    own: dict[str, Any],
    widths: list[int],
    device: str,
    torch: Any,
) -> None:
    """As in torch, on the way and after a state dict has gone there and back."""
    model = make(widths, device)
    twin = torch_twin(torch, model)
    optimizer = getattr(fm, name)(groups(model, own), **options)
    theirs = torch_class(torch, name)(groups(twin, own), **options)
    run(model, optimizer, 6)
    torch_loop(torch, twin, theirs, 6)
    assert_same(model, twin)
    state = optimizer.state_dict()
    theirs.load_state_dict(fm.nn.utils.to_torch(state))
    for ours, group in zip(state["param_groups"], theirs.state_dict()["param_groups"], strict=True):
        assert ours["params"] == group["params"]
    run(model, optimizer, 5)
    torch_loop(torch, twin, theirs, 5)
    assert_same(model, twin)

    fresh = getattr(fm, name)(groups(model, {}), lr=7.0)
    fresh.load_state_dict(theirs.state_dict())
    assert repr(fresh) == repr(optimizer)
    run(model, fresh, 5)
    torch_loop(torch, twin, theirs, 5)
    assert_same(model, twin)


@SIZES
@EACH
def test_fit_equals_the_loop(
    name: str, options: dict[str, Any], own: dict[str, Any], widths: list[int]
) -> None:
    models = make(widths), make(widths)
    for model, run in zip(models, (loop, fit), strict=True):
        run(model, getattr(fm, name)(groups(model, own), **options), 9)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_groups_are_live() -> None:
    model = make([4, 5, 2])
    optimizer = fm.SGD(groups(model, {"lr": 0.5, "name": "biases"}), lr=0.25)
    first, second = optimizer.param_groups
    assert (first["lr"], second["lr"], optimizer.lr) == (0.25, 0.5, 0.25)
    assert second["name"] == "biases"
    weights = [np.array(p) for p in model.parameters()]
    second["lr"] = 0.0
    loop(model, optimizer, 1)
    changed = [not np.array_equal(p, w) for p, w in zip(model.parameters(), weights, strict=True)]
    assert changed == [True, False, True, False]
    optimizer.lr = 0.125  # of all groups
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]
    second.update(momentum=0.9, nesterov=True)
    assert (optimizer.nesterov, second["nesterov"]) == (False, True)
    with pytest.raises(ValueError, match="nesterov"):
        optimizer.momentum = 0.0
    assert [group["momentum"] for group in optimizer.param_groups] == [0.0, 0.9]


@SIZES
def test_a_group_changed_and_one_added_in_a_callback(
    widths: list[int], device: str, torch: Any
) -> None:
    model = make(widths, device)
    twin = torch_twin(torch, model)
    *others, last = model.parameters()
    optimizer = fm.Adam([{"params": others[:1]}, {"params": others[1:], "lr": 1e-2}], lr=1e-3)
    *their_others, their_last = twin.parameters()
    theirs = torch.optim.Adam(
        [{"params": their_others[:1]}, {"params": their_others[1:], "lr": 1e-2}], lr=1e-3
    )

    def change(optimizer: Any, epoch: int, last: Any) -> None:
        if epoch == 2:
            optimizer.param_groups[1]["lr"] = 3e-3
            optimizer.param_groups[0]["betas"] = (0.7, 0.9)
        if epoch == 4:
            optimizer.add_param_group({"params": last, "lr": 2e-2})

    def callback(info: fm.EpochInfo) -> None:
        change(info.trainer.optimizer, info.epoch, last)

    trainer = fm.Trainer(model, optimizer, fm.MSELoss())
    trainer.fit(X, T, max_epoch=9, batch_size=None, callbacks=callback)
    for epoch in range(9):
        torch_loop(torch, twin, theirs, 1)
        change(theirs, epoch, their_last)
    assert_same(model, twin)
    assert optimizer.state_dict()["state"][3]["step"] == 4


def test_copies() -> None:
    model = make([4, 5, 2])
    optimizer = fm.Adam(groups(model, {"lr": 0.5, "amsgrad": True}), lr=0.25)
    optimizer.add_param_group({"params": fm.Parameter(np.zeros(3)), "initial_lr": 0.75})
    loop(model, optimizer, 2)
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert repr(other) == repr(optimizer)
        assert [len(group["params"]) for group in other.param_groups] == [2, 2, 1]
        assert other.param_groups[2]["initial_lr"] == 0.75
        assert other.defaults == optimizer.defaults
        other.param_groups[1]["lr"] = 0.125
        assert optimizer.param_groups[1]["lr"] == 0.5
        for ours, copied in zip(
            optimizer.state_dict()["state"].values(),
            other.state_dict()["state"].values(),
            strict=True,
        ):
            np.testing.assert_array_equal(ours["exp_avg"], copied["exp_avg"])
    assert type(copy.deepcopy(optimizer.param_groups)) is list


def test_what_the_list_and_the_state_refuse() -> None:
    model = make([4, 5, 2])
    optimizer = fm.SGD(groups(model, {}), lr=0.25)
    for change in (
        lambda: optimizer.param_groups.append({}),
        lambda: optimizer.param_groups.pop(),
        lambda: optimizer.param_groups.__setitem__(0, {}),
    ):
        with pytest.raises(TypeError, match="add_param_group"):
            change()
    other = fm.SGD(model.parameters(), lr=0.5)
    for a, b in ((optimizer, other), (other, optimizer)):
        with pytest.raises(ValueError, match=r"state_dict: expected groups of \["):
            a.load_state_dict(b.state_dict())
    assert optimizer.lr == 0.25
