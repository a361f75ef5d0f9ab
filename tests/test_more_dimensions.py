"""Inputs of more than two dimensions, whose last one is that of the features, against torch."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def _pair(build: Any) -> tuple[Any, Any]:
    ours, theirs = build(fm.nn).double(), build(torch.nn).double()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        own[...] = other.detach().numpy()
    return ours, theirs


BUILD = {
    "linear": lambda nn: nn.Linear(2, 3),
    "mlp": lambda nn: nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3), nn.Sigmoid()),
    "norm": lambda nn: nn.Sequential(nn.Linear(2, 5), nn.LayerNorm(5), nn.PReLU(), nn.Linear(5, 3)),
    "softmax": lambda nn: nn.Sequential(nn.Linear(2, 3), nn.Softmax(dim=-1)),
}


@pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)
@pytest.mark.parametrize("shape", [(4, 5, 2), (2, 3, 4, 2), (1, 1, 2), (0, 5, 2)])
@pytest.mark.parametrize("loss", ["MSELoss", "L1Loss", "BCEWithLogitsLoss"])
def test_gradients(build: Any, shape: tuple[int, ...], loss: str, device: str) -> None:
    ours, theirs = _pair(build)
    ours.to(device)
    x = RNG.normal(size=shape)
    t = RNG.uniform(size=(*shape[:-1], 3))
    tracked, x_torch = fm.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, y_torch = ours(tracked), theirs(x_torch)
    assert y.shape == y_torch.shape
    value = getattr(fm, loss)()(y, t)
    want = getattr(torch.nn, loss)()(y_torch, torch.tensor(t))
    value.backward()
    want.backward()
    np.testing.assert_allclose(value.item(), want.item(), rtol=1e-12)
    for got, expected in [
        (y, y_torch),
        (ours.predict(x), y_torch),
        (tracked.grad, x_torch.grad),
        *((a.grad, b.grad) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)),
    ]:
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-11, atol=1e-14)
    with fm.no_grad():
        if device == "cpu":
            np.testing.assert_array_equal(ours(x), y)
        else:  # few rows go through all layers in one launch
            np.testing.assert_allclose(ours(x), y, rtol=1e-14)
        if x.size:
            assert getattr(fm, loss)()(ours(x), t).item() == pytest.approx(want.item(), rel=1e-12)


def test_two_models_in_a_row() -> None:
    a, a_torch = _pair(BUILD["mlp"])
    b, b_torch = _pair(lambda nn: nn.Linear(3, 1))
    x = RNG.normal(size=(4, 5, 2))
    b(a(x)).sum().backward()
    b_torch(a_torch(torch.tensor(x))).sum().backward()
    np.testing.assert_allclose(a[0].weight.grad, a_torch[0].weight.grad.numpy(), rtol=1e-11)


def test_predict_into_an_array() -> None:
    model = fm.MLP([2, 3])
    x = RNG.normal(size=(4, 5, 2)).astype("f4")
    out = np.empty((4, 5, 3), "f4")
    assert model.predict(x, out=out).shape == (4, 5, 3)
    np.testing.assert_array_equal(out, model.predict(x.reshape(20, 2)).reshape(4, 5, 3))
    for wrong in (np.empty((5, 4, 3), "f4"), np.empty((20, 3), "f4"), out.transpose(1, 0, 2), [1]):
        with pytest.raises(ValueError, match="out"):
            model.predict(x, out=wrong)


def test_torch_tensors_and_dtypes() -> None:
    model = fm.MLP([2, 3])
    x = torch.rand(4, 5, 2)
    np.testing.assert_array_equal(model(x), model(x.numpy()))
    assert model.predict(torch.ones(4, 5, 2, dtype=torch.int64)).dtype == np.float32


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dense", [False, True])
def test_classes_lie_in_the_second_dimension(reduction: str, dense: bool) -> None:
    y = RNG.normal(size=(4, 3, 5))
    t: Any = RNG.integers(3, size=(4, 5))
    if dense:
        t = np.exp(y[::-1]) / np.exp(y[::-1]).sum(1, keepdims=True)
    tracked, y_torch = fm.tensor(y, requires_grad=True), torch.tensor(y, requires_grad=True)
    value = fm.CrossEntropyLoss(reduction=reduction)(tracked, t)
    want = torch.nn.CrossEntropyLoss(reduction=reduction)(y_torch, torch.tensor(t))
    np.testing.assert_allclose(value, want.detach().numpy(), rtol=1e-12)
    seed = np.random.default_rng(1).normal(size=value.shape)
    value.backward(seed) if value.ndim else value.backward()
    want.backward(torch.tensor(seed)) if value.ndim else want.backward()
    np.testing.assert_allclose(tracked.grad, y_torch.grad.numpy(), rtol=1e-11, atol=1e-14)


def test_values_of_a_loss() -> None:
    y, t = RNG.normal(size=(2, 4, 5, 3))
    np.testing.assert_allclose(fm.MSELoss(reduction="none")(y, t), (y - t) ** 2, rtol=1e-12)


X = np.ones((4, 5, 2), "f4")


@pytest.mark.parametrize(
    ("call", "pattern"),
    [
        (lambda: fm.Sequential(fm.Linear(2, 3), fm.Softmax(dim=1))(X), "rows, features"),
        (lambda: fm.Sequential(fm.Linear(2, 3), fm.Flatten())(X), "rows, features"),
        (lambda: fm.Sequential(fm.Linear(2, 3), fm.BatchNorm1d(3))(X), "rows, features"),
        (lambda: fm.Sequential(fm.Linear(2, 3), fm.PReLU(3))(X), "rows, features"),
        (lambda: fm.Linear(3, 2)(X), "2 features"),
        (lambda: fm.Linear(2, 3).jacobian(X), "rows, features"),
        (lambda: fm.MSELoss()(fm.Linear(2, 3)(X), X), "target"),
        (lambda: fm.CrossEntropyLoss()(fm.Linear(2, 3)(X), np.zeros((4, 4), int)), "target"),
        (lambda: fm.GaussianNLLLoss()(fm.Linear(2, 4)(X), X), "rows, columns"),
        (lambda: fm.MSELoss()(X, X, sample_weight=np.ones(4)), "sample_weight"),
        (lambda: _fit(X, X), "rows, features"),
    ],
)
def test_what_does_not_fit(call: Any, pattern: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        call()


def _fit(x: Any, t: Any) -> None:
    model = fm.MLP([2, 2])
    fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss()).fit(x, t)


def test_outputs_without_a_dimension_of_features() -> None:
    def build(nn: Any, end: Any) -> Any:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = nn.Linear(2, 4), nn.Linear(4, 1)

            def forward(self, x: Any) -> Any:
                return end(self.b(nn.functional.relu(self.a(x))))

        return Net()

    x, t = RNG.normal(size=(6, 2)), RNG.uniform(size=6)
    for end in (
        lambda y: y.squeeze(),
        lambda y: y.squeeze(-1),
        lambda y: torch.sigmoid(y).squeeze(1),
        lambda y: torch.sigmoid(y.view(-1)),
        lambda y: torch.flatten(y),
    ):
        ours, theirs = _pair(lambda nn, end=end: build(nn, end))
        y, y_torch = ours(x), theirs(torch.tensor(x))
        np.testing.assert_allclose(y, y_torch.detach().numpy(), rtol=1e-12)
        np.testing.assert_array_equal(ours.predict(x), y)
        np.testing.assert_array_equal(ours.predict(x, out=np.empty(6)), y)
        fm.MSELoss()(y, t).backward()
        torch.nn.MSELoss()(y_torch, torch.tensor(t)).backward()
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(own.grad, other.grad.numpy(), rtol=1e-11)
        trainer = fm.Trainer(ours, fm.SGD(ours.parameters()), fm.MSELoss())
        history = trainer.fit(x, t, max_epoch=1, batch_size=None, progress=False)
        assert history.loss[0] == pytest.approx(fm.MSELoss()(y, t).item(), rel=1e-12)
