"""A `forward` that is no native program runs as it stands where the model is called."""

import math
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastmlp as fm

torch = pytest.importorskip("torch")
F = torch.nn.functional
Forward = Callable[..., Any]


def _net(nn: Any, forward: Forward) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 4)
            self.norm, self.bn = nn.LayerNorm(6), nn.BatchNorm1d(4)
            self.scale = nn.Parameter(torch.tensor(0.7))
            self.log_std = nn.Parameter(torch.zeros(1, 4))
            self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3, 0.4]))
            self.heads = nn.ModuleDict({"one": nn.Linear(6, 1), "two": nn.Linear(6, 2)})
            self.w = nn.ParameterList([nn.Parameter(torch.eye(4) * 0.5), torch.ones(4)])
            self.calls, self.seen = 0, []

        def again(self, x: Any) -> Any:
            return torch.tanh(self.a(x))

    Net.forward = forward
    return Net()


def _frozen(s: Any, x: Any) -> Any:
    with torch.no_grad():
        h = s.again(x)
    return s.b(h)


def _count(s: Any, x: Any) -> Any:
    s.calls += 1
    s.mean += 0.1
    h = s.a(x)
    s.seen.append(h.detach())
    return s.b(h * h) * s.calls


def _vae(s: Any, x: Any) -> Any:
    mu, log_var = s.a(x), s.a(-x)
    std = torch.exp(0.5 * log_var)
    return s.b(mu + std * torch.randn_like(std)), mu, log_var


def _in_training(s: Any, x: Any) -> Any:
    y = s.again(x)
    return (s.b(y), y) if s.training else s.b(y)


def _cell(s: Any, x: Any, state: Any) -> Any:
    h, c = state
    i, g = torch.sigmoid(h @ s.w[0]), torch.tanh(s.bn(x))
    c = c * i + g * i
    return torch.tanh(c), c


