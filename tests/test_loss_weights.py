"""Weights of rows, and ignored rows, in training: how often a row counts."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from specs import LOSSES, Loss
from weighting import PLACES, model_of, targets_of, x_of

LR = 1e-4


def train(
    model: fm.Sequential, loss_fn: Any, x: np.ndarray, t: np.ndarray, **options: Any
) -> tuple[list[np.ndarray], fm.History]:
    optimizer = fm.SGD(model.parameters(), lr=LR, momentum=0.9)
    options = {"max_epoch": 4, "batch_size": None, "shuffle": False, "progress": False, **options}
    history = fm.Trainer(model, optimizer, loss_fn).fit(x, t, **options)
    return [np.array(parameter) for parameter in model.parameters()], history


def assert_same(got: Any, want: Any) -> None:
    for a, b in zip(got[0], want[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())
    np.testing.assert_allclose(got[1].loss, want[1].loss, rtol=1e-12)
    np.testing.assert_allclose(got[1].validation_loss, want[1].validation_loss, rtol=1e-12)


@pytest.mark.parametrize("row", LOSSES.values(), ids=lambda row: row.id)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("place", PLACES)
def test_a_weight_is_how_often_a_row_occurs(row: Loss, reduction: str, place: str) -> None:
    """In training and validation, with one batch, and in batches of four rows."""
    columns = row.outputs(4)
    x, t = x_of(12), targets_of(row, columns, 12)
    counts = np.array([2, 0, 1, 1, 0, 3, 1, 0, 1, 1, 1, 1])
    repeated = np.repeat(np.arange(12), counts)
    loss_fn = row.module(reduction)
    for batch_size in (None, 4):
        pairs = ((x, t, counts), (x[repeated], t[repeated], None))
        weighted, plain = (
            train(
                model_of(place, columns, row.head),
                loss_fn,
                a,
                b,
                sample_weight=w,
                batch_size=batch_size,
                validation_data=(a, b) if w is None else (a, b, w),
            )
            for a, b, w in pairs
        )
        assert_same(weighted, plain)
    # Without validation many steps run in one call.
    weighted, plain = (
        train(model_of(place, columns, row.head), loss_fn, a, b, sample_weight=w, batch_size=4)
        for a, b, w in pairs
    )
    assert_same(weighted, plain)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_shuffled_batches_have_their_own_sums(place: str, loss: str, torch: Any) -> None:
    """The five-line loop over the rows that `fit` draws gives the same weights."""
    row, rng = LOSSES[loss], np.random.default_rng(1)
    x, t, w = x_of(50), targets_of(row, 3, 50), rng.uniform(0, 2, size=50)
    rows: list[np.ndarray] = []

    def record(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
        rows.append(t.astype(int))
        return 0.0, np.zeros_like(y)

    train(
        model_of(place, 3),
        fm.FunctionLoss(record),
        x,
        np.arange(50),
        batch_size=8,
        shuffle=True,
        seed=4,
    )
    got, _ = train(
        model_of(place, 3),
        row.module("mean"),
        x,
        t,
        batch_size=8,
        shuffle=True,
        seed=4,
        sample_weight=w,
    )
    model = model_of(place, 3)
    optimizer, loss_fn = fm.SGD(model.parameters(), lr=LR, momentum=0.9), row.module("mean")
    assert len(rows) == 4 * 7
    assert sorted(np.concatenate(rows[:7])) == list(range(50))
    assert not np.array_equal(rows[0], np.arange(8))
    for batch in rows:
        loss_value = loss_fn(model(x[batch]), t[batch], sample_weight=w[batch])
        optimizer.zero_grad()
        loss_value.backward()
        optimizer.step()
    for a, b in zip(got, model.parameters(), strict=True):
        np.testing.assert_allclose(a, np.asarray(b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "gaussian_nll"])
def test_weights_of_one_change_no_bit(loss: str, dtype: str, device: str) -> None:
    row = LOSSES[loss]
    columns = row.outputs(4)
    x, t = x_of(40).astype(dtype), targets_of(row, columns, 40)
    models = [
        fm.MLP([4, 8, columns], output_activation=row.head, dtype=dtype, seed=1).to(device)
        for _ in range(2)
    ]
    weighted = train(models[0], row.module("mean"), x, t, batch_size=16, sample_weight=np.ones(40))
    plain = train(models[1], row.module("mean"), x, t, batch_size=16)
    for a, b in zip(weighted[0], plain[0], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(weighted[1].loss, plain[1].loss)


@pytest.mark.parametrize("place", PLACES)
def test_a_row_of_weight_0_adds_nothing_whatever_it_is(place: str) -> None:
    x, t = x_of(6), np.arange(6.0)
    x[2] = 1e200
    t[2] = -1e200
    model = model_of(place, 1)
    loss = fm.MSELoss()(model(x), t, sample_weight=[1, 1, 0, 1, 1, 1])
    loss.backward()
    assert np.isfinite(loss)
    for parameter in model.parameters():
        assert np.isfinite(parameter.grad).all()
    y = model.predict(x)
    assert fm.MSELoss()(y, t).item() == np.inf


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("batch_size", [2, 4])
def test_a_batch_without_weight_has_no_loss_and_no_gradient(place: str, batch_size: int) -> None:
    x, t, w = x_of(8), targets_of(LOSSES["mse"], 2, 8), np.array([0, 0, 1, 1, 0, 0, 0, 0])
    model = model_of(place, 2)
    optimizer = fm.SGD(model.parameters(), lr=0.05)
    fm.Trainer(model, optimizer, fm.MSELoss()).fit(
        x, t, max_epoch=3, batch_size=batch_size, shuffle=False, sample_weight=w
    )
    other = model_of(place, 2)
    fm.Trainer(other, fm.SGD(other.parameters(), lr=0.05), fm.MSELoss()).fit(
        x[2:4], t[2:4], max_epoch=3, batch_size=None, shuffle=False
    )
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=1e-13)


def test_ignored_rows_alone(device: str) -> None:
    """No NaN, as torch gives; nothing to learn from, so `fit` refuses them."""
    model = fm.MLP([4, 5, 3], seed=0).to(device)
    loss = fm.CrossEntropyLoss()(model(x_of(3)), np.full(3, -100))
    loss.backward()
    assert loss.item() == 0
    assert all((parameter.grad == 0).all() for parameter in model.parameters())
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1.0))
    with pytest.raises(ValueError, match="t: expected at least one row that counts"):
        trainer.fit(x_of(3), np.full(3, -100))
    trainer = fm.Trainer(model, trainer.optimizer, fm.CrossEntropyLoss(weight=[1, 0, 0]))
    with pytest.raises(ValueError, match="at least one row that counts"):
        trainer.fit(x_of(3), np.array([1, 2, 2]))


@pytest.mark.parametrize("place", PLACES)
def test_ignored_rows_are_absent_in_training(place: str) -> None:
    x, t = x_of(12), targets_of(LOSSES["cross_entropy"], 3, 12)
    t[[1, 5, 6]] = 7
    kept = t != 7
    loss_fn = fm.CrossEntropyLoss(weight=[1, 2, 0.5], ignore_index=7, label_smoothing=0.1)
    got = train(model_of(place, 3), loss_fn, x, t, validation_data=(x, t))
    want = train(model_of(place, 3), loss_fn, x[kept], t[kept], validation_data=(x[kept], t[kept]))
    assert_same(got, want)
