"""Initial values, seeds, dropout and the order of rows: distributions, and reproducible."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

SHAPE = (300, 200)  # out x in; 60 000 values
UNIFORM = {
    "uniform_": (lambda p: fm.init.uniform_(p, -0.5, 2.0), -0.5, 2.0),
    "xavier_uniform_": (fm.init.xavier_uniform_, *[s * math.sqrt(6 / 500) for s in (-1, 1)]),
    "xavier_uniform_ gain": (
        lambda p: fm.init.xavier_uniform_(p, gain=5 / 3),
        *[s * 5 / 3 * math.sqrt(6 / 500) for s in (-1, 1)],
    ),
    "kaiming_uniform_": (fm.init.kaiming_uniform_, *[s * math.sqrt(6 / 200) for s in (-1, 1)]),
    "kaiming_uniform_ fan_out": (
        lambda p: fm.init.kaiming_uniform_(p, mode="fan_out", nonlinearity="relu"),
        *[s * math.sqrt(6 / 300) for s in (-1, 1)],
    ),
    "kaiming_uniform_ a": (
        lambda p: fm.init.kaiming_uniform_(p, a=math.sqrt(5)),
        *[s / math.sqrt(200) for s in (-1, 1)],
    ),
}
NORMAL = {
    "normal_": (lambda p: fm.init.normal_(p, 3.0, 0.1), 3.0, 0.1),
    "xavier_normal_": (fm.init.xavier_normal_, 0.0, math.sqrt(2 / 500)),
    "kaiming_normal_": (fm.init.kaiming_normal_, 0.0, math.sqrt(2 / 200)),
    "kaiming_normal_ tanh": (
        lambda p: fm.init.kaiming_normal_(p, mode="fan_out", nonlinearity="tanh"),
        0.0,
        5 / 3 / math.sqrt(300),
    ),
}


def _assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Bounds, and the distribution function at twenty places, to four of its standard errors."""
    assert values.min() >= low
    assert values.max() <= high
    u = np.sort((np.asarray(values, "float64").ravel() - low) / (high - low))
    places = np.linspace(0.05, 0.95, 19)
    share = np.searchsorted(u, places) / u.size
    np.testing.assert_array_less(abs(share - places), 4 * np.sqrt(0.25 / u.size))
    assert len(np.unique(values)) > 0.99 * values.size or values.size > 1 << 16


def _assert_normal(values: np.ndarray, mean: float, std: float) -> None:
    z = (np.asarray(values, "float64").ravel() - mean) / std
    cdf = 0.5 * (1 + np.array([math.erf(v / math.sqrt(2)) for v in z]))
    _assert_uniform(cdf, 0, 1)
    assert 3.5 < np.abs(z).max() < 6.5, "the tails are cut, or too heavy"


@pytest.mark.parametrize("row", UNIFORM.values(), ids=list(UNIFORM))
def test_uniform(row: tuple[Callable[[Any], Any], float, float]) -> None:
    fill, low, high = row
    array = np.zeros(SHAPE)
    assert fill(array) is array
    _assert_uniform(array, low, high)


@pytest.mark.parametrize("row", NORMAL.values(), ids=list(NORMAL))
def test_normal(row: tuple[Callable[[Any], Any], float, float]) -> None:
    fill, mean, std = row
    array = np.zeros(SHAPE)
    assert fill(array) is array
    _assert_normal(array, mean, std)


def test_init_of_parameters_is_in_place() -> None:
    layer = fm.Linear(200, 300)
    view = np.asarray(layer.weight)
    assert fm.init.kaiming_normal_(layer.weight) is layer.weight
    _assert_normal(view, 0, math.sqrt(2 / 200))
    assert fm.init.zeros_(layer.weight) is layer.weight
    assert not view.any()
    assert np.asarray(layer.bias).any()


