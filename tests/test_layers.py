"""Flatten and Residual: against what they are made of, in Sequential and in `forward`."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastmlp as fm


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _images(rng: np.random.Generator, dtype: str = "f8") -> np.ndarray:
    return rng.normal(size=(7, 2, 3, 4)).astype(dtype)


class Images(fm.Module):
    def __init__(self, output: fm.Module) -> None:
        super().__init__()
        self.flatten = fm.Flatten()
        self.output = output

    def forward(self, x: Any) -> Any:
        return self.output(self.flatten(x))


@pytest.mark.parametrize("own_forward", [False, True])
def test_flatten(own_forward: bool, device: str, rng: np.random.Generator) -> None:
    plain = fm.MLP([24, 5, 3], dtype="float64", seed=0, device=device)
    layers = copy.deepcopy(plain)
    model = Images(layers) if own_forward else fm.Sequential(fm.Flatten(), layers)
    x, t = _images(rng), rng.integers(0, 3, 7)
    rows = x.reshape(7, 24)
    np.testing.assert_array_equal(model.predict(x), plain.predict(rows))
    np.testing.assert_array_equal(model.predict(rows), plain.predict(rows))
    np.testing.assert_array_equal(model.predict(rows[0]), plain.predict(rows[0]))
    assert model.predict(x[:0]).shape == (0, 3)
    tracked = fm.tensor(x, requires_grad=True)
    model(tracked).backward(np.ones((7, 3)))
    twin = fm.tensor(rows, requires_grad=True)
    plain(twin).backward(np.ones((7, 3)))
    assert tracked.grad is not None
    assert tracked.grad.shape == x.shape
    np.testing.assert_array_equal(tracked.grad.reshape(7, 24), twin.grad)
    for net, data in ((model, x), (plain, rows)):
        optimizer = fm.SGD(net.parameters(), lr=0.1)
        fm.Trainer(net, optimizer).fit(
            data, t, max_epoch=3, batch_size=3, seed=1, validation_data=(data, t)
        )
    np.testing.assert_array_equal(model.predict(x), plain.predict(rows))


def test_flatten_between_layers_does_nothing(rng: np.random.Generator) -> None:
    linear = fm.Linear(3, 2)
    x = rng.normal(size=(4, 3)).astype("f4")
    model = fm.Sequential(linear, fm.Flatten(), fm.ReLU())
    assert model._compiled().operations == fm.Sequential(linear, fm.ReLU())._compiled().operations
    with pytest.raises(ValueError, match="shape"):
        model(x[None])


def test_flatten_alone(rng: np.random.Generator) -> None:
    x = _images(rng)
    np.testing.assert_array_equal(fm.Flatten()(x), x.reshape(7, 24))
    assert repr(fm.Flatten()) == "Flatten(start_dim=1, end_dim=-1)"


@pytest.mark.parametrize("widths", [(4, 4), (4, 6)])
def test_residual(widths: tuple[int, int], device: str, torch: Any, rng: Any) -> None:
    inside, out = widths
    model = fm.Sequential(
        fm.Linear(3, inside, dtype="float64"),
        fm.Residual(
            fm.Linear(inside, 5, dtype="float64"), fm.Tanh(), fm.Linear(5, out, dtype="float64")
        ),
        fm.Linear(out, 2, dtype="float64"),
        device=device,
    )
    block = model[1]
    assert (block.projection is None) == (inside == out)
    x, t = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    weights = {name: torch.tensor(value) for name, value in model.state_dict().items()}
    for value in weights.values():
        value.requires_grad_()

    def linear(z: Any, name: str) -> Any:
        return torch.nn.functional.linear(z, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    z = linear(torch.tensor(x), "0")
    f = linear(torch.tanh(linear(z, "1.layers.0")), "1.layers.2")
    shortcut = z if block.projection is None else linear(z, "1.projection")
    y = linear(shortcut + f, "2")
    np.testing.assert_allclose(model.predict(x), y.detach().numpy(), rtol=1e-12, atol=1e-13)
    torch.nn.functional.mse_loss(y, torch.tensor(t)).backward()
    fm.MSELoss()(model(x), t).backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            parameter.grad, weights[name].grad.numpy(), rtol=1e-11, atol=1e-13, err_msg=name
        )
    assert isinstance(fm.MSELoss()(copy.deepcopy(model)(x), t).item(), float)
    twin = pickle.loads(pickle.dumps(model))  # on the CPU
    np.testing.assert_allclose(twin.predict(x), model.predict(x), rtol=1e-12, atol=1e-13)


def test_residual_in_forward_is_the_sum(rng: np.random.Generator) -> None:
    block = fm.Residual(fm.Linear(3, 3), fm.ReLU())

    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Any) -> Any:
            return self.block(x)

    class Sum(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = block.layers[0]

        def forward(self, x: Any) -> Any:
            return x + fm.relu(self.linear(x))

    assert Net()._compiled().operations == Sum()._compiled().operations
    x = rng.normal(size=(4, 3)).astype("f4")
    np.testing.assert_array_equal(block(x), Sum()(x))
    assert fm.Residual([fm.Tanh(), fm.Dropout(0.5)]).projection is None


def test_a_projection_lies_with_the_layers() -> None:
    layer = fm.Linear(2, 3, dtype="float64", precision="float32")
    projection = fm.Residual(layer).projection
    assert projection is not None
    assert (projection.weight.dtype, projection.weight.shape) == (np.dtype("f8"), (3, 2))
    assert projection.bias is None
