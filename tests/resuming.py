"""A training that stops at any epoch and goes on from a file, against one that never stopped."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import fastmlp as fm

RNG = np.random.default_rng(0)
X, CLASSES, VALUES = RNG.normal(size=(30, 5)), RNG.integers(0, 3, 30), RNG.normal(size=(30, 3))
EPOCHS = 6
SIZES = {"lanes": (8, 8), "dense": (70, 40)}  # of hidden layers, each of which one strategy runs


def busy_model(dtype: str = "float32", device: str = "cpu", size: str = "lanes") -> fm.Sequential:
    """All that a training changes besides weights, and all that draws random numbers."""
    fm.manual_seed(1)
    first, second = SIZES[size]
    return fm.Sequential(
        fm.Standardize.from_data(X),
        fm.Linear(5, first),
        fm.BatchNorm1d(first),
        fm.Dropout(0.3),
        fm.Tanh(),
        fm.Linear(first, second),
        fm.PReLU(),
        fm.LayerNorm(second),
        fm.Dropout(0.2),
        fm.Linear(second, 3),
        dtype=dtype,
        device=device,
    )


def new_trainer(
    optimizer: Callable[[Any], Any] = lambda p: fm.Adam(p, lr=0.01),
    schedule: Callable[[Any], Any] | None = None,
    loss_fn: Any = None,
    interval: str | None = None,
    **model: Any,
) -> fm.Trainer:
    made = busy_model(**model)
    update = optimizer(made.parameters())
    scheduler = schedule and schedule(update)
    return fm.Trainer(made, update, loss_fn, scheduler=scheduler, scheduler_interval=interval)


def state_of(trainer: fm.Trainer) -> dict[str, Any]:
    state = trainer.state_dict()
    state["history"].pop("epoch_time")
    early = trainer.history.best_epoch, trainer._best_epoch
    return {**state, "early": early, "metrics": trainer._metrics, "repr": repr(trainer)}


def assert_equal(got: Any, want: Any, name: str = "") -> None:
    """The same, to the last bit."""
    assert type(got) is type(want), name
    if isinstance(want, dict):
        assert sorted(got) == sorted(want), name
        for key, value in want.items():
            assert_equal(got[key], value, f"{name}.{key}")
    elif isinstance(want, list | tuple):
        assert len(got) == len(want), name
        for i, (a, b) in enumerate(zip(got, want, strict=True)):
            assert_equal(a, b, f"{name}[{i}]")
    elif isinstance(want, np.ndarray):
        assert got.dtype == want.dtype, name
        assert got.shape == want.shape, name
        assert got.tobytes() == want.tobytes(), name
    else:
        assert got == want or (got != got and want != want), (name, got, want)


def assert_resumes(
    make: Callable[[], fm.Trainer],
    folder: Path,
    *,
    load: Callable[[Path], fm.Trainer] = fm.Trainer.load,
    targets: Any = CLASSES,
    epochs: int = EPOCHS,
    at: Iterable[int] | None = None,
    **options: Any,
) -> fm.Trainer:
    """From a file of each epoch, before the first one included; returns the one never stopped."""
    options = {"batch_size": 7, "progress": False, **options}
    never_saved = make()
    never_saved.fit(X, targets, epochs, **options)
    straight = make()
    straight.save(folder / "0")
    straight.fit(
        X, targets, epochs, callbacks=lambda info: info.trainer.save(folder / f"{info.epoch + 1}"),
        **options,
    )  # fmt: skip
    want = state_of(straight)
    if "seed" in options:  # and the trainer has none of its own
        want["seed"] = state_of(load(folder / "0"))["seed"]
        straight._seed = never_saved._seed = want["seed"]
    assert_equal(want, state_of(never_saved))
    done = len(straight.history.loss)
    straight.fit(X, targets, 2, **options)
    for epoch in range(done + 1) if at is None else at:
        fm.manual_seed(999)
        trainer = load(folder / f"{epoch}")
        assert len(trainer.history.loss) == epoch
        if epoch < done:
            trainer.fit(X, targets, epochs - epoch, **options)
        assert_equal(state_of(trainer), want, f"from epoch {epoch}")
        trainer.fit(X, targets, 2, **options)  # nor does it remember what is over
        assert_equal(state_of(trainer), state_of(straight), f"after epoch {epoch}")
    return straight
