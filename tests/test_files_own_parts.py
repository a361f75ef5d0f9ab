"""Trainings with classes and functions of one's own, which are given again when a file is read."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import lr_scheduler as schedules
from fastmlp.files import parts
from fastmlp.files import schedules as files_schedules
from resuming import VALUES, X, assert_equal, assert_resumes, busy_model


class Net(fm.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = busy_model()
        self.inner[1].weight.requires_grad = False

    def forward(self, x: Any) -> Any:
        return self.inner(x)


def squared(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    return float(((y - t) ** 2).mean()), 2 * (y - t) / y.size


def own_parts() -> fm.Trainer:
    net = Net()
    optimizer = fm.SGD(net.parameters(), 0.1, 0.9)
    return fm.Trainer(net, optimizer, fm.FunctionLoss(squared), scheduler=own_schedule(optimizer))


def own_schedule(optimizer: Any) -> schedules.LRScheduler:
    warm = schedules.LinearLR(optimizer, 0.5, total_iters=2)
    function = schedules.LambdaLR(optimizer, lambda step: 0.9**step)
    return schedules.SequentialLR(optimizer, [warm, function], [2])


def load_own(path: Path, **changes: Any) -> fm.Trainer:
    given = {"model": Net(), "loss_fn": fm.FunctionLoss(squared), "scheduler": own_schedule}
    return fm.Trainer.load(path, **{**given, **changes})


def test_classes_and_functions_of_ones_own(tmp_path: Path) -> None:
    assert_resumes(own_parts, tmp_path, load=load_own, targets=VALUES)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": None}, ValueError, r"the model is of the class Net.*into=model"),
        (
            {"loss_fn": None},
            ValueError,
            r"loss is a FunctionLoss.*Trainer.load\(path, loss_fn=",
        ),
        ({"scheduler": None}, ValueError, r"has a LambdaLR.*scheduler=lambda optimizer: ...\)"),
        ({"model": 3}, TypeError, r"model: expected a Module, got 3"),
        ({"loss_fn": squared}, TypeError, r"loss_fn: expected a Loss, got .*function"),
        ({"scheduler": 3}, TypeError, r"scheduler: expected a function of.* got int"),
        (
            {"scheduler": lambda o: 3},
            ValueError,
            r"scheduler: expected a function of",
        ),
        ({"scheduler": lambda o: schedules.StepLR(o, 2)}, ValueError, r"expected that of StepLR"),
        ({"model": fm.Linear(5, 3)}, ValueError, r"expected a tensor 'bias'"),
        ({"device": "cpu"}, ValueError, r"device: expected none with model"),
    ],
)
def test_what_is_missing_is_named(
    changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    trainer = own_parts()
    trainer.fit(X, VALUES, 2)
    trainer.save(tmp_path / "run")
    given = {"model": Net(), **changes}["model"]
    before = given.state_dict() if isinstance(given, fm.Module) else {}
    with pytest.raises(error, match=message):
        load_own(tmp_path / "run", **{"model": given, **changes})
    if before:
        assert_equal(dict(given.state_dict()), dict(before))


def test_a_failed_load_leaves_the_given_model_alone(tmp_path: Path) -> None:
    trainer = own_parts()
    trainer.fit(X, VALUES, 2)
    trainer.save(tmp_path / "run")
    net = Net()
    before = dict(net.state_dict())
    with pytest.raises(ValueError, match="the loss is a FunctionLoss"):
        load_own(tmp_path / "run", model=net, loss_fn=None)
    with pytest.raises(ValueError, match="expected that of ExponentialLR"):
        load_own(tmp_path / "run", model=net, scheduler=lambda o: schedules.ExponentialLR(o, 0.5))
    assert_equal(dict(net.state_dict()), before)


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    class Mine(fm.SGD):
        pass

    model = fm.Linear(5, 3)
    with pytest.raises(TypeError, match=r"optimizer: expected one of SGD, Adam.* got a Mine"):
        fm.Trainer(model, Mine(model.parameters(), 0.1)).save(tmp_path / "a")
    more = fm.SGD([*model.parameters(), fm.Parameter(np.ones(3, "float32"))], 0.1)
    with pytest.raises(ValueError, match="optimizer: expected the model's parameters alone"):
        fm.Trainer(model, more).save(tmp_path / "a")
    fm.save(model, tmp_path / "a")
    with pytest.raises(ValueError, match="got one of a model alone"):
        fm.Trainer.load(tmp_path / "a")
    fm.Trainer(model, fm.SGD(model.parameters(), 0.1)).save(tmp_path / "a")
    with pytest.raises(ValueError, match="scheduler: expected none"):
        fm.Trainer.load(tmp_path / "a", scheduler=own_schedule)


def test_the_tables_have_every_class_with_all_its_options() -> None:
    exported = [getattr(fm, name) for name in fm.__all__ if isinstance(getattr(fm, name), type)]
    losses = {kind for kind in exported if issubclass(kind, fm.losses.Loss)} - {fm.FunctionLoss}
    assert {kind for kind, _ in parts.LOSSES.values()} == losses
    for kind, options in parts.LOSSES.values():
        assert set(options) == set(inspect.signature(kind).parameters)
    optimizers = {kind for kind in exported if issubclass(kind, fm.optim.Optimizer)}
    assert set(parts.OPTIMIZERS.values()) == optimizers
    left_out = {"LRScheduler", "LambdaLR", "SequentialLR"}
    assert set(files_schedules.SCHEDULES) == set(schedules.__all__) - left_out
    elsewhere = {"optimizer", "last_epoch"}
    for name, row in files_schedules.SCHEDULES.items():
        if name != "OneCycleLR":  # what else that takes is in the optimizer's groups
            assert set(row.options) == set(inspect.signature(row.make).parameters) - elsewhere
