"""What goes on from a copy, a pickle or a state dict gives the same bits."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from training import weights_of

X = np.random.default_rng(0).normal(size=(24, 3)).astype("f4")
T = X[:, :2] ** 2

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: fm.SGD(p, lr=0.01),
    "momentum": lambda p: fm.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "dampening": lambda p: fm.SGD(p, lr=0.01, momentum=0.9, dampening=0.5, weight_decay=0.1),
    "Adam": lambda p: fm.Adam(p, lr=0.01),
    "amsgrad": lambda p: fm.Adam(p, lr=0.01, amsgrad=True, maximize=True),
    "AdamW": lambda p: fm.AdamW(p, lr=0.01, betas=(0.8, 0.9)),
    "RMSprop": lambda p: fm.RMSprop(p, lr=0.01),
    "centered": lambda p: fm.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "NAdam": lambda p: fm.NAdam(p, lr=0.01, momentum_decay=0.3, decoupled_weight_decay=True),
    "Adagrad": lambda p: fm.Adagrad(p, lr=0.05, lr_decay=0.1, initial_accumulator_value=0.2),
    "Lion": lambda p: fm.Lion(p, lr=1e-3, weight_decay=0.1),
}
COPIERS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda o: pickle.loads(pickle.dumps(o)),
    "old pickle": lambda o: pickle.loads(pickle.dumps(o, protocol=0)),
}
ALL = pytest.mark.parametrize("name", OPTIMIZERS)
COPIED = pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)


class Net(fm.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = fm.Linear(3, 5)
        self.drop = fm.Dropout(0.2)
        self.b = fm.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        return self.b(self.drop(self.a(x)))


class OwnLoss(fm.HuberLoss):
    def __init__(self) -> None:
        super().__init__("sum", 0.3)
        self.about = "of my own"


class OwnTrainer(fm.Trainer):
    about = "of my own"


class OwnSGD(fm.SGD):
    def __init__(self, model: fm.Module) -> None:
        super().__init__(model.parameters(), lr=0.02, momentum=0.5)
        self.about = "of my own"


def new_trainer(name: str = "Adam", device: str = "cpu") -> fm.Trainer:
    fm.manual_seed(2)
    model = Net().to(device)
    return fm.Trainer(model, OPTIMIZERS[name](model.parameters()), fm.MSELoss())


def fit(trainer: fm.Trainer, **options: Any) -> fm.History:
    return trainer.fit(X, T, max_epoch=3, batch_size=10, progress=False, **options)


def assert_alike(a: fm.Trainer, b: fm.Trainer) -> None:
    for one, other in zip(weights_of(a.model), weights_of(b.model), strict=True):
        np.testing.assert_array_equal(one, other)
    for curve in ("loss", "report_step", "report_loss", "validation_loss"):
        np.testing.assert_array_equal(getattr(a.history, curve), getattr(b.history, curve))
    assert repr(a.optimizer) == repr(b.optimizer)


@COPIED
@ALL
def test_a_trainer_goes_on(name: str, copier: Callable[[Any], Any]) -> None:
    """Without a seed of fit's own, too: the trainer's is copied with it, and so is dropout's."""
    trainer = new_trainer(name)
    fit(trainer, eval_interval=4)
    twin = copier(trainer)
    assert_alike(trainer, twin)
    before = weights_of(twin.model)
    fit(trainer, eval_interval=4)
    for kept, now in zip(before, weights_of(twin.model), strict=True):
        np.testing.assert_array_equal(kept, now)
    fit(twin, eval_interval=4)
    assert_alike(trainer, twin)
    assert len(twin.history.loss) == 6


@pytest.mark.cuda
@ALL
def test_a_trainer_goes_on_on_a_device(name: str) -> None:
    trainer = new_trainer(name, "cuda")
    fit(trainer)
    twin, moved = copy.deepcopy(trainer), pickle.loads(pickle.dumps(trainer))
    assert (twin.model.device, moved.model.device) == ("cuda", "cpu")
    other = new_trainer(name, "cuda")
    other.load_state_dict(trainer.state_dict())
    fit(trainer)
    fit(moved.model.to("cuda") and moved)
    fit(twin)
    fit(other)
    for copied in (twin, moved, other):
        assert_alike(trainer, copied)


@COPIED
@ALL
def test_model_and_optimizer_together(name: str, copier: Callable[[Any], Any]) -> None:
    model = Net().eval()
    optimizer = OPTIMIZERS[name](model.parameters())
    pairs = [(model, optimizer)]

    def step(model: fm.Module, optimizer: Any) -> None:
        loss = fm.MSELoss()(model(X), T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step(model, optimizer)
    pairs.append(copier((model, optimizer)))
    for own, other in zip(pairs[1][0].parameters(), pairs[1][1].parameters, strict=True):
        assert own is other
    for _ in range(3):
        for pair in pairs:
            step(*pair)
    for a, b in zip(weights_of(pairs[0][0]), weights_of(pairs[1][0]), strict=True):
        np.testing.assert_array_equal(a, b)
    alone = copy.deepcopy(optimizer)
    assert alone.parameters[0] is not optimizer.parameters[0], "as torch's"
    assert copy.copy(optimizer).parameters[0] is optimizer.parameters[0]


@COPIED
def test_classes_of_ones_own(copier: Callable[[Any], Any]) -> None:
    model = Net()
    trainer = OwnTrainer(model, OwnSGD(model), OwnLoss())
    fit(trainer)
    twin = copier(trainer)
    assert [type(part) for part in (twin, twin.optimizer, twin.loss_fn)] == [
        OwnTrainer,
        OwnSGD,
        OwnLoss,
    ]
    assert twin.optimizer.about == twin.loss_fn.about == twin.about
    assert (twin.loss_fn.reduction, twin.loss_fn.delta) == ("sum", 0.3)
    fit(trainer)
    fit(twin)
    assert_alike(trainer, twin)
    history = copier(trainer.history)
    np.testing.assert_array_equal(history.loss, trainer.history.loss)


def test_a_copy_of_a_trainer_shares_its_model_as_copies_do() -> None:
    trainer = new_trainer()
    assert copy.copy(trainer).model is trainer.model


@ALL
def test_a_state_dict_of_a_trainer(name: str) -> None:
    trainer, other = new_trainer(name), new_trainer(name)
    fit(trainer)
    other.optimizer.lr = 0.7
    other.load_state_dict(pickle.loads(pickle.dumps(trainer.state_dict())))
    assert_alike(trainer, other)
    fit(trainer)
    fit(other)
    assert_alike(trainer, other)


def test_a_state_dict_that_does_not_fit_changes_nothing() -> None:
    trainer, other = new_trainer("Adam"), new_trainer("momentum")
    fit(trainer)
    fit(other)
    before = other.state_dict()
    good = trainer.state_dict()
    for bad in (good, {**good, "seed": -1}, {**good, "history": {}}, {"model": good["model"]}, 3):
        with pytest.raises((TypeError, ValueError), match=r"state_dict|seed|history"):
            other.load_state_dict(bad)
    after = other.state_dict()
    assert pickle.dumps(before["optimizer"]) == pickle.dumps(after["optimizer"])
    for key, value in before["model"].items():
        np.testing.assert_array_equal(value, after["model"][key])


def test_fit_takes_the_seed_of_the_network() -> None:
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("f4")

    def losses() -> Any:
        model = fm.MLP([3, 4, 1], seed=3)
        trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
        return trainer.fit(x, x[:, :1], max_epoch=3, batch_size=5).loss

    np.testing.assert_array_equal(losses(), losses())
