"""Derivatives with respect to weights, and Levenberg and Marquardt's method beside SciPy's."""

import copy
import sys
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.nn.utils import parameters_to_vector, vector_to_parameters
from test_second_order import X, network

# Derivatives with respect to weights


def double(kind: Any, *sizes: int, **options: Any) -> Any:
    return kind(*sizes, dtype="float64", **options)


class Twice(fm.Module):
    """A layer, a norm and a slope that serve twice, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = double(fm.Linear, 3, 3), double(fm.Linear, 3, 2)
        self.norm, self.slope = double(fm.LayerNorm, 3), double(fm.PReLU)

    def forward(self, x: Any) -> Any:
        h = self.slope(self.norm(self.a(x)))
        return self.b(fm.sigmoid(self.slope(self.norm(self.a(h)))) + h)


class Scaled(fm.Module):
    """Parameters that are in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = fm.Parameter(np.array([0.5, -1.5, 2.0]))
        self.shift = fm.Parameter(np.array([0.3, -0.2]))
        self.hidden = double(fm.Linear, 3, 2)

    def forward(self, x: Any) -> Any:
        return fm.tanh(self.hidden(self.scale * x)) + self.shift


def layers(*others: Any) -> fm.Module:
    return fm.Sequential(double(fm.Linear, 3, 4), *others, double(fm.Linear, 4, 2))


def models() -> dict[str, fm.Module]:
    fm.manual_seed(0)
    rng = np.random.default_rng(1)
    kinds = {name: fm.MLP([3, 6, 4, 2], name, seed=1, dtype="float64") for name in ("tanh", "silu")}
    normed = double(fm.BatchNorm1d, 4)
    block = (
        double(fm.Linear, 4, 4),
        double(fm.LayerNorm, 4),
        fm.Tanh(),
        double(fm.PReLU, num_parameters=4),
    )
    made = {
        **kinds,
        "twice": Twice(),
        "scaled": Scaled(),
        "bare norm": layers(
            double(fm.LayerNorm, 4, elementwise_affine=False),
            fm.GELU(),
            double(fm.Linear, 4, 4, bias=False),
            fm.Softmax(),
        ),
        "residual": fm.Sequential(
            fm.Residual(double(fm.Linear, 3, 3), fm.Tanh()), double(fm.Linear, 3, 2)
        ),
        "output": fm.MLP([3, 4, 2], "elu", output_activation="sigmoid", seed=0, dtype="float64"),
        "layer norm": layers(double(fm.LayerNorm, 4), fm.SiLU()),
        "layer norm without bias": layers(double(fm.LayerNorm, 4, bias=False), fm.SiLU()),
        "norms alone": fm.Sequential(double(fm.LayerNorm, 3), double(fm.LayerNorm, 3)),
        "one slope": layers(double(fm.PReLU)),
        "slopes": layers(double(fm.PReLU, num_parameters=4), fm.Sigmoid()),
        "batch norm": layers(normed, fm.Tanh()),
        "blocks": layers(fm.Residual(*block), fm.Residual(double(fm.LayerNorm, 4), fm.ELU())),
        "wide": fm.Sequential(
            double(fm.Linear, 3, 37), double(fm.LayerNorm, 37), double(fm.PReLU, num_parameters=37),
            double(fm.Linear, 37, 2),
        ),
    }  # fmt: skip
    normed.running_mean.copy_(rng.normal(size=4))
    normed.running_var.copy_(rng.uniform(0.5, 2, 4))
    for model in made.values():
        model.eval()
        for parameter in model.parameters():  # norms begin with ones and zeros
            parameter.copy_(np.array(parameter) + 0.2 * rng.normal(size=parameter.shape))
    return made


MODELS = models()


@pytest.mark.parametrize("name", list(MODELS))
def test_weight_jacobian_by_differences_and_backward(name: str) -> None:
    model = MODELS[name]
    found = list(model.parameters())
    jacobian = model.weight_jacobian(X)
    outputs = jacobian.shape[1]
    values = np.array(parameters_to_vector(found))
    assert jacobian.shape == (40, outputs, len(values))
    assert jacobian.dtype == np.float64
    h = 1e-6
    for i in range(len(values)):
        sides = []
        for step in (h, -h):
            moved = values.copy()
            moved[i] += step
            vector_to_parameters(moved, found)
            sides.append(np.array(model.predict(X)))
        np.testing.assert_allclose((sides[0] - sides[1]) / (2 * h), jacobian[..., i], atol=1e-6)
    vector_to_parameters(values, found)
    for row in (0, 17):
        for out in range(outputs):
            model.zero_grad()
            y = model(X[row])
            y.backward(np.eye(outputs)[out])
            gradients = np.concatenate([np.ravel(p.grad) for p in found])
            np.testing.assert_allclose(jacobian[row, out], gradients, atol=1e-12)
    model.zero_grad()
    np.testing.assert_allclose(model.weight_jacobian(X[3]), jacobian[3], atol=1e-14)
    assert model.weight_jacobian(X[:0]).shape == (0, outputs, len(values))
    assert all(parameter.grad is None for parameter in found)