ONE: list[Forward] = [
    lambda s, x: (s.b(s.again(x)), s.heads["one"](s.again(x))),
    lambda s, x: {name: head(s.again(x)) for name, head in s.heads.items()},
    lambda s, x: [s.a(x), x],
    lambda s, x: s.b(torch.sigmoid(s.a(x)) * s.again(x)),
    lambda s, x: s.b(F.silu(s.a(x)) * s.norm(s.a(x))),
    lambda s, x: torch.cat([x, s.again(x)], dim=1),
    lambda s, x: torch.concat((x, s.again(x)), axis=-1),
    lambda s, x: torch.hstack([x, s.again(x)]),
    lambda s, x: torch.stack([s.a(x), s.again(x)]).mean(0),
    lambda s, x: s.b(s.a(x) ** 2),
    lambda s, x: s.b(torch.exp(-(s.a(x) ** 2))),
    lambda s, x: s.b(torch.where(s.a(x) > 0, s.a(x), 0.1 * s.a(x))),
    lambda s, x: s.b(s.a(x) * (s.a(x) > 0).float()),
    lambda s, x: s.b(s.a(x)).mean(dim=1),
    lambda s, x: s.b(s.a(x)).max(dim=1).values,
    lambda s, x: s.b(s.a(x))[:, 1:3],
    lambda s, x: s.heads["one"](s.a(x)) + s.heads["two"](s.a(x)) - s.heads["two"](s.a(x)).mean(),
    lambda s, x: F.normalize(s.b(s.a(x)), dim=1),
    lambda s, x: F.layer_norm(s.b(s.a(x)), (4,), s.mean, s.w[1]),
    lambda s, x: F.glu(s.a(x), dim=-1),
    lambda s, x: F.prelu(s.a(x), s.scale),
    lambda s, x: torch.maximum(s.a(x), torch.zeros_like(s.a(x))),
    lambda s, x: F.softmax(s.a(x).masked_fill(s.a(x) < 0, -1e9), dim=1),
    lambda s, x: (x - s.mean) / (s.mean + 1) * s.b(s.a(x)),
    lambda s, x: s.scale * s.b(s.a(x)) / math.sqrt(2),
    lambda s, x: (s.b(s.a(x)), s.log_std.exp().expand_as(x)),
    lambda s, x: s.scale + s.w[1] * x + s.scale * x**3,
    lambda s, x: torch.addmm(s.w[1], x, s.w[0].t()) @ s.w[0],
    lambda s, x: F.linear(torch.tanh(x), torch.exp(s.a.weight), s.a.bias),
    lambda s, x: F.linear(s.a(x), s.a.weight.t()),
    lambda s, x: s.b(s.again(x).detach()) + s.a(x).sum(1, keepdim=True),
    lambda s, x: sum(head(s.again(x)).sum() for head in s.heads.values()),
    lambda s, x: torch.cat([s.b(s.a(x[:, i : i + 4])) for i in range(1)], dim=1),
    lambda s, x: torch.stack([s.b(s.a(row)) for row in x]),
    lambda s, x: s.b(s.a(x) + torch.ones(x.size(0), 6)),
    lambda s, x: s.bn(x * s.b(s.a(x))),
    lambda s, x: (s.a(x), sum((p**2).sum() for p in s.parameters())),
    _frozen,
    _vae,
    _count,
    _in_training,
]
X, Z = np.random.default_rng(0).normal(size=(2, 8, 4))
SEVERAL: list[tuple[Forward, tuple[Any, ...]]] = [
    (lambda s, x, z: s.a(x) + s.a(z), (X, Z)),
    (lambda s, x, z: s.b(s.a(x * z)), (X, Z)),
    (lambda s, x, z=None: s.a(x) if z is None else s.a(z), (X, None)),
    (lambda s, *xs: s.a(torch.cat(xs, dim=0)), (X, Z, X)),
    (lambda s, x, mask: s.a(x * mask), (X, Z > 0)),
    (lambda s, x, kind: s.heads[kind](s.a(x)), (X, "two")),
    (lambda s, pair: s.a(pair[0]) * s.a(pair[1]), ([X, Z],)),
    (lambda s, pair: s.a(pair[0]) * s.a(pair[1]), ((X, Z),)),
    (lambda s, batch: s.a(batch["x"]) * s.a(batch["z"]), ({"x": X, "z": Z},)),
    (lambda s, x: s.a(x.transpose(1, 2)).max(dim=1)[0], (np.stack([X, Z], 2),)),
    (lambda s, x: torch.softmax(s.a(x) @ s.a(x).transpose(-2, -1), dim=-1), (np.stack([X, Z]),)),
    (_cell, (X, (Z, Z))),
]
ALL = [*((forward, (X,)) for forward in ONE), *SEVERAL]


def _parts(y: Any) -> list[Any]:
    if isinstance(y, dict):
        return list(y.values())
    return list(y) if isinstance(y, tuple | list) else [y]


def _copy(value: Any) -> Any:
    return 0 if value is None else np.asarray(value.detach()).copy()


def _given(value: Any, dtype: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_given(part, dtype) for part in value)
    if isinstance(value, dict):
        return {name: _given(part, dtype) for name, part in value.items()}
    if not isinstance(value, np.ndarray):
        return value
    array = torch.tensor(value)
    return array.to(dtype) if array.is_floating_point() else array


def _trained(nn: Any, optim: Any, case: Any, dtype: Any, state: Any) -> tuple[list[Any], Any]:
    """All that 10 steps give, and the state at their start."""
    forward, args = case
    net = _net(nn, forward).to(dtype)
    if state is None:
        state = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    torch.manual_seed(3)
    given = tuple(_given(arg, dtype) for arg in args)
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    found: list[Any] = []
    for _ in range(10):
        optimizer.zero_grad()
        parts = _parts(net(*given))
        loss = sum(((part - 0.5) ** 2).mean() for part in parts)
        loss.backward()
        found += [_copy(part) for part in parts]
        found += [_copy(p.grad) for p in net.parameters()]
        optimizer.step()
    net.eval()
    with torch.no_grad():
        parts = _parts(net(*given))
    assert not any(part.requires_grad for part in parts)
    found += [_copy(part) for part in parts]
    return [*found, net.calls, len(net.seen), _copy(net.mean)], state


