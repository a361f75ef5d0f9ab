"""What cannot be traced says in which line it stands, and what to write instead."""

import inspect
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

Forward = Callable[[Any, Any], Any]
torch = pytest.importorskip("torch")
F = torch.nn.functional
X = np.ones((4, 2), "f4")


def _net(forward: Forward) -> Any:
    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = fm.Linear(2, 5), fm.Linear(5, 1)
            self.values: list[Any] = []

    Net.forward = forward
    return Net()


def _decide(s: Any, x: Any) -> Any:
    if x.sum() > 0:
        return s.a(x)
    return x


def _compare(s: Any, x: Any) -> Any:
    return s.a(x) if x > 0 else x


def _frozen(s: Any, x: Any) -> Any:
    with torch.no_grad():
        h = s.a(x)
    return s.b(h)


def _frozen_by_us(s: Any, x: Any) -> Any:
    with fm.no_grad():
        h = s.a(x)
    return s.b(h)


def _decide_by_item(s: Any, x: Any) -> Any:
    return s.a(x) if s.a(x).item() > 0 else x


# A call would run these as they stand, if they did not decide by values.
DECIDING = (_decide, _compare, _decide_by_item)
CASES: list[tuple[Forward, list[str]]] = [
    (_decide_by_item, ["'item'", "before there are numbers", "if s.a(x).item() > 0"]),
    (_decide, ["'sum'", "from what the model returns", "if x.sum() > 0:"]),
    (_compare, ["gt", "cannot decide by their values", "if x > 0 else x"]),
    (_frozen, ["no_grad", "requires_grad_(False)"]),
    (_frozen_by_us, ["no_grad", "requires_grad_(False)"]),
    (lambda s, x: s.a(x).detach(), ["'detach'", "requires_grad_(False)"]),
    (lambda s, x: s.a(x) * s.a(x), ["a product of two values"]),
    (lambda s, x: s.a(x) / s.a(x), ["a quotient by a value"]),
    (lambda s, x: 1 / s.a(x), ["a quotient by a value"]),
    (lambda s, x: s.a(x) / 0, ["a quotient by 0"]),
    (lambda s, x: s.a(x) * 0, ["a product with 0"]),
    (lambda s, x: s.a(x) * np.ones(5), ["product", "Standardize"]),
    (lambda s, x: np.ones(5) * s.a(x), ["product", "Standardize"]),
    (lambda s, x: s.a(x) - torch.ones(5), ["difference", "Standardize"]),
    (lambda s, x: torch.ones(5) - s.a(x), ["a sum with", "Standardize"]),
    (lambda s, x: s.a(x) + s.a.weight, ["a parameter of shape (5, 2)"]),
    (lambda s, x: s.a(x) / s.a.bias, ["a quotient by a parameter"]),
    (lambda s, x: s.a(x) * s.b.bias, ["one parameter for all features"]),
    (lambda s, x: s.a(x) + fm.Parameter(np.ones(5, "f4")), ["keep it in an attribute"]),
    (lambda s, x: s.a(torch.as_tensor(x)), ["array", "before there are numbers"]),
    (lambda s, x: s.a(torch.tensor(x)), ["array", "before there are numbers"]),
    (lambda s, x: s.a(x + torch.randn_like(x)), ["randn_like", "add noise to the input"]),
    (lambda s, x: F.alpha_dropout(s.a(x)), ["alpha_dropout", "Dropout is the layer"]),
    (lambda s, x: torch.sigmoid(s.a(x)) * s.a(x), ["a product of two values"]),
    (lambda s, x: fm.tensor(np.ones(5)) * s.a(x), ["a product with", "Standardize"]),
    (lambda s, x: s.a(x) + True, ["a sum with True"]),
    (lambda s, x: s.a(x) ** 2, ["pow"]),
    (lambda s, x: s.a(x) @ np.ones((5, 5)), ["matmul", "Linear"]),
    (lambda s, x: x @ s.a.weight, ["matmul", "Linear"]),
    (lambda s, x: torch.cat([x, x], dim=1), ["cat", "Linear layers for each of the parts"]),
    (lambda s, x: np.concatenate([x, x], 1), ["concatenate", "Linear layers for each"]),
    (lambda s, x: torch.stack([x, x]), ["stack"]),
    (lambda s, x: torch.exp(x), ["torch's function exp"]),
    (lambda s, x: np.exp(x), ["NumPy's function exp"]),
    (lambda s, x: np.add.reduce(s.a(x)), ["NumPy's function add.reduce"]),
    (lambda s, x: s.a(x).mean(), ["'mean'", "in the loss"]),
    (lambda s, x: torch.max(s.a(x), dim=1), ["maximum over a dimension"]),
    (lambda s, x: torch.max(s.a(x), 1), ["maximum over a dimension"]),
    (lambda s, x: torch.maximum(s.a(x), s.a(x)), ["larger or smaller of two values"]),
    (lambda s, x: s.a(x).clamp(), ["clamp without bounds"]),
    (lambda s, x: s.a(x).clamp(1, 0), ["clamp to 1 and 0"]),
    (lambda s, x: s.a(x)[:, 0], ["getitem", "the output afterwards"]),
    (lambda s, x: next(s.a(row) for row in x), ["iter"]),
    (lambda s, x: float(s.a(x)), ["float", "before there are numbers"]),
    (lambda s, x: s.a(x).item(), ["'item'", "before there are numbers"]),
    (lambda s, x: s.a(x).numpy(), ["'numpy'"]),
    (lambda s, x: torch.tensor(np.asarray(s.a(x))), ["array"]),
    (lambda s, x: F.normalize(s.a(x)), ["'norm'|normalize|LayerNorm"]),
    (lambda s, x: torch.tanh(s.a(x), out=torch.ones(1)), ["out"]),
    (lambda s, x: s.a(x).double(), ["converted to float64", "to(dtype="]),
    (lambda s, x: s.a(x).to("cuda"), ["moved to cuda", "model.to"]),
    (lambda s, x: s.a(x).view(2, -1), ["a view of sizes"]),
    (lambda s, x: s.a(x).view(-1, 3), ["a view of 3 features", "5"]),
    (lambda s, x: s.a(x).T, ["'T'"]),
    (lambda s, x: x.to("cpu").foo, ["'foo'"]),
    (lambda s, x: s.a(x) + s.b(s.a(x)).squeeze(), ["with and without a dimension"]),
    (lambda s, x: s.b(s.b(s.a(x)).squeeze()), ["without a dimension"]),
    (lambda s, x: fm.Linear(2, 2)(x), ["ModuleList"]),
    (lambda s, x: fm.nn.functional.linear(x, np.ones((5, 2))), ["weight of linear"]),
    (lambda s, x: fm.nn.functional.linear(x, fm.Parameter(np.ones((5, 2), "f4"))), ["attribute"]),
    (lambda s, x: fm.nn.functional.linear(x, s.a.weight, 1), ["bias of linear"]),
]


