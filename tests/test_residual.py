"""Sums of values, and values used twice: outputs, gradients and trainings, against torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import relative_error
from specs import TOLERANCE

Build = Callable[[Any], Any]


def _block(nn: Any) -> Any:
    """The input itself is summed, so that its gradient comes two ways."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(6, 17), nn.Tanh(), nn.Linear(17, 6))
            self.out = nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.out(x + self.block(x))

    return Net()


def _deep(nn: Any) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 33)
            self.blocks = nn.ModuleList(
                [nn.Sequential(nn.Linear(33, 33), nn.GELU(), nn.Linear(33, 33)) for _ in range(3)]
            )
            self.out = nn.Linear(33, 3)

        def forward(self, x: Any) -> Any:
            h = nn.functional.relu(self.first(x))
            for block in self.blocks:
                h = nn.functional.silu(h + block(h))
            return self.out(h)

    return Net()


def _many_uses(nn: Any) -> Any:
    """An affine layer whose output goes three ways, and twice into one sum."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 9), nn.Linear(9, 9), nn.Linear(9, 3)

        def forward(self, x: Any) -> Any:
            h = nn.functional.tanh(self.a(x))
            return self.c(h + h + self.b(h)) + self.c(nn.functional.silu(h))

    return Net()


def _two_branches(nn: Any) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3, bias=False))
            self.right = nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.left(x) + self.right(x)

    return Net()


def _before_the_activation(nn: Any) -> Any:
    """What is summed is the affine output, whose activation must not be fused."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            z = self.a(x)
            return z + self.b(nn.functional.gelu(z))

    return Net()


def _ends_as_it_begins(nn: Any) -> Any:
    """The input goes into the last sum, where its gradient is the output's."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            return x + self.block(x + x)

    return Net()


def _softmax_of_a_sum(nn: Any) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return nn.functional.softmax(self.a(x) + self.b(x), dim=-1)

    return Net()


def _a_module_twice(nn: Any) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid())

        def forward(self, x: Any) -> Any:
            return x + self.block(x + self.block(x))

    return Net()


NETS: list[Build] = [
    _block,
    _deep,
    _many_uses,
    _two_branches,
    _before_the_activation,
    _ends_as_it_begins,
    _softmax_of_a_sum,
    _a_module_twice,
]
NET = pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__[1:])
BATCHES = pytest.mark.parametrize("batch", [1, 19, 300])


def _pair(torch: Any, build: Build, dtype: str, device: str = "cpu") -> tuple[Any, Any]:
    """The same network twice, with the same weights; torch's in float64."""
    torch.manual_seed(1)
    theirs = build(torch.nn).double()
    ours = build(fm.nn).to(dtype)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        own[...] = other.detach().numpy()
    return ours.to(device), theirs