@pytest.mark.parametrize("case", ALL, ids=range(len(ALL)))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_as_in_torch(case: Any, dtype: Any) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        want, state = _trained(torch.nn, torch.optim, case, dtype, None)
        got, _ = _trained(fm.nn, fm.optim, case, dtype, state)
    assert len(want) == len(got)
    close = (
        {"rtol": 1e-10, "atol": 1e-11} if dtype is torch.float64 else {"rtol": 2e-3, "atol": 1e-4}
    )
    for i, (one, other) in enumerate(zip(want, got, strict=True)):
        np.testing.assert_allclose(other, one, **close, err_msg=f"value {i}")


def test_dropout_is_drawn_for_each_call() -> None:
    model = _net(fm.nn, lambda s, x: s.drop(s.a(x)) * 2 * s.drop(torch.ones_like(s.a(x))))
    model.drop = fm.Dropout(0.5)
    assert not np.array_equal(model(X), model(X))
    model.eval()
    np.testing.assert_allclose(model(X), 2 * np.asarray(model.a(X)))


def test_what_enters_keeps_its_gradient() -> None:
    """As outputs of other models and tracked inputs do."""
    first, model = fm.Linear(4, 4), _net(fm.nn, lambda s, x, z: s.a(x * z))
    x = fm.tensor(X.astype("f4"), requires_grad=True)
    model(first(x), x).sum().backward()
    own = [np.array(first.weight.grad), np.array(x.grad)]
    y = first(x)
    model.a(y * x).sum().backward()
    np.testing.assert_allclose(first.weight.grad, own[0] * 2, rtol=1e-5)
    np.testing.assert_allclose(x.grad, own[1] * 2, rtol=1e-4, atol=1e-5)


def test_models_in_models() -> None:
    """Values of several inputs and outputs are traced where the whole is one program."""
    two = _net(fm.nn, lambda s, x: (s.a(x), s.again(x)))
    join = _net(fm.nn, lambda s, x, z: s.b(x + z))
    whole = _net(fm.nn, lambda s, x: s.join(*s.two(x)))
    whole.two, whole.join = two, join
    want = np.asarray(join.b(two.a(X) + np.tanh(two.a(X))))
    np.testing.assert_allclose(whole.predict(X), want, rtol=1e-5)
    np.testing.assert_allclose(fm.nn.Sequential(whole)(X), want, rtol=1e-5)
    named = _net(fm.nn, lambda s, x: s.two(x=x)[0])
    named.two = two
    np.testing.assert_array_equal(named.predict(X), two.a.predict(X))


@pytest.mark.parametrize("forward", [ONE[0], ONE[3], ONE[9], _frozen], ids=range(4))
def test_who_refuses(forward: Forward) -> None:
    model = _net(fm.nn, forward)
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    for call in (
        lambda: model.predict(X),
        lambda: model.jacobian(X),
        lambda: trainer.fit(X, X),
        lambda: trainer.evaluate(X, X),
    ):
        with pytest.raises(TypeError, match=r"forward: .*a call runs this as it stands"):
            call()
    model(X)


def test_a_sequential_takes_them() -> None:
    gate = _net(fm.nn, lambda s, x: x.chunk(2, dim=1)[0] * torch.sigmoid(x.chunk(2, dim=1)[1]))
    model = fm.nn.Sequential(fm.Linear(4, 8), gate, fm.Linear(4, 3))
    h = np.asarray(model[0](X))
    want = model[2](h[:, :4] / (1 + np.exp(-h[:, 4:])))
    np.testing.assert_allclose(model(X), want, rtol=1e-5)
    np.testing.assert_allclose(fm.nn.Residual(gate, fm.Linear(2, 4))(X).shape, X.shape)


