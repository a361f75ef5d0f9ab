"""Optimizers and trainers: states in torch's layout, copies and pickles that go on to the same bits."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}
EACH_COPY = pytest.mark.parametrize("copier", COPIES.values(), ids=COPIES)
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ("Adam", {"lr": 0.01, "amsgrad": True}),
    ("AdamW", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5, "centered": True}),
]
EACH_OPTIMIZER = pytest.mark.parametrize(("name", "options"), OPTIMIZERS)


def _data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("f4")
    return x, x[:, :1] - x[:, 1:2] ** 2


def _step(model: Any, optimizer: Any) -> None:
    x, t = _data()
    optimizer.zero_grad()
    fm.MSELoss()(model(x), t).backward()
    optimizer.step()


def _values(model: Any) -> list[np.ndarray]:
    return [np.array(p) for p in model.parameters()]


def _assert_same(first: Any, second: Any) -> None:
    for a, b in zip(_values(first), _values(second), strict=True):
        np.testing.assert_array_equal(a, b)


@EACH_COPY
@EACH_OPTIMIZER
def test_trainers(copier: Callable[[Any], Any], name: str, options: dict[str, Any]) -> None:
    x, t = _data()
    model = fm.Sequential(fm.Linear(3, 8), fm.Dropout(0.2), fm.Tanh(), fm.Linear(8, 1))
    trainer = fm.Trainer(model, getattr(fm, name)(model.parameters(), **options), fm.HuberLoss())
    plan: dict[str, Any] = {"max_epoch": 3, "batch_size": 5, "eval_interval": 4}
    trainer.fit(x, t, **plan)
    twin = copier(trainer)
    assert repr(twin) == repr(trainer)
    for one in (trainer, twin):
        one.fit(x, t, **plan)
    _assert_same(trainer.model, twin.model)
    for what in ("loss", "report_step", "report_loss"):
        np.testing.assert_array_equal(
            getattr(trainer.history, what), getattr(twin.history, what), what
        )


@EACH_COPY
@EACH_OPTIMIZER
def test_optimizers(copier: Callable[[Any], Any], name: str, options: dict[str, Any]) -> None:
    """A model and its optimizer, copied together, belong together."""
    model = fm.MLP([3, 4, 1], "tanh", seed=0)
    optimizer = getattr(fm, name)(model.parameters(), **options)
    for _ in range(3):
        _step(model, optimizer)
    twins = copier((model, optimizer))
    assert list(twins[1].parameters) == list(twins[0].parameters())
    twins[1].lr = optimizer.lr = 0.02
    for _ in range(3):
        _step(model, optimizer)
        _step(*twins)
    _assert_same(model, twins[0])
    own = copier(optimizer)  # alone: with parameters of its own, as torch does it
    assert not set(own.parameters) & set(optimizer.parameters)
    assert own.steps == optimizer.steps


@EACH_OPTIMIZER
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states(name: str, options: dict[str, Any], dtype: str) -> None:
    model = fm.MLP([3, 4, 1], "tanh", seed=0, dtype=dtype)
    optimizer = getattr(fm, name)(model.parameters(), **options)
    for _ in range(3):
        _step(model, optimizer)
    state, twin = optimizer.state_dict(), copy.deepcopy(model)
    other = getattr(fm, name)(twin.parameters(), lr=1.0)
    other.load_state_dict(state)
    assert repr(other) == repr(optimizer)
    for _ in range(3):
        _step(model, optimizer)
        _step(twin, other)
    _assert_same(model, twin)


@EACH_OPTIMIZER
def test_states_go_to_torch_and_back(name: str, options: dict[str, Any], torch: Any) -> None:
    model = fm.MLP([3, 4, 1], "tanh", seed=0, dtype="float64")
    nn = torch.nn
    theirs = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    theirs.load_state_dict(fm.nn.utils.to_torch(model.state_dict()))
    ours = getattr(fm, name)(model.parameters(), **options)
    other = getattr(torch.optim, name)(theirs.parameters(), **options)
    x, t = (torch.from_numpy(a.astype("f8")) for a in _data())

    def step_theirs() -> None:
        other.zero_grad()
        nn.functional.mse_loss(theirs(x), t).backward()
        other.step()

    for _ in range(3):
        _step(model, ours)
        step_theirs()
    found, want = ours.state_dict(), other.state_dict()
    assert found["state"].keys() == want["state"].keys()
    for number, entry in want["state"].items():
        kept = {key: value for key, value in entry.items() if value is not None}
        assert found["state"][number].keys() == kept.keys()
        for key, value in kept.items():
            np.testing.assert_allclose(found["state"][number][key], value, rtol=1e-12, atol=1e-15)
    assert set(ours.options) <= set(want["param_groups"][0])
    # On from each other's state.
    ours.load_state_dict(want)
    other.load_state_dict(fm.nn.utils.to_torch(found))
    for _ in range(3):
        _step(model, ours)
        step_theirs()
    for p, q in zip(model.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(np.asarray(p), q.detach().numpy(), rtol=1e-11, atol=1e-14)


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    model = fm.MLP([3, 4, 1], seed=0)
    optimizer = fm.Adam(model.parameters(), lr=0.5)
    _step(model, optimizer)
    state = optimizer.state_dict()
    wrong = copy.deepcopy(state)
    wrong["state"][2]["exp_avg"] = np.zeros((9, 9))
    rate = copy.deepcopy(state)
    rate["param_groups"][0]["lr"] = -1
    few = copy.deepcopy(state)
    few["param_groups"][0]["params"] = [0]
    for bad in (wrong, rate, few, {}, 3):
        with pytest.raises((TypeError, ValueError)):
            optimizer.load_state_dict(bad)  # type: ignore[arg-type]
    for number, entry in optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            np.testing.assert_array_equal(value, state["state"][number][key])


def test_a_subclass_keeps_its_attributes() -> None:
    model = fm.MLP([3, 1])
    optimizer = Counting(model.parameters())
    optimizer.calls = 3
    assert copy.deepcopy(optimizer).calls == 3
    assert pickle.loads(pickle.dumps(optimizer)).calls == 3


class Counting(fm.SGD):
    calls = 0


def test_losses_and_seeds_are_copied() -> None:
    loss = copy.deepcopy(fm.HuberLoss("sum", 2.0))
    assert repr(loss) == "HuberLoss(reduction='sum', delta=2.0)"
    x, t = _data()

    def losses() -> Any:
        model = fm.MLP([3, 4, 1], seed=3)
        trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
        return trainer.fit(x, t, max_epoch=3, batch_size=5).loss

    np.testing.assert_array_equal(losses(), losses())  # fit takes the seed of MLP