@pytest.mark.parametrize(("fan_in", "fan_out"), [(4, 5000), (400, 100), (1, 3000)])
def test_linear_starts_as_torch_does(fan_in: int, fan_out: int) -> None:
    layer, bound = fm.Linear(fan_in, fan_out), 1 / math.sqrt(fan_in)
    _assert_uniform(np.asarray(layer.weight), -bound, bound)
    if fan_out >= 1000:
        _assert_uniform(np.asarray(layer.bias), -bound, bound)


def _draws() -> list[np.ndarray]:
    model = fm.Sequential(fm.Linear(6, 50), fm.Dropout(0.5), fm.Linear(50, 3))
    array = fm.init.normal_(np.zeros((4, 5)))
    y = model(np.ones((7, 6), "float32"))
    t = np.arange(7) % 3
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))
    trainer.fit(np.random.default_rng(0).normal(size=(7, 6)), t, max_epoch=3, batch_size=2)
    return [array, np.array(y), *[np.array(p) for p in model.parameters()]]


def test_manual_seed_decides_everything() -> None:
    runs = []
    for seed in (7, 7, 8):
        fm.manual_seed(seed)
        runs.append(_draws())
    for a, b, c in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    for a, b in zip(runs[2], _draws(), strict=True):
        assert not np.array_equal(a, b), "a second draw from one seed repeats the first"


def test_layers_of_one_seed_differ() -> None:
    model = fm.MLP([8, 8, 8], seed=0)
    first, second = np.asarray(model[0].weight), np.asarray(model[2].weight)
    assert not np.array_equal(first, second)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.5


def test_mlp_seed_leaves_the_global_generator_alone() -> None:
    fm.manual_seed(1)
    want = np.array(fm.Linear(3, 3).weight)
    fm.manual_seed(1)
    one, other = fm.MLP([3, 4, 1], seed=5), fm.MLP([3, 4, 1], seed=5)
    np.testing.assert_array_equal(np.asarray(one[0].weight), np.asarray(other[0].weight))
    np.testing.assert_array_equal(np.asarray(fm.Linear(3, 3).weight), want)


def test_both_dtypes_start_from_the_same_numbers() -> None:
    single, double = (fm.MLP([3, 40, 2], seed=5, dtype=d) for d in ("float32", "float64"))
    for a, b in zip(single.parameters(), double.parameters(), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b).astype("float32"))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout(p: float, dtype: str) -> None:
    """Zeros with probability p, the rest scaled; the gradient has the same mask; eval has none."""
    x = fm.tensor(np.ones((200, 300), dtype), requires_grad=True)
    model = fm.Sequential(fm.Dropout(p))
    y = model(x)
    values = np.asarray(y)
    kept = values != 0
    np.testing.assert_allclose(values[kept], 1 / (1 - p), rtol=1e-6)
    assert abs(kept.mean() - (1 - p)) < 4 * math.sqrt(p * (1 - p) / kept.size)
    for axis in (0, 1):  # no row, no column is favoured
        spread = kept.mean(axis=axis).std() / math.sqrt(p * (1 - p) / kept.shape[axis])
        assert 0.8 < spread < 1.2
    y.backward(np.full(values.shape, 3, dtype))
    np.testing.assert_allclose(x.grad, 3 * values, rtol=1e-6)
    again = np.asarray(model(x)) != 0
    assert 0.2 < (again != kept).mean() / (2 * p * (1 - p)) < 1.8
    np.testing.assert_array_equal(model.eval()(x), np.asarray(x))
    np.testing.assert_array_equal(model.train().predict(x), np.asarray(x))


def test_dropout_of_many_rows_never_repeats() -> None:
    """Without a graph, long batches are computed in pieces; each piece has masks of its own."""
    with fm.no_grad():
        y = fm.Sequential(fm.Dropout(0.5))(np.ones((10_000, 300), "float32"))
    rows = np.packbits(np.asarray(y) != 0, axis=1)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_dropout_of_all_and_of_nothing() -> None:
    x = np.ones((5, 4), "float32")
    assert not np.asarray(fm.Sequential(fm.Dropout(1.0))(x)).any()
    np.testing.assert_array_equal(fm.Sequential(fm.Dropout(0.0))(x), x)


