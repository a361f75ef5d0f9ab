"""Schedules in `Trainer`: the bits of the five lines, with `scheduler.step()` in them."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import lr_scheduler as schedules

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(20, 4)), RNG.normal(size=(20, 2))
EPOCHS = 7
BATCHES = pytest.mark.parametrize("batch_size", [None, 6], ids=["all", "6"])
SIZES = pytest.mark.parametrize("widths", [[4, 5, 2], [4, 70, 2]], ids=["lanes", "dense"])
INTERVALS = pytest.mark.parametrize("interval", ["epoch", "step"])

SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "step": lambda o: schedules.StepLR(o, 3, 0.5),
    "milestones": lambda o: schedules.MultiStepLR(o, [2, 2, 5]),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
    "linear": lambda o: schedules.LinearLR(o, 0.2, total_iters=6),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 5, 1e-3),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 2),
    "one cycle": lambda o: schedules.OneCycleLR(o, 0.1, 40),
    "function": lambda o: schedules.LambdaLR(o, lambda t: 1 / (1 + t)),
    "sequence": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1, total_iters=3), schedules.ExponentialLR(o, 0.8)], [3]
    ),
}
EACH = pytest.mark.parametrize("name", SCHEDULES)


def make(
    widths: list[int], groups: bool = False, device: str = "cpu", kind: str = "SGD"
) -> tuple[Any, Any]:
    model = fm.MLP(widths, "tanh", dtype="float64", seed=3, device=device)
    parameters: Any = list(model.parameters())
    if groups:
        parameters = [{"params": parameters[::2]}, {"params": parameters[1::2], "lr": 0.05}]
    options = {"momentum": 0.5} if kind == "SGD" else {}
    return model, getattr(fm, kind)(parameters, lr=0.2, **options)


def loop(
    model: Any, optimizer: Any, scheduler: Any, interval: str, size: int | None, epochs: int
) -> list[float]:
    """The five lines and `scheduler.step()`; returns the rate of each epoch's last step."""
    loss_fn, size, rates = fm.MSELoss(), size or len(X), []
    for _ in range(epochs):
        for start in range(0, len(X), size):
            optimizer.zero_grad()
            loss_fn(model(X[start : start + size]), T[start : start + size]).backward()
            optimizer.step()
            last = optimizer.param_groups[0]["lr"]
            if interval == "step":
                scheduler.step()
        if interval == "epoch":
            scheduler.step()
        rates.append(last)
    return rates


def fit(
    model: Any,
    optimizer: Any,
    scheduler: Any,
    interval: str | None,
    size: int | None,
    epochs: int,
    **options: Any,
) -> fm.History:
    trainer = fm.Trainer(
        model, optimizer, fm.MSELoss(), scheduler=scheduler, scheduler_interval=interval
    )
    return trainer.fit(X, T, max_epoch=epochs, batch_size=size, shuffle=False, **options)


def assert_same(a: Any, b: Any, tolerance: float = 0) -> None:
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        limit = tolerance * np.abs(np.asarray(q)).max()
        np.testing.assert_allclose(np.asarray(p), np.asarray(q), rtol=0, atol=limit)


@BATCHES
@SIZES
@INTERVALS
@EACH
@pytest.mark.parametrize("groups", [False, True], ids=["one group", "two"])
def test_fit_equals_the_loop(
    groups: bool,
    name: str,
    interval: str,
    widths: list[int],
    batch_size: int | None,
    device: str,
) -> None:
    by_hand, optimizer = make(widths, groups)
    scheduler = SCHEDULES[name](optimizer)
    rates = loop(by_hand, optimizer, scheduler, interval, batch_size, EPOCHS)
    for callbacks in ((), [lambda info: None]):
        model, own = make(widths, groups, device)
        planned = SCHEDULES[name](own)
        history = fit(model, own, planned, interval, batch_size, EPOCHS, callbacks=callbacks)
        assert_same(model, by_hand, 0 if device == "cpu" else 1e-12)
        np.testing.assert_array_equal(history.learning_rate, rates)
        for ours, theirs in zip(own.param_groups, optimizer.param_groups, strict=True):
            assert (ours["lr"], ours["momentum"]) == (theirs["lr"], theirs["momentum"])
        got, want = planned.state_dict(), scheduler.state_dict()
        for state in (got, want):
            state.pop("lr_lambdas", None)
        assert got == want


@pytest.mark.parametrize("kind", ["Adam", "RMSprop", "NAdam", "Lion"])
@SIZES
def test_one_cycle_of_other_rules(kind: str, widths: list[int], device: str) -> None:
    by_hand, optimizer = make(widths, kind=kind)
    loop(by_hand, optimizer, schedules.OneCycleLR(optimizer, 0.02, 28), "step", 6, EPOCHS)
    model, own = make(widths, device=device, kind=kind)
    fit(model, own, schedules.OneCycleLR(own, 0.02, 28), None, 6, EPOCHS)
    assert_same(model, by_hand, 0 if device == "cpu" else 1e-11)
    assert repr(own) == repr(optimizer)


def test_clipped() -> None:
    """Steps whose gradient is clipped take another way through the native loop."""
    by_hand, optimizer = make([4, 5, 2])
    scheduler = schedules.ExponentialLR(optimizer, 0.9)
    loss_fn = fm.MSELoss()
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss_fn(by_hand(X), T).backward()
        fm.clip_grad_norm_(by_hand.parameters(), 0.05)
        optimizer.step()
        scheduler.step()
    model, own = make([4, 5, 2])
    fit(model, own, schedules.ExponentialLR(own, 0.9), "step", None, EPOCHS, max_grad=0.05)
    assert_same(model, by_hand)
    assert own.lr == optimizer.lr


