"""What a compiled `forward` has read, and what changes afterwards: globals, objects, parameters."""

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

torch = pytest.importorskip("torch")
F = torch.nn.functional
Forward = Callable[..., Any]
X = np.random.default_rng(0).normal(size=(8, 4))


def _net(nn: Any, forward: Forward) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 4)
            self.scale = nn.Parameter(torch.tensor(0.7))

    Net.forward = forward
    return Net()


SCALE = 1.0
OPTIONS = types.SimpleNamespace(scale=1.0, inner=types.SimpleNamespace(scales=[1.0]))
MODULE: Any = types.ModuleType("settings")


def _helper(x: Any) -> Any:
    return x * SCALE


def _set_global(net: Any, value: float) -> None:
    global SCALE
    SCALE = value


def _set_inner(net: Any, value: float) -> None:
    OPTIONS.inner.scales[0] = value


def _closure() -> tuple[Forward, Any]:
    scale = 1.0

    def change(net: Any, value: float) -> None:
        nonlocal scale
        scale = value

    return lambda s, x: s.a(x) * scale, change


CHANGES: list[tuple[Forward, Any]] = [
    (lambda s, x: s.a(x) * SCALE, _set_global),
    (lambda s, x: _helper(s.a(x)), _set_global),
    (lambda s, x: sum(h * SCALE for h in [s.a(x)]), _set_global),
    (lambda s, x: s.a(x) * OPTIONS.scale, lambda net, v: setattr(OPTIONS, "scale", v)),
    (lambda s, x: s.a(x) * s.seen[0], lambda net, v: net.seen.__setitem__(0, v)),
    (lambda s, x: s.a(x) * s.options["a"][0], lambda net, v: net.options.update(a=[v])),
    (lambda s, x: s.a(x) * OPTIONS.inner.scales[0], _set_inner),
    (lambda s, x: s.a(x) * MODULE.scale, lambda net, v: setattr(MODULE, "scale", v)),
    (lambda s, x: s.a(x) * float(s.array[0]), lambda net, v: net.array.__setitem__(0, v)),
    (lambda s, x: s.a(x) * s.kept.item(), lambda net, v: net.kept.fill_(v)),
    (lambda s, x: s.a(x) * s.tensor.item(), lambda net, v: net.tensor.fill_(v)),
    (lambda s, x: s.a(x) * s.constant, lambda net, v: setattr(type(net), "constant", v)),
    _closure(),
]


@pytest.mark.parametrize(("forward", "change"), CHANGES, ids=range(len(CHANGES)))
def test_what_changes_without_the_model(forward: Forward, change: Any) -> None:
    """A compiled program is right for what globals, and what attributes hold, are now."""
    model = _net(fm.nn, forward)
    model.seen, model.options = [1.0], {"a": [1.0]}
    model.array, model.tensor = np.ones(2), torch.ones(1, dtype=torch.float64)
    model.register_buffer("kept", np.ones(1))
    type(model).constant = 1.0
    for value in (1.0, 3.0, 1.0, 0.5):
        change(model, value)
        for _ in range(2):
            np.testing.assert_allclose(model(X), value * np.asarray(model.a(X)), rtol=1e-6)
            np.testing.assert_allclose(model.predict(X), value * model.a.predict(X), rtol=1e-6)
    change(model, 1.0)


COUNT = 0


def _count(s: Any, x: Any) -> Any:
    global COUNT
    COUNT += 1
    return s.a(x) * COUNT


def test_a_global_that_forward_counts_in() -> None:
    model = _net(fm.nn, _count)
    with pytest.warns(UserWarning, match="changes what it reads"):
        model(X)
    for _ in range(3):
        before = COUNT
        np.testing.assert_allclose(model(X), (before + 1) * np.asarray(model.a(X)), rtol=1e-6)


def test_a_log_is_written_where_forward_is_traced() -> None:
    seen: list[str] = []
    model = _net(fm.nn, lambda s, x: (seen.append(str(x.shape)), s.a(x))[1])
    for _ in range(3):
        model(X)
    assert seen == ["(batch, 4)"]


def test_numbers_of_a_parameter_are_read_for_each_call() -> None:
    model = _net(fm.nn, lambda s, x: s.a(x) * (s.scale.item() + float(s.a.bias.detach().norm())))
    with pytest.warns(UserWarning, match="reads numbers of a parameter"):
        model(X)
    for value in (1.0, 3.0):
        model.scale.data.fill_(value)
        want = np.asarray(model.a(X)) * (value + np.linalg.norm(model.a.bias))
        np.testing.assert_allclose(model(X), want, rtol=1e-5)
    with pytest.warns(UserWarning, match=r"reads numbers of a parameter.*runs once"):
        model.predict(X)


def test_what_is_drawn_from_is_drawn_from_for_each_call() -> None:
    model = _net(fm.nn, lambda s, x: s.a(x) * next(s.numbers) * s.rng.random())
    model.numbers, model.rng = iter(range(1, 9)), np.random.default_rng(3)
    factors = np.random.default_rng(3).random(4) * range(1, 5)
    for factor in factors:
        np.testing.assert_allclose(model(X), factor * np.asarray(model.a(X)), rtol=1e-6)


def test_models_that_read_nothing_else_are_not_asked() -> None:
    model = _net(fm.nn, lambda s, x: s.b(F.relu(torch.tanh(np.tanh(s.a(x))))))
    assert not model._compiled().by_call
