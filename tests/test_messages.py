"""Errors that say what to write instead."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm

X = np.linspace(0, 1, 90, dtype="f4")


class _Net(fm.Module):
    """Two layers, to be passed through in the wrong way."""

    def __init__(self) -> None:
        super().__init__()
        self.a = fm.Linear(1, 1)
        self.b = fm.Linear(1, 1)


def _trainer() -> fm.Trainer:
    model = fm.MLP([1, 3, 1], seed=0)
    return fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: _trainer().model.predict(X), "[:, None]"),
        (lambda: _trainer().fit(X, X), "[:, None]"),
        (lambda: _trainer().fit(X[:, None], X[:, None], epochs=5), "max_epoch"),
        (lambda: fm.MLP(2, 10, 3), "MLP([2, 10, 3])"),
        (lambda: fm.SGD(_trainer().model.parameters), "model.parameters()"),
        (lambda: fm.SGD(_trainer().model), "model.parameters()"),
        (lambda: fm.SGD([]), "ModuleList"),
        (lambda: fm.Sequential(fm.ReLU), "ReLU()"),
        (lambda: fm.Tensor([3], dtype=int), "fastmlp.tensor"),
        (lambda: fm.MLP([1, 1]).predict(np.zeros((2, 3))), "has 3 features"),
        (lambda: fm.MLP([2, 1]).predict(np.zeros((2, 1))), "has 1 feature,"),
        (lambda: fm.Trainer(fm.MLP([1, 1]), fm.MSELoss()), "expected an Optimizer"),
    ],
    ids=str,
)
def test_calls(call: Any, hint: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert hint in str(caught.value)


def test_the_order_of_a_loss() -> None:
    model, t = fm.MLP([1, 1]), np.zeros((2, 1), "f4")
    with pytest.raises(TypeError, match=r"loss_fn\(output, target\)"):
        fm.BCELoss()(t, model(t))


def test_what_is_torchs(torch: Any) -> None:
    linear = torch.nn.Linear(1, 1)
    for call in (
        lambda: fm.SGD(linear.parameters()),
        lambda: fm.Trainer(linear, fm.SGD(fm.MLP([1, 1]).parameters())),
        lambda: fm.Trainer(fm.MLP([1, 1]), torch.optim.SGD(linear.parameters())),
        lambda: fm.Sequential(linear),
    ):
        with pytest.raises(TypeError, match="torch"):
            call()


@pytest.mark.parametrize(
    ("forward", "hint"),
    [
        (lambda net, x: (net.a(x), net.b(x)), "one output"),
        (lambda net, x: [net.b(net.a(x))] * 2, "one output"),
        (lambda net, x: x * net.a(x), "a product of two values"),
        (lambda net, x: np.exp(net.a(x)), "NumPy"),
        (lambda net, x: None, "None"),
        (lambda net, x: fm.Linear(1, 1)(x), "ModuleList"),
    ],
    ids=["two values", "two outputs", "product", "NumPy", "nothing", "a new layer"],
)
def test_forward(forward: Any, hint: str) -> None:
    net = type("Net", (_Net,), {"forward": forward})()
    with pytest.raises(TypeError) as caught:
        net.predict(X[:, None])
    assert hint in str(caught.value)
    assert "Symbolic" not in str(caught.value)


def test_counts_are_grammatical() -> None:
    trainer = _trainer()
    trainer.fit(X[:, None], X[:, None], max_epoch=1)
    assert "1 epoch," in repr(trainer.history)
    trainer.fit(X[:, None], X[:, None], max_epoch=1)
    assert "2 epochs" in repr(trainer.history)