def test_many_steps_go_through_several_plans() -> None:
    by_hand, optimizer = make([4, 5, 2])
    epochs = 17000
    rates = loop(
        by_hand, optimizer, schedules.ExponentialLR(optimizer, 0.9999), "step", None, epochs
    )
    model, own = make([4, 5, 2])
    history = fit(model, own, schedules.ExponentialLR(own, 0.9999), "step", None, epochs)
    assert_same(model, by_hand)
    np.testing.assert_array_equal(history.learning_rate, rates)


@pytest.mark.parametrize(
    "validation", [None, (X[:7] * 2, T[:7] * 3)], ids=["training", "validation"]
)
def test_plateau(validation: Any, device: str) -> None:
    model, optimizer = make([4, 5, 2], groups=True, device=device)
    scheduler = schedules.ReduceLROnPlateau(optimizer, patience=1, threshold=0.02)
    history = fit(model, optimizer, scheduler, None, None, 60, validation_data=validation)
    losses = history.loss if validation is None else history.validation_loss
    _, twin = make([4, 5, 2], groups=True)
    by_hand = schedules.ReduceLROnPlateau(twin, patience=1, threshold=0.02)
    rates = []
    for loss in losses:
        rates.append(twin.lr)
        by_hand.step(loss)
    np.testing.assert_array_equal(history.learning_rate, rates)
    assert optimizer.lr == twin.lr < 0.2
    assert optimizer.param_groups[1]["lr"] == twin.param_groups[1]["lr"]


@INTERVALS
def test_a_callback_sees_the_schedule_and_may_change_rates(interval: str, device: str) -> None:
    by_hand, optimizer = make([4, 5, 2])
    scheduler = schedules.ExponentialLR(optimizer, 0.9)
    for epoch in range(EPOCHS):
        loop(by_hand, optimizer, scheduler, interval, 6, 1)
        if epoch == 3:
            optimizer.lr = 0.02
    model, own = make([4, 5, 2], device=device)
    planned = schedules.ExponentialLR(own, 0.9)
    seen = []

    def callback(info: fm.EpochInfo) -> None:
        seen.append((planned.last_epoch, own.lr))
        if info.epoch == 3:
            own.lr = 0.02

    fit(model, own, planned, interval, 6, EPOCHS, callbacks=callback)
    assert_same(model, by_hand, 0 if device == "cpu" else 1e-12)
    assert own.lr == optimizer.lr
    steps = 4 if interval == "step" else 1
    assert [step for step, _ in seen] == [steps * (i + 1) for i in range(EPOCHS)]
    assert seen[0][1] == np.multiply.accumulate([0.2, *[0.9] * steps])[-1]


def test_an_interrupted_fit_leaves_the_schedule_where_it_was() -> None:
    model, optimizer = make([4, 5, 2])
    scheduler = schedules.ExponentialLR(optimizer, 0.9)

    def stop(info: fm.EpochInfo) -> None:
        if info.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, optimizer, scheduler, "step", 6, EPOCHS, callbacks=stop)
    assert scheduler.last_epoch == 12
    assert optimizer.lr == scheduler.get_last_lr()[0]

    def wrong(step: int) -> float:
        if step == 5:
            raise RuntimeError("no such step")
        return 1.0

    model, optimizer = make([4, 5, 2])
    scheduler = schedules.LambdaLR(optimizer, wrong)
    before = [np.array(p) for p in model.parameters()]
    with pytest.raises(RuntimeError, match="no such step"):
        fit(model, optimizer, scheduler, "step", 6, EPOCHS)
    for p, start in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p, start)
    assert scheduler.last_epoch == 0


def test_a_schedule_that_is_too_short_changes_nothing() -> None:
    model, optimizer = make([4, 5, 2])
    scheduler = schedules.OneCycleLR(optimizer, 0.3, 20)
    before = [np.array(p) for p in model.parameters()]
    with pytest.raises(ValueError, match=r"scheduler: expected one with 28 steps left.* with 20"):
        fit(model, optimizer, scheduler, None, 6, EPOCHS)
    for p, start in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p, start)
    fit(model, optimizer, scheduler, None, 6, 5)
    assert scheduler.last_epoch == 20


@pytest.mark.parametrize("name", ["one cycle", "cosine", "sequence"])
def test_a_training_that_is_resumed(name: str) -> None:
    """By a state dict, by pickle, by deepcopy, or by a second fit: the same bits."""

    def trainer() -> fm.Trainer:
        model, optimizer = make([4, 5, 2])
        return fm.Trainer(
            model,
            optimizer,
            fm.MSELoss(),
            scheduler=SCHEDULES[name](optimizer),
            scheduler_interval="step",
        )

    def train(trainer: fm.Trainer, epochs: int) -> None:
        trainer.fit(X, T, max_epoch=epochs, batch_size=6, seed=1)

    whole, first = trainer(), trainer()
    train(whole, 8)
    train(first, 3)
    loaded = trainer()
    loaded.load_state_dict(first.state_dict())
    others = [loaded, pickle.loads(pickle.dumps(first)), copy.deepcopy(first), first]
    for other in others:
        train(other, 5)
        assert_same(other.model, whole.model)
        assert other.optimizer.lr == whole.optimizer.lr
        np.testing.assert_array_equal(other.history.learning_rate, whole.history.learning_rate)
    without = fm.Trainer(first.model, first.optimizer, fm.MSELoss())
    with pytest.raises(ValueError, match="scheduler"):
        without.load_state_dict(whole.state_dict())