@pytest.mark.parametrize(("forward", "patterns"), CASES)
def test_errors(forward: Forward, patterns: list[str]) -> None:
    model = _net(forward)
    before = model.state_dict()
    with pytest.raises(TypeError) as caught:
        model.predict(X)
    message = str(caught.value)
    for pattern in patterns:
        assert any(part in message for part in pattern.split("|")), message
    assert "Symbolic" not in message
    if "out" not in patterns:  # that is Python's own error
        line = inspect.getsourcelines(forward)[1]
        told = int(message.split("(line ")[1].split()[0])
        assert line <= told <= line + 3
        assert f"of {__file__}" in message
    if forward in DECIDING:
        with pytest.raises(TypeError) as caught:
            model(X)
        assert str(caught.value) == message
    assert fm._core.recording()
    assert torch.is_grad_enabled()
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())


def test_dimensions_that_softmax_does_not_have() -> None:
    with pytest.raises(ValueError, match="dim"):
        _net(lambda s, x: F.softmax(s.a(x), dim=0))(X)
    with pytest.raises(IndexError, match="dim"):
        _net(lambda s, x: (x.size(2), s.a(x))[1])(X)


def test_what_does_not_fit() -> None:
    for forward in (
        lambda s, x: s.a(x.view(-1, 3)),
        lambda s, x: x.view(-1, 3),
        lambda s, x: torch.relu(x.reshape(x.size(0), 3)),
    ):
        with pytest.raises(ValueError, match="3"):
            _net(forward)(X)
    with pytest.raises(TypeError, match="relu"):
        _net(lambda s, x: s.a(x).relu(1, 2, 3))(X)