def test_torch_functions_have_their_gradient() -> None:
    model = _net(fm.nn, lambda s, x: s.b(torch.erf(s.a(x))))
    model(X).sum().backward()
    h = X.astype("f4") @ np.asarray(model.a.weight).T + np.asarray(model.a.bias)
    slope = 2 / np.sqrt(np.pi) * np.exp(-h * h) * np.asarray(model.b.weight).sum(0)
    np.testing.assert_allclose(model.a.weight.grad, slope.T @ X, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert model(X).shape == (8, 4)
    cut = _net(fm.nn, lambda s, x: s.b(torch.erf(s.a(x).detach())))
    cut(X).sum().backward()
    assert cut.a.weight.grad is None
    assert cut.b.weight.grad is not None


def test_layers_whose_subclass_has_a_forward_of_its_own() -> None:
    class Sine(fm.nn.Linear):
        def forward(self, x: Any) -> Any:
            return torch.sin(super().forward(x))

    class Steep(fm.nn.ReLU):
        def forward(self, x: Any) -> Any:
            return super().forward(x) ** 2

    sine, steep = Sine(4, 3), Steep()
    h = X.astype("f4") @ np.asarray(sine.weight).T + np.asarray(sine.bias)
    model = fm.nn.Sequential(sine, steep)
    np.testing.assert_allclose(model(X), np.maximum(np.sin(h), 0) ** 2, rtol=1e-4, atol=1e-6)
    model(X).sum().backward()
    want = ((np.cos(h) * 2 * np.maximum(np.sin(h), 0)).T @ X).astype("f4")
    np.testing.assert_allclose(sine.weight.grad, want, rtol=1e-4, atol=1e-5)


class Pair(NamedTuple):
    """What a model takes, and what it returns."""

    x: Any
    z: Any


def test_objects_go_in_and_out() -> None:
    model = _net(fm.nn, lambda s, pair: Pair(s.a(pair.x), s.a(pair.z)))
    y = model(Pair(X, Z))
    np.testing.assert_array_equal(y.z, model.a(Z))
    other = _net(fm.nn, lambda s, x: types.SimpleNamespace(y=s.a(x), n=3))
    np.testing.assert_array_equal(other(X).y, other.a(X))
    with pytest.raises(TypeError, match="one output, got a SimpleNamespace"):
        other.predict(X)


def test_effects_happen_once_a_call() -> None:
    model = _net(fm.nn, lambda s, x: (setattr(s, "calls", s.calls + 1), s.a(x))[1])
    with pytest.warns(UserWarning, match="sets the attribute 'calls'"):
        model(X)
    for _ in range(3):
        model(X)
    assert model.calls == 4


def test_hooks_with_several_inputs_and_outputs() -> None:
    model = _net(fm.nn, lambda s, x, *, z: (s.a(x), s.b(s.a(z))))
    seen: list[Any] = []
    model.register_forward_pre_hook(lambda m, args: seen.append(len(args)))
    model.register_forward_hook(lambda m, args, kw, y: seen.append(list(kw)), with_kwargs=True)
    model.register_forward_hook(lambda m, args, y: (*y, 1))
    model.b.register_full_backward_hook(lambda m, i, o: seen.append(o[0].shape))
    first, second, third = model(X, z=Z)
    (first.sum() + second.sum()).backward()
    assert third == 1
    assert seen == [1, ["z"], (8, 4)]
    model.register_full_backward_hook(lambda m, i, o: None)
    with pytest.raises(TypeError, match=r"expected one output .* hook a module inside"):
        model(X, z=Z)


def test_torch_no_grad() -> None:
    """Nothing that a model or a loss computes there has a graph."""
    model = fm.Linear(4, 4)
    for off in (
        torch.no_grad(),
        torch.inference_mode(),
        torch.set_grad_enabled(False),
        fm.no_grad(),
    ):
        with off:
            y = model(X)
            assert not y.requires_grad
            assert not fm.MSELoss()(model(X), X).requires_grad
    assert torch.set_grad_enabled(True)
    fm.MSELoss()(model(X), y).backward()
    want = np.array(model.weight.grad)
    model.zero_grad()
    fm.MSELoss()(model(X), np.array(y)).backward()
    np.testing.assert_array_equal(model.weight.grad, want)
    with torch.no_grad(), fm.no_grad():
        pass
    assert model(X).requires_grad
