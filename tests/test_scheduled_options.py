"""Schedules in `fit` with accumulated steps, batches, early stopping, callbacks, metrics."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import lr_scheduler as schedules
from test_scheduled_fit import EACH, INTERVALS, SCHEDULES, SIZES, T, X, assert_same, loop, make

EPOCHS = 5
SIZE = 6  # rows in a batch: 4 batches an epoch, the last one of 2 rows


class Unknown:
    """Batches of which nobody knows how many there are."""

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(0, len(X), SIZE):
            yield X[i : i + SIZE], T[i : i + SIZE]


def fit(
    model: Any, optimizer: Any, scheduler: Any, interval: str | None, x: Any = X, **options: Any
) -> fm.History:
    trainer = fm.Trainer(
        model, optimizer, fm.MSELoss(), scheduler=scheduler, scheduler_interval=interval
    )
    options = {"max_epoch": EPOCHS, "batch_size": SIZE, "shuffle": False, **options}
    return trainer.fit(x, T if x is X else None, **options)


@SIZES
@INTERVALS
@EACH
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_steps_are_the_optimizers(
    accumulate: int, name: str, interval: str, widths: list[int], device: str
) -> None:
    """Also of batches that come one by one, whether or not it is known how many."""
    by_hand, optimizer = make(widths)
    scheduler = SCHEDULES[name](optimizer)
    rates = loop(by_hand, optimizer, scheduler, interval, SIZE * accumulate, EPOCHS)
    for x, callbacks in itertools.product([X, Unknown(), list(Unknown())], [(), [print_nothing]]):
        model, own = make(widths, device=device)
        planned = SCHEDULES[name](own)
        history = fit(model, own, planned, interval, x, accumulate=accumulate, callbacks=callbacks)
        assert_same(model, by_hand, 1e-11)
        np.testing.assert_array_equal(history.learning_rate, rates)
        assert (own.lr, own.momentum) == (optimizer.lr, optimizer.momentum)
        assert planned.last_epoch == scheduler.last_epoch


def print_nothing(info: fm.EpochInfo) -> None:
    """A callback."""


def test_a_schedule_that_is_too_short_for_batches() -> None:
    """Where their number is known nothing has changed; else the steps before are done."""
    for x, match, done in (
        (list(Unknown()), r"scheduler: expected one with 10 steps left.* with 9", 0),
        (Unknown(), "scheduler: expected one with steps left", 9),
    ):
        model, optimizer = make([4, 5, 2])
        scheduler = schedules.OneCycleLR(optimizer, 0.3, 9)
        before = [np.array(p) for p in model.parameters()]
        with pytest.raises(ValueError, match=match):
            fit(model, optimizer, scheduler, None, x, accumulate=2)
        assert scheduler.last_epoch == done
        changed = [
            not np.array_equal(p, q) for p, q in zip(model.parameters(), before, strict=True)
        ]
        assert all(changed) if done else not any(changed)
    model, optimizer = make([4, 5, 2])
    scheduler = schedules.OneCycleLR(optimizer, 0.3, 4)
    with pytest.raises(ValueError, match=r"scheduler: expected one with 5 steps left.* with 4"):
        fit(model, optimizer, scheduler, "epoch", Unknown())


@INTERVALS
@pytest.mark.parametrize("batches", [False, True])
def test_callbacks_read_and_set_rates(interval: str, batches: bool, device: str) -> None:
    """At the beginning of the training, and at the beginnings and ends of epochs."""
    by_hand, optimizer = make([4, 5, 2])
    scheduler, want = schedules.ExponentialLR(optimizer, 0.9), []
    optimizer.lr = 0.3
    for epoch in range(EPOCHS):
        if epoch in (0, 2):
            optimizer.param_groups[0]["lr"] *= 0.5
        want.append(optimizer.lr)
        for start in range(0, len(X), 2 * SIZE):
            rows = slice(start, start + 2 * SIZE)
            optimizer.zero_grad()
            fm.MSELoss()(by_hand(X[rows]), T[rows]).backward()
            optimizer.step()
            if interval == "step":
                scheduler.step()
        if interval == "epoch":
            scheduler.step()
        if epoch == 3:
            optimizer.param_groups[0]["lr"] = 0.01

    class Rates:
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_train_begin(self, info: fm.EpochInfo) -> None:
            info.trainer.optimizer.param_groups[0]["lr"] = 0.3

        def on_epoch_begin(self, info: fm.EpochInfo) -> None:
            group = info.trainer.optimizer.param_groups[0]
            if info.epoch in (0, 2):
                group["lr"] *= 0.5
            self.seen.append(group["lr"])

        def on_epoch_end(self, info: fm.EpochInfo) -> None:
            if info.epoch == 3:
                info.trainer.optimizer.param_groups[0]["lr"] = 0.01

    model, own = make([4, 5, 2], device=device)
    rates, monitor = Rates(), fm.callbacks.LearningRateMonitor()
    planned = schedules.ExponentialLR(own, 0.9)
    x = Unknown() if batches else X
    fit(model, own, planned, interval, x, accumulate=2, callbacks=[rates, monitor])
    np.testing.assert_array_equal(rates.seen, want)
    np.testing.assert_array_equal(monitor.lr[:, 0], want)
    assert own.lr == optimizer.lr
    assert_same(model, by_hand, 1e-11)


@pytest.mark.parametrize("x", [X, Unknown()], ids=["arrays", "batches"])
def test_a_plateau_and_early_stopping_follow_one_loss(x: Any, device: str) -> None:
    """The rates fall before the training ends; the best epoch's parameters come back."""
    model, optimizer = make([4, 5, 2], device=device)
    scheduler = schedules.ReduceLROnPlateau(optimizer, patience=1, threshold=0)
    early, kept = fm.EarlyStopping(6, 1e-3), []
    history = fit(
        model,
        optimizer,
        scheduler,
        None,
        x,
        max_epoch=300,
        validation_data=(X[:7] * 2, T[:7] * 3, np.arange(7.0)),
        early_stopping=early,
        metrics="mae",
        callbacks=lambda info: kept.append([np.array(p) for p in model.parameters()]),
    )
    assert early.stopped_epoch == len(history.loss) - 1 < 299
    assert early.best_epoch is not None
    assert early.best == history.validation_loss[early.best_epoch]
    _, twin = make([4, 5, 2])
    by_hand, rates = schedules.ReduceLROnPlateau(twin, patience=1, threshold=0), []
    for loss in history.validation_loss:
        rates.append(twin.lr)
        by_hand.step(loss)
    np.testing.assert_array_equal(history.learning_rate, rates)
    assert optimizer.lr == twin.lr < 0.2, "the optimizer is not restored"
    for p, q in zip(model.parameters(), kept[early.best_epoch], strict=True):
        np.testing.assert_array_equal(np.asarray(p), q)


@INTERVALS
def test_early_stopping_leaves_the_schedule_where_the_training_ended(interval: str) -> None:
    model, optimizer = make([4, 5, 2])
    scheduler = schedules.ExponentialLR(optimizer, 0.99)
    early = fm.EarlyStopping(3, min_delta=0.05, monitor="loss")
    history = fit(
        model, optimizer, scheduler, interval, max_epoch=300, early_stopping=early, accumulate=2
    )
    epochs = len(history.loss)
    assert epochs < 300
    steps = epochs * (2 if interval == "step" else 1)
    assert scheduler.last_epoch == steps
    assert optimizer.lr == np.multiply.accumulate([0.2, *[0.99] * steps])[-1]


def test_a_frame_has_the_rates() -> None:
    pytest.importorskip("pandas")
    model, optimizer = make([4, 5, 2])
    history = fit(model, optimizer, schedules.ExponentialLR(optimizer, 0.9), None)
    np.testing.assert_array_equal(history.to_pandas()["learning_rate"], history.learning_rate)