def _data(batch: int, outputs: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(batch)
    return rng.normal(size=(batch, 6)).astype(dtype), rng.normal(size=(batch, outputs)).astype(
        dtype
    )


def _close(got: Any, want: Any, dtype: str) -> None:
    want = want.detach().numpy() if hasattr(want, "detach") else np.asarray(want)
    assert relative_error(np.asarray(got), want) < TOLERANCE[dtype]


@NET
@BATCHES
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradients(torch: Any, build: Build, batch: int, dtype: str, device: str) -> None:
    ours, theirs = _pair(torch, build, dtype, device)
    outputs = theirs(torch.zeros(1, 6, dtype=torch.float64)).shape[1]
    x, t = _data(batch, outputs, dtype)
    tracked = fm.tensor(x, requires_grad=True)
    y = ours(tracked)
    loss = fm.MSELoss()(y, t)
    loss.backward()
    x_torch = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y_torch = theirs(x_torch)
    loss_torch = torch.nn.MSELoss()(y_torch, torch.tensor(t, dtype=torch.float64))
    loss_torch.backward()
    _close(y, y_torch, dtype)
    _close(ours.predict(x), y_torch, dtype)
    _close(loss.item(), loss_torch.item(), dtype)
    _close(tracked.grad, x_torch.grad, dtype)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        _close(own.grad, other.grad, dtype)


@NET
def test_gradients_of_an_output(torch: Any, build: Build) -> None:
    """A second pass adds to the first one's; the input's gradient is not asked for."""
    ours, theirs = _pair(torch, build, "float64")
    x = _data(7, 1, "float64")[0]
    y = theirs(torch.tensor(x))
    seed = np.random.default_rng(3).normal(size=y.shape)
    for _ in range(2):
        ours(x).backward(seed)
        theirs(torch.tensor(x)).backward(torch.tensor(seed))
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        _close(own.grad, other.grad, "float64")


@NET
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_trajectories(torch: Any, build: Build, name: str, device: str) -> None:
    """`fit`, whose optimizer works in the backward pass, ends where torch's loop ends."""
    ours, theirs = _pair(torch, build, "float64", device)
    outputs = theirs(torch.zeros(1, 6, dtype=torch.float64)).shape[1]
    x, t = _data(40, outputs, "float64")
    optimizer = getattr(torch.optim, name)(theirs.parameters(), lr=0.01)
    for _ in range(30):
        for rows in (slice(0, 16), slice(16, 32), slice(32, 40)):
            optimizer.zero_grad()
            torch.nn.MSELoss()(theirs(torch.tensor(x[rows])), torch.tensor(t[rows])).backward()
            optimizer.step()
    trainer = fm.Trainer(ours, getattr(fm, name)(ours.parameters(), lr=0.01), fm.MSELoss())
    history = trainer.fit(x, t, max_epoch=30, batch_size=16, shuffle=False, validation_data=(x, t))
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert relative_error(np.asarray(own), other.detach().numpy()) < 1e-9
    want = torch.nn.MSELoss()(theirs(torch.tensor(x)), torch.tensor(t)).item()
    assert history.validation_loss[-1] == pytest.approx(want, rel=1e-9)


@NET
def test_the_loop_and_fit_give_the_same_bits(build: Build) -> None:
    x, t = _data(32, 1, "float32")
    ends = []
    for fit in (True, False):
        fm.manual_seed(4)
        model = build(fm.nn)
        optimizer, loss_fn = fm.SGD(model.parameters(), lr=0.05), fm.MSELoss()
        t = np.zeros((32, model.predict(x).shape[1]), "float32")
        if fit:
            fm.Trainer(model, optimizer, loss_fn).fit(x, t, max_epoch=20, batch_size=None)
        else:
            for _ in range(20):
                loss = loss_fn(model(x), t)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        ends.append([np.array(p) for p in model.parameters()])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


@NET
def test_threads_change_nothing(build: Build) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 6)).astype("float32")
    ends = []
    for threads in (1, 2, 3):
        fm.set_num_threads(threads)
        fm.manual_seed(4)
        model = build(fm.nn)
        t = np.zeros((3000, model.predict(x[:1]).shape[1]), "float32")
        trainer = fm.Trainer(model, fm.Adam(model.parameters()), fm.MSELoss())
        trainer.fit(x, t, max_epoch=2, batch_size=1000, seed=1)
        ends.append([model.predict(x), *(np.array(p) for p in model.parameters())])
    for other in ends[1:]:
        for one, same in zip(ends[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


def test_dropout_on_one_of_two_ways() -> None:
    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.dropout = fm.Linear(2, 2), fm.Dropout(0.5)

        def forward(self, x: Any) -> Any:
            return x + self.dropout(self.block(x))

    model = Net()
    x = np.ones((200, 2), "float32")
    dropped = np.asarray(model(x)) == 1
    assert 0.3 < dropped.mean() < 0.7
    y = model(x)
    y.backward(np.ones((200, 2)))
    zero = np.asarray(y) == 1
    assert model.block.bias.grad == pytest.approx(2 * (~zero).sum(axis=0))
    np.testing.assert_allclose(model.eval()(x), x + np.asarray(model.block(x)), rtol=1e-6)


def test_what_the_output_does_not_need_is_left_out() -> None:
    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = fm.Linear(2, 3), fm.Linear(2, 4)

        def forward(self, x: Any) -> Any:
            y = self.used(x)
            self.unused(x)
            return y

    model = Net()
    fm.MSELoss()(model(np.ones((5, 2))), np.zeros((5, 3))).backward()
    assert model.used.weight.grad is not None
    assert model.unused.weight.grad is None
    assert len(model._compiled().operations) == 1


def test_sums_without_parameters() -> None:
    class Net(fm.Module):
        def forward(self, x: Any) -> Any:
            return x + x + fm.nn.functional.tanh(x)

    x = fm.tensor(np.array([[0.5, -1.0]]), requires_grad=True)
    Net()(x).backward(np.array([[1.0, 2.0]]))
    np.testing.assert_allclose(x.grad, [[1, 2]] * (3 - np.tanh([[0.5, -1.0]]) ** 2), rtol=1e-12)


@pytest.mark.parametrize(
    ("forward", "error", "patterns"),
    [
        (lambda s, x: s.wide(x) + s.narrow(x), ValueError, ["one width", "4 features", "2 of"]),
        (lambda s, x: x + s.wide(x), ValueError, ["one width", "input", "layer wide"]),
        (lambda s, x: s.narrow(x) + s.odd(x), ValueError, ["one width", "input", "layer odd"]),
        (lambda s, x: x + "1", TypeError, ["a sum with '1'", "cannot be compiled"]),
        (lambda s, x: None + x, TypeError, ["a sum with None"]),
        (lambda s, x: x * x, TypeError, ["product"]),
    ],
)
def test_what_does_not_fit(forward: Any, error: type[Exception], patterns: list[str]) -> None:
    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow, self.odd = fm.Linear(2, 4), fm.Linear(2, 2), fm.Linear(3, 2)

    Net.forward = forward
    with pytest.raises(error) as caught:
        Net().predict(np.zeros((1, 2)))
    for pattern in patterns:
        assert pattern in str(caught.value)


def _random_program(nn: Any, seed: int) -> Any:
    """Operations on any earlier values, some of them needed by nobody."""
    rng = np.random.default_rng(seed)
    plan: list[tuple[str, int, int]] = []
    for count in range(1, 3 + seed % 8):
        kind = str(rng.choice(["affine", "affine", "tanh", "softmax", "add", "add"]))
        plan.append((kind, int(rng.integers(count)), int(rng.integers(count))))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(1 + len(plan))])

        def forward(self, x: Any) -> Any:
            values = [x]
            for (kind, i, j), layer in zip(plan, self.layers, strict=False):
                if kind == "affine":
                    values.append(layer(values[i]))
                elif kind == "tanh":
                    values.append(nn.functional.tanh(values[i]))
                elif kind == "softmax":
                    values.append(nn.functional.softmax(values[i], dim=-1))
                else:
                    values.append(values[i] + values[j])
            return values[-1] + self.layers[len(plan)](values[-1])

    return Net()


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(torch: Any, seed: int, device: str) -> None:
    ours, theirs = _pair(torch, lambda nn: _random_program(nn, seed), "float64", device)
    x = _data(13, 6, "float64")[0]
    seed_gradient = np.random.default_rng(seed).normal(size=(13, 6))
    tracked = fm.tensor(x, requires_grad=True)
    x_torch = torch.tensor(x, requires_grad=True)
    y, y_torch = ours(tracked), theirs(x_torch)
    y.backward(seed_gradient)
    y_torch.backward(torch.tensor(seed_gradient))
    _close(y, y_torch, "float64")
    _close(ours.predict(x), y_torch, "float64")
    _close(tracked.grad, x_torch.grad, "float64")
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (own.grad is None) == (other.grad is None)
        if own.grad is not None:
            _close(own.grad, other.grad, "float64")
