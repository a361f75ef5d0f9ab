"""Early stopping: when it stops, what it restores, and that nothing else changes."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from training import weights_of

rng = np.random.default_rng(0)
X, T = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))  # nothing to learn but the rows
TRAINING, VALIDATION = (X[:24], T[:24]), (X[24:], T[24:])


@pytest.fixture(params=["lanes", "dense"])
def sizes(request: pytest.FixtureRequest) -> list[int]:
    """Of a network for each strategy."""
    return [3, 8, 1] if request.param == "lanes" else [3, 160, 160, 1]


def new_trainer(
    sizes: list[int], device: str = "cpu", optimizer: type[fm.optim.Optimizer] = fm.Adam
) -> fm.Trainer:
    model = fm.MLP(sizes, "tanh", dtype="float64", device=device, seed=1)
    return fm.Trainer(model, optimizer(model.parameters(), lr=0.02), fm.MSELoss())


def fit(trainer: fm.Trainer, **options: Any) -> fm.History:
    plan = {"max_epoch": 80, "batch_size": 8, "seed": 3, "progress": False}
    return trainer.fit(*TRAINING, **{"validation_data": VALIDATION, **plan, **options})


def reference(values: np.ndarray, patience: int, min_delta: float, sign: int) -> tuple[int, int]:
    """The best epoch, and the last one that is trained."""
    best, best_epoch, waited = np.inf, -1, 0
    for epoch, value in enumerate(sign * values):
        if value < best - min_delta:
            best, best_epoch, waited = value, epoch, 0
        elif (waited := waited + 1) >= patience:
            return best_epoch, epoch
    return best_epoch, len(values) - 1


@pytest.mark.parametrize("patience", [0, 1, 5, 1000])
@pytest.mark.parametrize("min_delta", [0, 0.01])
@pytest.mark.parametrize(
    ("monitor", "batch_size"),
    [("validation_loss", 8), ("validation_loss", None), ("loss", 8), ("loss", None), ("r2", 10)],
)
def test_it_stops_and_restores(
    monitor: str, batch_size: int | None, min_delta: float, patience: int, device: str
) -> None:
    sizes = [3, 8, 1]
    plain, weights = new_trainer(sizes, device), []
    whole = fit(
        plain,
        batch_size=batch_size,
        metrics="r2",
        callbacks=lambda info: weights.append(weights_of(plain.model)),
    )
    values = whole.metrics["r2"] if monitor == "r2" else getattr(whole, monitor)
    want = reference(values, patience, min_delta, -1 if monitor == "r2" else 1)

    trainer = new_trainer(sizes, device)
    early = fm.EarlyStopping(patience, min_delta, monitor)
    options = {"batch_size": batch_size, "metrics": "r2" if monitor == "r2" else ()}
    if monitor == "loss":
        options["validation_data"] = None
    history = fit(trainer, early_stopping=early, **options)
    assert (early.best_epoch, len(history.loss) - 1) == want
    assert history.best_epoch == trainer.history.best_epoch == early.best_epoch
    assert early.best == pytest.approx(values[want[0]], rel=1e-8)
    stopped = want[1] if patience < 1000 and want[1] < 79 else early.stopped_epoch
    assert early.stopped_epoch == stopped
    for a, b in zip(weights_of(trainer.model), weights[want[0]], strict=True):
        np.testing.assert_allclose(a, b, rtol=0 if device == "cpu" else 1e-7)


def test_the_optimizer_stays_and_training_goes_on(sizes: list[int]) -> None:
    trainer, plain = (new_trainer(sizes) for _ in range(2))
    early = fm.EarlyStopping(4)
    history = fit(trainer, early_stopping=early)
    assert early.best_epoch is not None
    assert early.best_epoch < len(history.loss) - 1, "nothing to restore"
    fit(plain, max_epoch=len(history.loss))
    want, got = plain.optimizer.state_dict(), trainer.optimizer.state_dict()
    for number, states in want["state"].items():
        for name, value in states.items():
            np.testing.assert_array_equal(got["state"][number][name], value)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(weights_of(trainer.model), weights_of(plain.model), strict=True)
    )
    before = early.best_epoch
    again = fit(trainer, early_stopping=early, max_epoch=3)
    assert len(again.loss) <= len(history.loss) + 3
    assert early.best_epoch is not None
    assert early.best_epoch > before, "each fit begins anew"


def test_restore_best_is_an_option(sizes: list[int]) -> None:
    trainer, plain = (new_trainer(sizes) for _ in range(2))
    history = fit(trainer, early_stopping=fm.EarlyStopping(4, restore_best=False))
    fit(plain, max_epoch=len(history.loss))
    for a, b in zip(weights_of(trainer.model), weights_of(plain.model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_among_the_callbacks_it_is_the_same() -> None:
    ends = []
    for options in (
        {"early_stopping": fm.EarlyStopping(4)},
        {"callbacks": fm.EarlyStopping(4)},
        {"callbacks": [lambda info: None, fm.callbacks.EarlyStopping(4)]},
    ):
        trainer = new_trainer([3, 8, 1])
        history = fit(trainer, **options)
        ends.append([history.loss, history.validation_loss, *weights_of(trainer.model)])
    for other in ends[1:]:
        for a, b in zip(ends[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_metrics_of_ones_own_and_modes() -> None:
    values = iter([1.0, 3.0, 2.0, np.nan, 2.0, 2.0])

    def scripted(y: np.ndarray, t: np.ndarray) -> float:
        return next(values)

    trainer = new_trainer([3, 8, 1])
    early = fm.EarlyStopping(4, monitor="scripted", mode="max")
    history = fit(trainer, early_stopping=early, metrics=scripted)
    assert (early.best, early.best_epoch, early.stopped_epoch) == (3.0, 1, 5)
    np.testing.assert_array_equal(history.metrics["scripted"], [1, 3, 2, np.nan, 2, 2])


def test_values_that_are_no_numbers_are_never_the_best() -> None:
    trainer = new_trainer([3, 8, 1])
    trainer.on_nonfinite = "ignore"
    early = fm.EarlyStopping(3, monitor="f", mode="min")
    history = fit(trainer, early_stopping=early, metrics=lambda_named("f", lambda y, t: np.nan))
    assert len(history.loss) == 3
    assert (early.best, early.best_epoch, early.stopped_epoch) == (None, None, 2)
    assert history.best_epoch == int(np.argmin(history.validation_loss))


def lambda_named(name: str, function: Any) -> Any:
    function.__name__ = name
    return function


def test_a_callback_can_stop_first_and_the_best_is_restored() -> None:
    trainer, kept = new_trainer([3, 8, 1]), []

    def callback(info: fm.EpochInfo) -> bool:
        kept.append(weights_of(trainer.model))
        if info.epoch == 3:
            trainer.optimizer.lr = 5.0  # from now on it is worse
        return info.epoch == 6

    early = fm.EarlyStopping(1000)
    history = fit(trainer, early_stopping=early, callbacks=callback)
    assert len(history.loss) == 7
    assert early.stopped_epoch is None
    assert early.best_epoch == int(np.argmin(history.validation_loss)) < 6
    for a, b in zip(weights_of(trainer.model), kept[early.best_epoch], strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_parameters_begin_anew() -> None:
    trainer = new_trainer([3, 8, 1])

    def callback(info: fm.EpochInfo) -> None:
        if info.epoch == 3:
            fm.manual_seed(3)
            trainer.model = fm.MLP([3, 4, 1], dtype="float64")
            trainer.optimizer = fm.SGD(trainer.model.parameters(), lr=0.0)

    early = fm.EarlyStopping(5)
    history = fit(trainer, early_stopping=early, callbacks=callback)
    assert early.best_epoch == 4
    assert len(history.loss) == 10


def test_the_best_weights_are_seen_by_passes_recorded_before() -> None:
    """As after every change of the parameters, they cannot run backward."""
    trainer = new_trainer([3, 8, 1])
    seen = []

    def callback(info: fm.EpochInfo) -> None:
        seen.append(trainer.loss_fn(trainer.model(X), T))

    fit(trainer, early_stopping=fm.EarlyStopping(2), callbacks=callback)
    with pytest.raises(RuntimeError):
        seen[-1].backward()


def test_copies_and_results() -> None:
    early = fm.EarlyStopping(4, 0.5, "loss", restore_best=False, mode="min")
    assert repr(early) == (
        "EarlyStopping(patience=4, min_delta=0.5, monitor='loss', restore_best=False, mode='min')"
    )
    assert (early.best, early.best_epoch, early.stopped_epoch) == (None, None, None)
    fit(new_trainer([3, 4, 1]), early_stopping=early)
    assert early.best_epoch is not None
    for twin in (copy.deepcopy(early), pickle.loads(pickle.dumps(early))):
        assert repr(twin) == repr(early)
        assert twin.best_epoch is None


def test_its_options_hold_for_a_whole_fit() -> None:
    """A callback that would change them is refused."""
    trainer, early = new_trainer([3, 8, 1]), fm.EarlyStopping(4)

    def callback(info: fm.EpochInfo) -> None:
        early.patience = 100

    with pytest.raises(RuntimeError, match="patience: expected no change while a fit uses it"):
        fit(trainer, early_stopping=early, callbacks=callback)
    early.patience = 3
    assert len(fit(trainer, early_stopping=early).loss) > 1
    assert early.stopped_epoch == (early.best_epoch or 0) + 3
