"""LayerNorm, BatchNorm1d and PReLU against torch in float64: values, gradients, training."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

TIGHT = {"rtol": 1e-12, "atol": 1e-12}

# What comes between two layers of so many units, here and in torch.
LAYERS: dict[str, Callable[[Any, int], Any]] = {
    "LayerNorm": lambda nn, n: nn.LayerNorm(n),
    "LayerNorm without bias": lambda nn, n: nn.LayerNorm((n,), eps=1e-3, bias=False),
    "LayerNorm without weight": lambda nn, n: nn.LayerNorm(n, elementwise_affine=False),
    "BatchNorm": lambda nn, n: nn.BatchNorm1d(n),
    "BatchNorm(momentum=0.4)": lambda nn, n: nn.BatchNorm1d(n, eps=1e-3, momentum=0.4),
    "BatchNorm(momentum=None)": lambda nn, n: nn.BatchNorm1d(n, momentum=None),
    "BatchNorm without bias": lambda nn, n: nn.BatchNorm1d(n, bias=False),
    "BatchNorm without weight": lambda nn, n: nn.BatchNorm1d(n, affine=False),
    "BatchNorm without statistics": lambda nn, n: nn.BatchNorm1d(n, track_running_stats=False),
    "PReLU": lambda nn, n: nn.PReLU(),
    "PReLU a feature": lambda nn, n: nn.PReLU(n, init=-0.3),
}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _pair(torch: Any, name: str, place: str, width: int, device: str, seed: int = 0) -> Any:
    """The layer first, in the middle, or last in a model, with the same numbers in torch."""
    make = LAYERS[name]

    def chain(nn: Any, linear: Any) -> list[Any]:
        if place == "first":
            return [make(nn, width), linear(width, 3)]
        if place == "last":
            return [linear(4, width), make(nn, width)]
        return [linear(4, width), make(nn, width), nn.Tanh(), linear(width, 3)]

    ours = fm.Sequential(*chain(fm, fm.Linear), dtype="float64", device=device)
    theirs = torch.nn.Sequential(*chain(torch.nn, torch.nn.Linear)).double()
    rng = np.random.default_rng(seed)
    for parameter in ours.parameters():
        parameter[...] = rng.normal(size=parameter.shape)
    theirs.load_state_dict(fm.nn.utils.to_torch(ours.state_dict()))
    return ours, theirs


def _same_state(ours: fm.Module, theirs: Any, tolerance: dict[str, float] = TIGHT) -> None:
    want = theirs.state_dict()
    found = ours.state_dict()
    assert list(found) == list(want)
    for name, value in found.items():
        assert value.dtype == want[name].numpy().dtype
        np.testing.assert_allclose(value, want[name].numpy(), err_msg=name, **tolerance)


def _close(found: Any, want: Any, name: str = "") -> None:
    scale = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(found / scale, want / scale, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize(("rows", "width"), [(2, 3), (5, 1), (67, 17), (130, 70)])
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_torchs(
    name: str, rows: int, width: int, place: str, training: bool, torch: Any, device: str
) -> None:
    ours, theirs = _pair(torch, name, place, width, device)
    rng = np.random.default_rng(1)
    columns = width if place == "first" else 4
    for _ in range(3):  # batches that leave running statistics
        x = rng.normal(2, 3, size=(rows, columns))
        ours(x)
        theirs(torch.tensor(x))
    _same_state(ours, theirs)
    ours.train(training)
    theirs.train(training)
    x = rng.normal(2, 3, size=(rows, columns))
    tracked, leaf = fm.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, want = ours(tracked), theirs(leaf)
    _close(y, want.detach().numpy())
    dy = rng.normal(size=y.shape)
    y.backward(dy)
    want.backward(torch.tensor(dy))
    _same_state(ours, theirs)
    assert tracked.grad is not None
    _close(tracked.grad, leaf.grad.numpy())
    for (key, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        _close(parameter.grad, other.grad.numpy(), key)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_fit_is_torchs_loop(name: str, optimizer: str, torch: Any, device: str) -> None:
    ours, theirs = _pair(torch, name, "middle", 6, device)
    rng = np.random.default_rng(3)
    x, t = rng.normal(1, 2, size=(24, 4)), rng.normal(size=(24, 3))
    trainer = fm.Trainer(ours, getattr(fm, optimizer)(ours.parameters(), lr=0.01), fm.MSELoss())
    history = trainer.fit(
        x, t, max_epoch=4, batch_size=8, shuffle=False, validation_data=(x[:9], t[:9])
    )
    update = getattr(torch.optim, optimizer)(theirs.parameters(), lr=0.01)
    loss_fn = torch.nn.MSELoss()
    validation = []
    for _ in range(4):
        theirs.train()
        for i in range(0, 24, 8):
            update.zero_grad()
            loss_fn(theirs(torch.tensor(x[i : i + 8])), torch.tensor(t[i : i + 8])).backward()
            update.step()
        theirs.eval()
        validation.append(loss_fn(theirs(torch.tensor(x[:9])), torch.tensor(t[:9])).item())
    np.testing.assert_allclose(history.validation_loss, validation, rtol=1e-7)
    # Adam makes steps of the rounding errors that a bias before a BatchNorm has for a gradient.
    loose = {"rtol": 1e-6, "atol": 1e-8}
    _same_state(ours, theirs, loose)
    np.testing.assert_allclose(ours.predict(x), theirs(torch.tensor(x)).detach().numpy(), **loose)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_five_lines_are_fit(name: str, dtype: str, device: str, rng: Any) -> None:
    # Adam makes steps of the rounding errors that a bias before a BatchNorm has for a gradient;
    # on a device these are others in the five lines.
    below = fm.Linear(4, 20, bias=device == "cpu" or "BatchNorm" not in name)
    first = fm.Sequential(below, LAYERS[name](fm, 20), fm.Linear(20, 2), dtype=dtype)
    first.to(device=device)
    second = copy.deepcopy(first)
    x, t = rng.normal(size=(30, 4)).astype(dtype), rng.normal(size=(30, 2)).astype(dtype)
    fm.Trainer(first, fm.Adam(first.parameters()), fm.MSELoss()).fit(
        x, t, max_epoch=3, batch_size=10, shuffle=False
    )
    optimizer, loss_fn = fm.Adam(second.parameters()), fm.MSELoss()
    for _ in range(3):
        for i in range(0, 30, 10):
            loss = loss_fn(second(x[i : i + 10]), t[i : i + 10])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else TIGHT
    for key, value in first.state_dict().items():
        np.testing.assert_allclose(value, second.state_dict()[key], err_msg=key, **tolerance)
    x = rng.normal(size=(30, 4)).astype(dtype)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else TIGHT
    np.testing.assert_allclose(first.eval()(x), first.predict(x), **tolerance)
    assert "num_batches_tracked" not in first.state_dict() or (
        first.state_dict()["1.num_batches_tracked"] == 9
    )


@pytest.mark.parametrize("name", LAYERS)
def test_the_bits_do_not_depend_on_threads(name: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(700, 300)).astype("f4")
    t = rng.normal(size=(700, 300)).astype("f4")
    found = []
    for threads in (1, 2, 3):
        fm.set_num_threads(threads)
        model = fm.Sequential(LAYERS[name](fm, 300), fm.Tanh(), LAYERS[name](fm, 300))
        optimizer = fm.SGD(model.parameters(), lr=0.1) if list(model.parameters()) else None
        y = model(fm.tensor(x, requires_grad=True))
        fm.MSELoss()(y, t).backward()
        gradients = [np.array(p.grad) for p in model.parameters()]
        if optimizer:
            fm.Trainer(model, optimizer, fm.MSELoss()).fit(
                x, t, max_epoch=2, batch_size=350, seed=0
            )
        found.append([np.array(y), *gradients, *model.state_dict().values()])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("mean", [1e3, 1e5])
@pytest.mark.parametrize("name", ["BatchNorm", "LayerNorm"])
def test_a_large_mean_costs_no_digits(name: str, mean: float, device: str, rng: Any) -> None:
    """The values are exact in float32; the spread is small beside the mean."""
    x = (mean + rng.integers(-64, 64, size=(2000, 500)) / 64).astype("f4")
    axis = 0 if name == "BatchNorm" else 1
    exact = x.astype("f8")
    centred = exact - exact.mean(axis=axis, keepdims=True)
    want = centred / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + 1e-5)
    x = x[:, :3] if name == "BatchNorm" else x[:20]
    want = want[:, :3] if name == "BatchNorm" else want[:20]
    layer = LAYERS[name](fm, x.shape[1])
    layer.to(device=device)
    np.testing.assert_allclose(layer(x), want, atol=2e-6)
    if name == "BatchNorm":
        layer.reset_running_stats()
        for _ in range(400):
            layer(x)
        np.testing.assert_allclose(layer.running_mean, exact.mean(axis=0)[:3], rtol=2e-6)
        np.testing.assert_allclose(layer.running_var, exact.var(axis=0, ddof=1)[:3], rtol=1e-5)


def test_many_rows_lose_no_accuracy(rng: np.random.Generator) -> None:
    x = rng.normal(size=(300_000, 2)).astype("f4")
    layer = fm.BatchNorm1d(2, momentum=1.0)
    y = layer(fm.tensor(x, requires_grad=True))
    exact = x.astype("f8")
    np.testing.assert_allclose(layer.running_mean, exact.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(layer.running_var, exact.var(axis=0, ddof=1), rtol=5e-7)
    y.backward(np.ones_like(x))
    np.testing.assert_allclose(layer.bias.grad, [300_000, 300_000])
    assert np.abs(layer.weight.grad).max() < 0.2


def test_a_frozen_layer_in_a_model_that_trains(torch: Any, device: str) -> None:
    ours, theirs = _pair(torch, "BatchNorm", "middle", 5, device)
    rng = np.random.default_rng(0)
    for model in (ours, theirs):
        model[1].eval()
        model[0].train()
    x = rng.normal(size=(1, 4))  # a single row, for the statistics are there
    y, want = ours(x), theirs(torch.tensor(x))
    _close(y, want.detach().numpy())
    before = ours.state_dict()
    y.backward(np.ones_like(y))
    want.backward(torch.ones_like(want))
    for (key, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        _close(parameter.grad, other.grad.numpy(), key)
    for key in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        np.testing.assert_array_equal(ours.state_dict()[key], before[key])
    ours.to(device="cpu")
    fm.Trainer(ours, fm.SGD(ours.parameters(), lr=0.1), fm.MSELoss()).fit(
        rng.normal(size=(6, 4)), rng.normal(size=(6, 3)), max_epoch=1, batch_size=3
    )
    # As torch's train(): all layers train in `fit`.
    assert ours.state_dict()["1.num_batches_tracked"] == 2
    assert not ours[1].training


def test_prediction_is_evaluation(rng: np.random.Generator) -> None:
    model = fm.Sequential(fm.Linear(3, 4), fm.BatchNorm1d(4), fm.ReLU())
    x = rng.normal(size=(10, 3)).astype("f4")
    model(x)
    before = {name: value.copy() for name, value in model.state_dict().items()}
    for rows in (1, 7, 10):
        np.testing.assert_array_equal(model.predict(x[:rows]), model.predict(x)[:rows])
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert not np.allclose(model(x), model.predict(x))
    model.eval()
    np.testing.assert_allclose(model(x), model.predict(x), rtol=1e-5, atol=1e-6)
    with fm.no_grad():
        model.train()
        model(x)
    assert model[1].num_batches_tracked == 3


def test_a_batch_is_normalised_as_a_whole(rng: np.random.Generator) -> None:
    """Prediction cuts many rows into pieces where that makes no difference."""
    x = rng.normal(3, 2, size=(20_000, 100)).astype("f4")
    x += np.arange(20_000, dtype="f4")[:, None]
    layer = fm.BatchNorm1d(100, track_running_stats=False)
    want = (x - x.mean(axis=0, dtype="f8")) / np.sqrt(x.var(axis=0, dtype="f8"))
    np.testing.assert_allclose(layer.predict(x), want, atol=1e-4)
    with fm.no_grad():
        np.testing.assert_allclose(fm.BatchNorm1d(100)(x), want, atol=1e-4)


def test_state_goes_to_torch_and_back(torch: Any, rng: np.random.Generator) -> None:
    ours, theirs = _pair(torch, "BatchNorm", "middle", 5, "cpu")
    ours(rng.normal(size=(6, 4)))
    theirs.load_state_dict(fm.nn.utils.to_torch(ours.state_dict()))
    _same_state(ours, theirs)
    theirs(torch.tensor(rng.normal(size=(6, 4))))
    ours.load_state_dict(theirs.state_dict())
    _same_state(ours, theirs)
    assert dict(ours.named_buffers()).keys() == dict(theirs.named_buffers()).keys()
    assert len(list(ours.parameters())) == len(list(theirs.parameters()))
    assert repr(ours[1]) == repr(theirs[1])
    assert repr(fm.LayerNorm(3)) == repr(torch.nn.LayerNorm(3))
    assert repr(fm.PReLU(3)) == repr(torch.nn.PReLU(3))


@pytest.mark.parametrize("name", LAYERS)
def test_copies_are_apart(name: str, rng: np.random.Generator) -> None:
    model = fm.Sequential(fm.Linear(3, 4), LAYERS[name](fm, 4))
    x = rng.normal(size=(5, 3)).astype("f4")
    model(x)
    before = model.state_dict()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for key, value in twin.state_dict().items():
            np.testing.assert_array_equal(value, before[key])
        np.testing.assert_array_equal(twin.predict(x), model.predict(x))
        twin(x + 1)
        for key, value in model.state_dict().items():
            np.testing.assert_array_equal(value, before[key])
        if "without" not in name and "Batch" in name:
            assert twin.state_dict()["1.num_batches_tracked"] == 2


def test_values_that_are_set(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 3))
    layer = fm.BatchNorm1d(3, dtype="float64").eval()
    np.testing.assert_allclose(layer(x), x / np.sqrt(1 + 1e-5))
    layer.running_mean = [1.0, 2.0, 3.0]
    layer.running_var[...] = 4.0
    layer.eps = 0.0
    np.testing.assert_allclose(layer(x), (x - [1, 2, 3]) / 2)
    layer.num_batches_tracked = 7
    layer.train()(x)
    assert layer.num_batches_tracked == 8
    layer.to(dtype="float32")
    assert layer.running_var.dtype == np.float32
    assert layer(x).dtype == np.float32
    assert layer.num_batches_tracked == 9
    layer.reset_parameters()
    assert layer.num_batches_tracked == 0


def test_a_norm_decides_on_the_width() -> None:
    with pytest.raises(ValueError, match=r"expected 4 input features.*got 3"):
        fm.Sequential(fm.Linear(2, 4), fm.LayerNorm(3))
    with pytest.raises(ValueError, match=r"4 features.*takes 3"):
        fm.Residual(fm.BatchNorm1d(3), fm.Tanh())(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"expected 3 input features.*got 4"):
        fm.Sequential(fm.Residual(fm.BatchNorm1d(3)), fm.PReLU(4))
    assert fm.Residual(fm.BatchNorm1d(3), fm.Linear(3, 3)).projection is None
    assert fm.Residual(fm.LayerNorm(3), fm.Linear(3, 5)).projection is not None


# --- Standardize


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standardize(dtype: str, device: str, rng: np.random.Generator) -> None:
    x = rng.normal([0, 5, 1000], [1, 3, 0.5], size=(500, 3))
    layer = fm.Standardize.from_data(x, dtype=dtype, device=device)
    want = (x - x.mean(axis=0)) / x.std(axis=0)
    tolerance = 2e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(layer(x), want, atol=tolerance)
    np.testing.assert_allclose(layer.predict(x), want, atol=tolerance)
    assert list(layer.parameters()) == []
    assert list(layer.state_dict()) == ["mean", "scale", "variance", "count"]
    assert layer.count == 500


def test_standardize_learns_online(rng: np.random.Generator) -> None:
    x = rng.normal([1e4, 5, 0], [1, 3, 0], size=(700, 3))
    layer = fm.Standardize(3, dtype="float64")
    np.testing.assert_array_equal(layer(x), x)
    for begin, end in ((0, 1), (1, 4), (4, 400), (400, 700)):
        layer.update(x[begin:end])
    layer.update(x[0])
    x = np.vstack([x, x[:1]])
    np.testing.assert_allclose(layer.mean, x.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(layer.scale[:2], x.std(axis=0)[:2], rtol=1e-10)
    assert layer.scale[2] == 1
    assert layer.count == 701


def test_standardize_in_a_model(device: str, rng: np.random.Generator) -> None:
    x, t = rng.normal(50, 7, size=(60, 3)), rng.normal(size=(60, 1))
    mlp = fm.MLP([3, 8, 1], activation="tanh", dtype="float64", seed=0, device=device)
    twin = copy.deepcopy(mlp)
    scaler = fm.Standardize.from_data(x, dtype="float64", device=device)
    model = fm.Sequential(scaler, mlp)
    z = (x - np.asarray(scaler.mean)) / np.asarray(scaler.scale)
    for net, data in ((model, x), (twin, z)):
        trainer = fm.Trainer(net, fm.Adam(net.parameters()), fm.MSELoss())
        trainer.fit(data, t, max_epoch=3, batch_size=20, seed=0)
    np.testing.assert_allclose(model.predict(x), twin.predict(z), rtol=1e-9)
    tracked = fm.tensor(x, requires_grad=True)
    inner = fm.tensor(z, requires_grad=True)
    model(tracked).backward(np.ones((60, 1)))
    twin(inner).backward(np.ones((60, 1)))
    assert tracked.grad is not None
    np.testing.assert_allclose(tracked.grad, inner.grad / np.asarray(scaler.scale), rtol=1e-9)
    state = model.state_dict()
    other = fm.Sequential(fm.Standardize(3), fm.MLP([3, 8, 1], "tanh"), dtype="float64")
    other.load_state_dict(state)
    np.testing.assert_allclose(other.predict(x), model.predict(x), rtol=1e-12)
