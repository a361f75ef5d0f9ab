"""A training goes on from a file with the same bits, from any epoch, whatever it uses."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import lr_scheduler as schedules
from resuming import (
    CLASSES,
    EPOCHS,
    SIZES,
    X,
    assert_equal,
    assert_resumes,
    busy_model,
    new_trainer,
    state_of,
)
from specs import BUSY_OPTIMIZERS, LOSSES, Optimizer
from subprocesses import output_of

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])

# Of 5 steps an epoch.
SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: schedules.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: schedules.MultiStepLR(o, [2, 2, 5]),
    "ExponentialLR": lambda o: schedules.ExponentialLR(o, 0.9),
    "LinearLR": lambda o: schedules.LinearLR(o, 0.2, total_iters=6),
    "CosineAnnealingLR": lambda o: schedules.CosineAnnealingLR(o, 5, 1e-3),
    "CosineAnnealingWarmRestarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 2),
    "OneCycleLR": lambda o: schedules.OneCycleLR(o, 0.1, 5 * (EPOCHS + 2)),
    "OneCycleLR-linear": lambda o: schedules.OneCycleLR(
        o, 0.1, 60, anneal_strategy="linear", three_phase=True, cycle_momentum=False
    ),
    "ReduceLROnPlateau": lambda o: schedules.ReduceLROnPlateau(o, patience=0, cooldown=1),
    "ReduceLROnPlateau-max": lambda o: schedules.ReduceLROnPlateau(
        o, "max", 0.5, 1, 0.1, "abs", min_lr=[1e-4] * len(o.param_groups)
    ),
    "SequentialLR": lambda o: schedules.SequentialLR(
        o,
        [
            schedules.LinearLR(o, 0.1, total_iters=3),
            schedules.CosineAnnealingWarmRestarts(o, 2),
            schedules.ExponentialLR(o, 0.8),
        ],
        [2, 5],
    ),
}


def grouped(parameters: Any) -> fm.Adam:
    first, second, *rest = parameters
    groups = [{"params": [second], "lr": 0.05, "name": "bias"}, {"params": rest}]
    return fm.Adam([*groups, {"params": first, "betas": (0.7, 0.9)}], lr=0.02)


@DTYPES
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda row: row.id)
def test_every_optimizer(
    optimizer: Optimizer, size: str, dtype: str, device: str, tmp_path: Path
) -> None:
    at = None if device == "cpu" and size == "lanes" else [0, 3]
    assert_resumes(
        lambda: new_trainer(optimizer.fastmlp, size=size, dtype=dtype, device=device),
        tmp_path,
        at=at,
        shuffle=True,
        max_grad=1.0,
    )


@pytest.mark.parametrize("interval", [None, "step"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule(name: str, interval: str | None, device: str, tmp_path: Path) -> None:
    if name.startswith("ReduceLROnPlateau") and interval:
        return
    assert_resumes(
        lambda: new_trainer(grouped, SCHEDULES[name], interval=interval, device=device),
        tmp_path,
        at=None if device == "cpu" else [0, 3],
        validation_split=0.3,
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(name: str, weighted: bool, tmp_path: Path) -> None:
    row = LOSSES[name]
    weights = {"cross_entropy": {"weight": [1, 2, 0.5], "ignore_index": 2}, "bce": {"weight": 0.3}}
    weights["bce_with_logits"] = {"weight": [1, 2, 0.5], "pos_weight": [3, 1, 1]}
    weights["nll"] = {"weight": [1, 2, 0.1]}
    if weighted and name not in weights:
        return
    rng = np.random.default_rng(0)
    outputs = row.outputs(3)
    targets = row.targets(rng, 30, outputs)

    def make() -> fm.Trainer:
        heads = {"identity": fm.Identity, "softplus": fm.Softplus, "sigmoid": fm.Sigmoid}
        heads["log_softmax"] = fm.LogSoftmax
        fm.manual_seed(0)
        model = fm.Sequential(fm.Linear(5, 6), fm.Tanh(), fm.Linear(6, outputs), heads[row.head]())
        loss = row.module("sum")
        if weighted:
            loss = type(loss)(reduction="sum", **weights[name])
        return fm.Trainer(model, fm.SGD(model.parameters(), 1e-3, 0.5), loss)

    assert_resumes(make, tmp_path, targets=targets, at=[0, 1, 4])


@DTYPES
@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("stops", [True, False])
def test_early_stopping(
    stops: bool, restore_best: bool, dtype: str, device: str, tmp_path: Path
) -> None:
    """From each epoch, those after the best one included; and the end of the fit itself."""
    early = fm.EarlyStopping(3 if stops else 50, 1e-3, restore_best=restore_best)
    straight = assert_resumes(
        lambda: new_trainer(lambda p: fm.Adam(p, lr=0.05), dtype=dtype, device=device),
        tmp_path,
        epochs=25 if stops else 8,
        at=None if device == "cpu" else [0, 3, 5],
        early_stopping=early,
        validation_split=0.3,
        metrics=["accuracy", "top_2_accuracy"],
    )
    assert len(straight.history.loss) > 5
    if stops:
        assert len(straight.history.loss) < 25 - 3


def test_early_stopping_with_other_options_begins_anew(tmp_path: Path) -> None:
    def make() -> fm.Trainer:
        return new_trainer(lambda p: fm.Adam(p, lr=0.05))

    options: dict[str, Any] = {"validation_split": 0.3, "progress": False}
    first = make()
    first.fit(
        X, CLASSES, 6, early_stopping=fm.EarlyStopping(9),
        callbacks=lambda info: info.trainer.save(tmp_path / "a") if info.epoch == 4 else None,
        **options,
    )  # fmt: skip
    resumed = fm.Trainer.load(tmp_path / "a")
    again = fm.Trainer.load(tmp_path / "a")
    resumed.save(tmp_path / "b")  # which still knows of the search
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    early = fm.EarlyStopping(8)
    resumed.fit(X, CLASSES, 3, early_stopping=early, **options)
    again.fit(X, CLASSES, 3, **options)
    assert early.best_epoch is not None
    assert early.best_epoch >= 5


def test_a_save_in_the_last_epoch_leaves_the_model_alone(tmp_path: Path) -> None:
    """Though the file has the best values, as the fit gives them back at its end."""
    seen = {}

    def look(info: fm.EpochInfo) -> None:
        before = info.trainer.model.state_dict()
        info.trainer.save(tmp_path / "a")
        seen[info.epoch] = before, info.trainer.model.state_dict()

    trainer = new_trainer(lambda p: fm.Adam(p, lr=0.05))
    trainer.fit(
        X, CLASSES, 9, validation_split=0.3, early_stopping=fm.EarlyStopping(5), callbacks=look
    )
    for before, after in seen.values():
        assert_equal(dict(after), dict(before))
    end = dict(trainer.model.state_dict())
    assert_equal(dict(fm.load(tmp_path / "a").state_dict()), end)
    last = seen[max(seen)][0]
    assert any(last[name].tobytes() != end[name].tobytes() for name in end)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 5, "accumulate": 2, "sample_weight": np.linspace(0, 2, 30)},
        {"shuffle": False, "batch_size": None, "eval_interval": 3},
        {"validation_data": (X[:9], CLASSES[:9]), "metrics": ["accuracy"], "eval_interval": 4},
    ],
    ids=["weights", "all rows", "validation"],
)
def test_options_of_fit(options: dict[str, Any], device: str, tmp_path: Path) -> None:
    assert_resumes(lambda: new_trainer(device=device), tmp_path, **options)


def test_seeds(tmp_path: Path) -> None:
    """Of MLP, of the global generator, of the trainer."""

    def make() -> fm.Trainer:
        model = fm.MLP([5, 8, 3], seed=11)
        return fm.Trainer(model, fm.SGD(model.parameters(), 0.1))

    assert_resumes(make, tmp_path)
    fm.manual_seed(4)
    make().save(tmp_path / "a")
    new_trainer().save(tmp_path / "b")
    state = fm.seeds.current().state()
    new_trainer().save(tmp_path / "b")
    assert fm.seeds.current().state() == state  # saving draws no numbers


def test_frozen_parameters_and_modes(tmp_path: Path) -> None:
    def make() -> fm.Trainer:
        trainer = new_trainer()
        trainer.model[1].requires_grad_(False)
        trainer.model[5].bias.requires_grad = False
        trainer.model.eval()
        return trainer

    straight = assert_resumes(make, tmp_path)
    loaded = fm.Trainer.load(tmp_path / "3").model
    assert [p.requires_grad for p in loaded.parameters()] == [
        p.requires_grad for p in straight.model.parameters()
    ]
    assert not loaded[3].training


def test_the_five_lines_go_on(tmp_path: Path) -> None:
    def step(trainer: fm.Trainer) -> None:
        fm.manual_seed(8)
        trainer.optimizer.zero_grad()
        trainer.loss_fn(trainer.model(X), CLASSES).backward()
        trainer.optimizer.step()

    trainer = new_trainer(grouped, SCHEDULES["SequentialLR"])
    step(trainer)
    trainer.scheduler.step()
    trainer.save(tmp_path / "a")
    other = fm.Trainer.load(tmp_path / "a")
    for each in (trainer, other):
        step(each)
        each.scheduler.step()
    want = state_of(trainer)
    assert_equal({**state_of(other), "seed": None}, want)


@pytest.mark.parametrize("strategy", ["lanes", "dense"])
@pytest.mark.parametrize("isa", ["", "scalar"])
def test_both_strategies_in_processes_of_their_own(strategy: str, isa: str, tmp_path: Path) -> None:
    """The second one has drawn other numbers and has other threads."""
    code = """
        import sys
        import fastmlp as fm
        import resuming
        model = resuming.busy_model("float64")
        trainer = fm.Trainer(model, fm.NAdam(model.parameters()))
        options = dict(progress=False, batch_size=7, validation_split=0.2)
        if {first}:
            trainer.fit(resuming.X, resuming.CLASSES, 6, **options,
                        callbacks=lambda i: i.trainer.save({path!r}) if i.epoch == 2 else None)
        else:
            fm.manual_seed(77)
            fm.set_num_threads(1)
            trainer = fm.Trainer.load({path!r})
            trainer.fit(resuming.X, resuming.CLASSES, 3, **options)
        state = trainer.model.state_dict(), trainer.history.loss, trainer.history.validation_loss
        print([v.tobytes().hex() for v in (*state[0].values(), *state[1:])])
    """
    path = str(tmp_path / "a")
    outputs = [
        output_of(code.format(first=first, path=path), FASTMLP_STRATEGY=strategy, FASTMLP_ISA=isa)
        for first in (True, False)
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 1000


def test_another_threads_fit_is_not_saved(tmp_path: Path) -> None:
    trainer = new_trainer()
    found: list[BaseException] = []

    def save() -> None:
        try:
            trainer.save(tmp_path / "a")
        except RuntimeError as error:
            found.append(error)

    def in_another_thread(info: fm.EpochInfo) -> None:
        thread = threading.Thread(target=save)
        thread.start()
        thread.join()

    trainer.fit(X, CLASSES, 2, callbacks=in_another_thread)
    assert ["another thread" in str(error) for error in found] == [True, True]
    trainer.save(tmp_path / "a")


def test_a_trainers_file_is_a_models_too(tmp_path: Path) -> None:
    trainer = new_trainer()
    trainer.fit(X, CLASSES, 2)
    trainer.save(tmp_path / "a")
    model = fm.load(tmp_path / "a")
    np.testing.assert_array_equal(model.predict(X), trainer.model.predict(X))
    other = busy_model()
    fm.load(tmp_path / "a", into=other)
    np.testing.assert_array_equal(other.predict(X), trainer.model.predict(X))
