"""State dicts of optimizers: torch's layout, checked whole before anything changes."""

import copy
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from torch_optimizers import torch_class

GRADIENTS = np.random.default_rng(0).normal(size=(8, 2, 3))
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.7), "weight_decay": 0.1, "maximize": True}),
    ("AdamW", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.4, "centered": True}),
    ("RMSprop", {"lr": 0.1}),
    ("NAdam", {"lr": 0.1, "betas": (0.5, 0.7), "weight_decay": 0.1, "momentum_decay": 0.2}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adagrad", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Lion", {"lr": 0.1, "betas": (0.5, 0.7), "weight_decay": 0.1}),
    ("Lion", {"lr": 0.1, "maximize": True}),
]
EACH = pytest.mark.parametrize(
    ("name", "options"), KINDS, ids=lambda v: v if type(v) is str else ""
)


def ours(name: str, options: dict[str, Any]) -> tuple[fm.Parameter, Any]:
    parameter = fm.Parameter(np.ones((2, 3)))
    return parameter, getattr(fm, name)([parameter], **options)


def step_ours(parameter: fm.Parameter, optimizer: Any, gradients: Any) -> None:
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()


@EACH
def test_to_torch_and_back(name: str, options: dict[str, Any], torch: Any) -> None:
    """Either goes on from where the other was."""
    parameter, optimizer = ours(name, options)
    theirs = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    their_optimizer = torch_class(torch, name)([theirs], **options)

    def step_torch(gradients: Any) -> None:
        for gradient in gradients:
            theirs.grad = torch.tensor(gradient)
            their_optimizer.step()

    step_ours(parameter, optimizer, GRADIENTS[:3])
    state = optimizer.state_dict()
    step_torch(GRADIENTS[:3])
    reference = their_optimizer.state_dict()
    for key, value in reference["state"].get(0, {}).items():
        np.testing.assert_allclose(state["state"].get(0, {}).get(key), value, rtol=1e-12)
    for key, value in reference["param_groups"][0].items():
        if key in optimizer.options or key == "params":
            assert state["param_groups"][0][key] == value

    their_optimizer = torch_class(torch, name)([theirs], lr=7.0)
    their_optimizer.load_state_dict(fm.nn.utils.to_torch(state))
    step_torch(GRADIENTS[3:])
    step_ours(parameter, optimizer, GRADIENTS[3:])
    np.testing.assert_allclose(np.asarray(parameter), theirs.detach().numpy(), rtol=1e-11)

    again, fresh = ours(name, {"lr": 7.0})
    again[...] = theirs.detach().numpy()
    fresh.load_state_dict(their_optimizer.state_dict())
    assert repr(fresh) == repr(optimizer)
    step_ours(again, fresh, GRADIENTS)
    step_torch(GRADIENTS)
    np.testing.assert_allclose(np.asarray(again), theirs.detach().numpy(), rtol=1e-10)


def test_a_state_dict_is_a_copy() -> None:
    parameter, optimizer = ours("Adam", {"lr": 0.1})
    step_ours(parameter, optimizer, GRADIENTS[:1])
    state = optimizer.state_dict()
    kept = copy.deepcopy(state)
    step_ours(parameter, optimizer, GRADIENTS[1:])
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], kept["state"][0]["exp_avg"])
    assert state["param_groups"] == kept["param_groups"]