def test_dropout_within_a_network_gives_the_gradient_of_what_it_kept() -> None:
    """With the mask read off the output, the network is linear and its gradients are known."""
    model = fm.Sequential(fm.Linear(3, 40, dtype="float64"), fm.Dropout(0.4))
    x = fm.tensor(np.random.default_rng(0).normal(size=(20, 3)), requires_grad=True)
    y = model(x)
    z = model.predict(x)
    scale = np.asarray(y) / z
    assert 0.4 < (scale > 0).mean() < 0.8
    y.backward(np.ones(y.shape))
    np.testing.assert_allclose(x.grad, scale @ np.asarray(model[0].weight), rtol=1e-12)
    np.testing.assert_allclose(model[0].weight.grad, scale.T @ x.numpy(), rtol=1e-12)
    np.testing.assert_allclose(model[0].bias.grad, scale.sum(axis=0), rtol=1e-12)


def test_fit_uses_dropout_and_goes_back_to_the_mode_before() -> None:
    x, t = np.ones((8, 4), "float32"), np.zeros((8, 1))
    model = fm.Sequential(fm.Linear(4, 1, bias=False), fm.Dropout(0.5))
    model[0].weight[...] = 1
    trainer = fm.Trainer(model.eval(), fm.SGD(model.parameters(), lr=0.0), fm.MSELoss())
    history = trainer.fit(
        x, t, max_epoch=30, batch_size=None, seed=0, validation_data=(x, t), progress=False
    )
    assert len(set(history.loss)) > 5, "the masks do not change"
    assert set(np.round(history.loss / 8, 6)) <= {float(k) for k in range(9)}  # 64 kept/8
    np.testing.assert_allclose(history.validation_loss, 16.0)
    assert not model.training


ROWS = 24


def _visits(batch_size: int, epochs: int, seed: int) -> np.ndarray:
    """How often each row was used: on one-hot rows, a step of lr 1 adds 1 to the row's weight."""
    model = fm.Sequential(fm.Linear(ROWS, 1, bias=False, dtype="float64"))
    fm.init.zeros_(model[0].weight)
    optimizer = fm.SGD(model.parameters(), lr=0.5)
    trainer = fm.Trainer(model, optimizer, fm.L1Loss(reduction="sum"))
    t = np.full(ROWS, 100.0)
    trainer.fit(np.eye(ROWS), t, max_epoch=epochs, batch_size=batch_size, seed=seed)
    return np.asarray(model[0].weight)[0] / 0.5


@pytest.mark.parametrize("batch_size", [1, 5, 8, 24])
def test_each_epoch_uses_each_row_once(batch_size: int) -> None:
    for epochs in (1, 4):
        np.testing.assert_array_equal(_visits(batch_size, epochs, seed=3), np.full(ROWS, epochs))


def test_the_order_of_rows_changes_with_epoch_and_seed() -> None:
    """The loss of each step tells which row it used: row r has the target r."""
    model = fm.Sequential(fm.Linear(1, 1, dtype="float64"))
    orders = []
    for seed in (0, 0, 1):
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.0), fm.L1Loss())
        fm.init.zeros_(model[0].weight)
        fm.init.zeros_(model[0].bias)
        t = np.arange(1.0, 101.0)
        history = trainer.fit(
            np.ones((100, 1)), t, max_epoch=3, batch_size=1, eval_interval=1, seed=seed
        )
        orders.append(history.report_loss.reshape(3, 100))
    for epoch in orders[0]:
        np.testing.assert_array_equal(np.sort(epoch), t)
        assert abs(np.corrcoef(epoch, t)[0, 1]) < 0.4
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0][0], orders[0][1])