def test_shapes_as_they_are_printed() -> None:
    seen: list[str] = []

    def forward(s: Any, x: Any) -> Any:
        h = s.a(x)
        seen.extend([f"{x.shape}", f"{h.shape}", f"{h.size()}", f"{x.size(0)}", f"{h.shape[1]}"])
        seen.append(repr(h))
        assert h.shape[0] == x.shape[0]
        assert h.ndim == h.dim() == len(h.shape) == 2
        _, columns = h.shape
        assert columns == h.size(-1) == h.shape[-1] == 5
        return s.b(h)

    model = _net(forward)
    model(X)
    assert seen[:5] == ["(batch, 2)", "(batch, 5)", "(batch, 5)", "batch", "5"]
    assert seen[5] == "<traced value of shape (batch, 5)>"
    assert model._compiled().for_shape is None  # any number of rows will do
    count = len(seen)
    model(np.ones((9, 2)))
    assert len(seen) == count


def test_questions_for_the_number_of_rows() -> None:
    """The program is then for that number alone, and a Trainer cannot have one."""
    model = _net(lambda s, x: s.a(x) if len(x) > 5 else s.a(x).relu())
    few, many = -X, np.repeat(-X, 2, axis=0)
    for _ in range(2):
        assert np.asarray(model(few)).min() >= 0
        np.testing.assert_array_equal(model(many), model.a(many))
        assert model.predict(few).min() >= 0
        np.testing.assert_array_equal(model.predict(many), model.a(many))
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    with pytest.raises(TypeError, match="number of rows"):
        trainer.fit(X, X)
    for question in (
        lambda x: x.shape[0] // 2,
        lambda x: 2 * x.size(0),
        lambda x: range(x.size(0)),
        lambda x: x.shape[0] == 4,
        lambda x: x.numel(),
        len,
    ):
        asked = _net(lambda s, x, question=question: (question(x), s.a(x))[1])
        asked(X)
        assert asked._compiled(X).for_shape == (4, 2)


def test_questions_for_other_sizes() -> None:
    """The program is then for inputs of these sizes, and any number of rows."""

    def count(x: Any) -> int:
        number = 1
        for size in x.size()[1:]:
            number *= size
        return number

    model = _net(lambda s, x: s.b(torch.relu(s.a(x.view(-1, count(x))))))
    model.a = fm.Linear(12, 5)
    for rows in (3, 4):
        for inner in ((12,), (3, 4), (3, 2, 2)):
            x = np.random.default_rng(rows).normal(size=(rows, *inner)).astype("f4")
            np.testing.assert_array_equal(model(x), model(x.reshape(rows, 12)))
            assert model._compiled(x).for_shape == (None, *inner)
    with pytest.raises(ValueError, match="10"):
        model(np.ones((4, 2, 5)))


def test_attributes_that_change() -> None:
    model = _net(lambda s, x: s.a(x).relu() if s.on else s.a(x))
    model.on = True
    assert np.asarray(model(-X)).min() >= 0
    model.on = False
    np.testing.assert_array_equal(model(X), model.a(X))


def _count(s: Any, x: Any) -> Any:
    s.calls = getattr(s, "calls", 0) + 1
    return s.a(x)


def _keep(s: Any, x: Any) -> Any:
    s.hidden = s.a(x)
    return s.b(s.hidden)


def _append(s: Any, x: Any) -> Any:
    s.values.append(s.a(x))
    return s.b(s.values[-1])


@pytest.mark.parametrize(
    ("forward", "pattern"),
    [
        (_count, "sets the attribute 'calls' of a Net"),
        (_keep, "sets the attribute 'hidden' of a Net"),
        (_append, "changes what the attribute 'values' holds"),
        (lambda s, x: (random.random(), s.a(x))[1], "random numbers from random;"),
        (lambda s, x: (np.random.rand(), s.a(x))[1], "random numbers from numpy.random"),
        (lambda s, x: (torch.rand(1), s.a(x))[1], "random numbers from torch"),
    ],
)
def test_what_happens_once_alone_is_told(forward: Forward, pattern: str) -> None:
    with pytest.warns(UserWarning, match=f"{pattern}.*So it runs for each call"):
        _net(forward)(X)
    with pytest.warns(UserWarning, match=f"{pattern}.*runs once, not for each batch"):
        _net(forward).predict(X)


def test_nothing_else_is_told() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for forward in (_net(lambda s, x: torch.tanh(s.b(F.dropout(F.relu(s.a(x)))))),):
            forward(X)
            forward.eval()(X)


def test_inside_no_grad_forward_is_traced_as_always() -> None:
    model = _net(lambda s, x: s.b(torch.relu(s.a(x))))
    with fm.no_grad(), torch.no_grad():
        model(X)
        assert not fm._core.recording()
        assert not torch.is_grad_enabled()
    fm.MSELoss()(model(X), np.zeros((4, 1), "f4")).backward()
    assert model.a.weight.grad is not None