def in_torch(torch: Any, model: fm.Module) -> Any:
    """The same function of the same parameters, by name."""
    from fastmlp.torch import to_torch

    if isinstance(model, Twice | Scaled):
        kind = type(model)
        modules = {name: to_torch(module) for name, module in model.named_children()}

        class Own(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                for name, module in modules.items():
                    setattr(self, name, module)
                if kind is Scaled:
                    self.scale = torch.nn.Parameter(torch.tensor(np.array(model.scale)))
                    self.shift = torch.nn.Parameter(torch.tensor(np.array(model.shift)))

            def forward(self, x: Any) -> Any:
                if kind is Scaled:
                    return torch.tanh(self.hidden(self.scale * x)) + self.shift
                h = self.slope(self.norm(self.a(x)))
                return self.b(torch.sigmoid(self.slope(self.norm(self.a(h)))) + h)

        return Own()
    return to_torch(model)


@pytest.mark.parametrize("name", list(MODELS))
def test_weight_jacobian_is_torchs(torch: Any, name: str) -> None:
    model = MODELS[name]
    names = [own for own, _ in model.named_parameters()]
    other = in_torch(torch, model).eval()
    values = dict(other.named_parameters())
    assert set(names) == set(values)

    def outputs(parameters: Any, row: Any) -> Any:
        return torch.func.functional_call(other, parameters, (row[None],))[0]

    of_row = torch.func.jacrev(outputs)
    jacobian = model.weight_jacobian(X)
    for i in range(0, 40, 3):
        found = of_row(values, torch.tensor(X[i]))
        expected = np.concatenate(
            [found[own].detach().numpy().reshape(jacobian.shape[1], -1) for own in names], axis=1
        )
        np.testing.assert_allclose(jacobian[i], expected, rtol=1e-12, atol=1e-12)


def test_weight_jacobian_of_some_parameters_and_many_rows() -> None:
    model = network(3, 50, 50, 2, dtype="float32")
    rows = np.tile(X, (200, 1))
    first, second = model.parameters(), None
    found = list(first)
    whole = model.weight_jacobian(rows)
    np.testing.assert_allclose(whole[-40:], model.weight_jacobian(X), atol=1e-6)
    sizes = np.cumsum([0, *(parameter.size for parameter in found)])
    second = model.weight_jacobian(X, [found[3], found[0]])
    expected = [whole[:40, :, sizes[i] : sizes[i + 1]] for i in (3, 0)]
    np.testing.assert_allclose(second, np.concatenate(expected, -1), atol=1e-6)
    found[0].requires_grad = False
    assert model.weight_jacobian(X).shape[-1] == sizes[-1] - found[0].size


# Levenberg and Marquardt


def surface(dtype: str = "float64") -> tuple[fm.MLP, Any, Any]:
    x = np.stack(np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 12)), -1).reshape(-1, 2)
    return network(2, 10, 1, dtype=dtype), x, np.sin(3 * x[:, :1]) * np.cos(2 * x[:, 1:])


def thermometer() -> tuple[fm.MLP, Any, Any]:
    x, t = fm.datasets.temperature()
    return network(1, 13, 1), 0.1 * x, t


@pytest.mark.parametrize("make", [surface, thermometer])
@pytest.mark.parametrize("scaling", ["identity", "marquardt"])
def test_it_gets_as_far_as_scipy(make: Any, scaling: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    model, x, t = make()
    found = list(model.parameters())
    start = np.array(parameters_to_vector(found))
    trainer = fm.Trainer(model, fm.LevenbergMarquardt(found, scaling=scaling), fm.MSELoss())
    history = trainer.fit(x, t, max_epoch=400)
    twin = copy.deepcopy(model)

    def residuals(values: Any) -> Any:
        vector_to_parameters(values, twin.parameters())
        return np.ravel(twin.predict(x) - t)

    def jacobian(values: Any) -> Any:
        vector_to_parameters(values, twin.parameters())
        return twin.weight_jacobian(x).reshape(len(x), -1)

    result = optimize.least_squares(residuals, start, jacobian, max_nfev=400)
    theirs = 2 * result.cost / t.size
    ours = trainer.evaluate(x, t)["loss"]
    assert ours < max(1.05 * theirs, 1e-6)
    assert ours < 0.01 * history.loss[0]
    assert (np.diff(history.loss) <= 0).all()


def test_refused_steps_leave_the_parameters() -> None:
    model, x, t = surface()
    optimizer = fm.LevenbergMarquardt(model.parameters(), damping=1e-9)
    trainer = fm.Trainer(model, optimizer, fm.MSELoss())
    refused = 0
    for _ in range(20):
        before = np.array(parameters_to_vector(model.parameters()))
        damping = optimizer.state_dict()["state"].get(0, {}).get("damping", 0)
        trainer.fit(x, t, max_epoch=1)
        same = np.array_equal(before, np.array(parameters_to_vector(model.parameters())))
        assert optimizer.accepted is not same
        refused += same
        assert not same or optimizer.state_dict()["state"][0]["damping"] > damping
    assert 0 < refused < 20


def test_frozen_parameters_and_sums() -> None:
    model, x, t = surface("float32")
    first, *others = model.parameters()
    first.requires_grad = False
    frozen = np.array(first)
    optimizer = fm.LevenbergMarquardt([first, *others])
    history = fm.Trainer(model, optimizer, fm.MSELoss(reduction="sum")).fit(x, t, 60)
    np.testing.assert_array_equal(np.array(first), frozen)
    assert history.loss[-1] < 0.2 * history.loss[0]


def test_a_perfect_fit_stays() -> None:
    model = network(1, 1)
    x = np.linspace(0, 1, 5)[:, None]
    trainer = fm.Trainer(model, fm.LevenbergMarquardt(model.parameters()), fm.MSELoss())
    history = trainer.fit(x, 2 * x + 1, 60)
    assert history.loss[-1] < 1e-25
    assert np.isfinite(history.loss).all()


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for missing in (False, True):
        if missing:
            monkeypatch.setitem(sys.modules, "scipy.linalg.lapack", None)
        model, x, t = surface()
        optimizer = fm.LevenbergMarquardt(model.parameters(), damping=1e-9)
        losses.append(fm.Trainer(model, optimizer, fm.MSELoss()).fit(x, t, 15).loss)
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[1][-1] < losses[1][0]