def change(path: tuple[Any, ...], value: Any) -> Any:
    def apply(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        if value is None:
            del state[path[-1]]
        else:
            state[path[-1]] = value

    return apply


GROUP = ("param_groups", 0)
BAD = {
    "shape": change(("state", 0, "exp_avg_sq"), np.zeros((3, 2))),
    "text": change(("state", 0, "exp_avg"), "none"),
    "step": change(("state", 0, "step"), -1),
    "half a step": change(("state", 0, "step"), 1.5),
    "no average": change(("state", 0, "exp_avg"), None),
    "another's state": change(("state", 0, "momentum_buffer"), np.zeros((2, 3))),
    "another's option": change((*GROUP, "nesterov"), False),
    "AdamW's": change((*GROUP, "decoupled_weight_decay"), True),
    "lr": change((*GROUP, "lr"), -1.0),
    "betas": change((*GROUP, "betas"), (0.9, 1.0)),
    "more parameters": change((*GROUP, "params"), [0, 1]),
    "no params": change((*GROUP, "params"), None),
    "other numbers": change(("state", 5), {}),
    "a group that is none": change(GROUP, 3),
    "no state": change(("state",), None),
    "a state that is none": change(("state", 0), 3),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused_whole(name: str) -> None:
    parameter, optimizer = ours("Adam", {"lr": 0.1, "weight_decay": 0.1})
    step_ours(parameter, optimizer, GRADIENTS[:2])
    before = optimizer.state_dict()
    bad = copy.deepcopy(before)
    bad["param_groups"][0]["lr"] = 0.9
    bad["state"][0]["step"] = 99
    BAD[name](bad)
    with pytest.raises((TypeError, ValueError), match=r"state_dict|^lr|^betas"):
        optimizer.load_state_dict(bad)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"][0]["step"] == 2
    for key in ("exp_avg", "exp_avg_sq"):
        np.testing.assert_array_equal(after["state"][0][key], before["state"][0][key])


def test_options_that_hold_only_together_are_loaded_together() -> None:
    nesterov = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
    for first, second in ((nesterov, {"lr": 0.2}), ({"lr": 0.2}, nesterov)):
        _, optimizer = ours("SGD", first)
        _, other = ours("SGD", second)
        optimizer.load_state_dict(other.state_dict())
        assert repr(optimizer) == repr(other)


def test_param_groups_are_live() -> None:
    parameter, optimizer = ours("SGD", {"lr": 0.1})
    (group,) = optimizer.param_groups
    assert group["params"][0] is parameter
    group["lr"] = 0.25
    group.update(momentum=0.5)
    group |= {"weight_decay": 0.125}
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.25, 0.5, 0.125)
    optimizer.lr = 1.0
    assert group["lr"] == optimizer.param_groups[0]["lr"] == 1.0
    before = np.array(parameter)
    parameter.grad = np.ones((2, 3))
    group["weight_decay"] = 0
    optimizer.step()
    np.testing.assert_array_equal(before - np.asarray(parameter), 1.0)
    assert copy.deepcopy(optimizer.param_groups)[0]["lr"] == 1.0


def test_what_would_be_ignored_is_refused() -> None:
    parameter, optimizer = ours("SGD", {"lr": 0.1})
    group = optimizer.param_groups[0]
    with pytest.raises(AttributeError, match=r"'learning_rate'; did you mean lr\?"):
        optimizer.learning_rate = 0.5
    with pytest.raises(AttributeError, match="no option 'moment'; did you mean momentum"):
        optimizer.moment = 0.5
    for name in ("options", "parameters", "param_groups"):
        with pytest.raises(AttributeError, match=name):
            setattr(optimizer, name, {})
    with pytest.raises(TypeError, match="item assignment"):
        optimizer.options["lr"] = 0.5
    with pytest.raises(KeyError, match="did you mean lr"):
        group["learning_rate"] = 0.5
    with pytest.raises(TypeError, match="params"):
        group["params"] = []
    for remove in (group.clear, group.popitem, lambda: group.pop("lr")):
        with pytest.raises(TypeError, match="not removed"):
            remove()
    with pytest.raises(TypeError, match=r"'learning_rate'; did you mean lr\?"):
        fm.SGD([parameter], learning_rate=0.5)
    with pytest.raises(ValueError, match="capturable"):
        fm.Adam([parameter], capturable=True)
    assert repr(optimizer) == repr(fm.SGD([parameter], lr=0.1, foreach=True, fused=None))


@pytest.mark.parametrize("lr", [10**400, -(10**400), float("inf"), float("nan"), -1, np.inf])
def test_a_rate_out_of_range(lr: Any) -> None:
    with pytest.raises(ValueError, match="lr: expected a finite number"):
        ours("SGD", {"lr": lr})


def test_a_rate_from_anything_that_is_a_number(torch: Any) -> None:
    for lr in (np.float16(0.5), np.array(0.5), torch.tensor(0.5), np.float64(0.5)):
        assert ours("SGD", {"lr": lr})[1].lr == 0.5
    assert ours("Adam", {"betas": np.array([0.5, 0.75])})[1].betas == (0.5, 0.75)
    for bad in ("0.5", None, True, np.array([0.5]), 1j):
        with pytest.raises(TypeError, match="lr: expected a number"):
            ours("SGD", {"lr": bad})


def test_step_and_zero_grad_as_torch_has_them(device: str) -> None:
    model = fm.MLP([3, 1], seed=0, device=device)
    optimizer = fm.SGD(model.parameters(), lr=0.1)
    x, t = np.ones((2, 3), "f4"), np.zeros((2, 1), "f4")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = fm.MSELoss()(model(x), t)
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[0] > losses[1] > losses[2] > 0
    optimizer.zero_grad(set_to_none=False)
    for parameter in model.parameters():
        np.testing.assert_array_equal(parameter.grad, np.zeros(parameter.shape))
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(TypeError, match="closure: expected a function"):
        optimizer.step(3)
