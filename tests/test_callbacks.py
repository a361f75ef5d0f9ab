"""What a callback changes holds from the next epoch on, and costs no epoch."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from training import weights_of

X = np.random.default_rng(0).normal(size=(24, 3))
T = X[:, :1] ** 2


def new_trainer(
    device: str = "cpu", p: float = 0.0, optimizer: type[fm.optim.Optimizer] = fm.Adam
) -> fm.Trainer:
    fm.manual_seed(1)
    layers = (fm.Linear(3, 6, dtype="float64"), fm.LeakyReLU(0.1), fm.Dropout(p))
    model = fm.Sequential(*layers, fm.Linear(6, 1, dtype="float64"), device=device)
    return fm.Trainer(model, optimizer(model.parameters(), lr=0.01), fm.MSELoss())


def fit(trainer: fm.Trainer, epochs: int, **options: Any) -> fm.History:
    plan = {"batch_size": 8, "seed": 3, "progress": False, "eval_interval": 4}
    return trainer.fit(X, T, max_epoch=epochs, **{**plan, **options})


def lengthen(trainer: fm.Trainer) -> None:
    fm.manual_seed(5)
    trainer.model.insert(0, fm.Linear(3, 3, dtype="float64", device=trainer.model.device))


def shift(trainer: fm.Trainer) -> None:
    trainer.optimizer.param_groups[0]["lr"] = 0.5


def freeze(trainer: fm.Trainer) -> None:
    trainer.model[0].weight.requires_grad = False


def new_optimizer(trainer: fm.Trainer) -> None:
    trainer.optimizer = fm.SGD(trainer.model.parameters(), lr=0.1, momentum=0.9)


def change(path: str, value: Any) -> Callable[[fm.Trainer], None]:
    *places, name = path.split(".")

    def apply(trainer: fm.Trainer) -> None:
        owner: Any = trainer
        for place in places:
            owner = owner[int(place)] if place.isdigit() else getattr(owner, place)
        setattr(owner, name, value() if isinstance(value, type) else value)

    return apply


CHANGES = {
    "lr": change("optimizer.lr", 0.5),
    "betas": change("optimizer.betas", (0.5, 0.5)),
    "amsgrad": change("optimizer.amsgrad", True),
    "weight decay": change("optimizer.weight_decay", 0.3),
    "param_groups": shift,
    "reduction": change("loss_fn.reduction", "sum"),
    "loss": change("loss_fn", fm.L1Loss),
    "optimizer": new_optimizer,
    "slope": change("model.1.negative_slope", 0.9),
    "p": change("model.2.p", 0.5),
    "layer": lambda trainer: trainer.model.__setitem__(1, fm.Tanh()),
    "longer": lengthen,
    "freeze": freeze,
}


# Those after which an optimizer needs another state.
STATES = {
    "momentum": (fm.SGD, change("optimizer.momentum", 0.9)),
    "RMSprop's momentum": (fm.RMSprop, change("optimizer.momentum", 0.9)),
    "centered": (fm.RMSprop, change("optimizer.centered", True)),
}


@pytest.mark.parametrize("batch_size", [8, 10, None], ids=["batches", "short last", "all rows"])
@pytest.mark.parametrize("name", [*CHANGES, *STATES])
def test_a_change_in_a_callback_is_one_between_two_fits(
    name: str, batch_size: int | None, device: str
) -> None:
    optimizer, apply = STATES[name] if name in STATES else (fm.Adam, CHANGES[name])
    apart, within, plain = (new_trainer(device, optimizer=optimizer) for _ in range(3))
    fit(apart, 2, batch_size=batch_size)
    apply(apart)
    want = fit(apart, 3, batch_size=batch_size)

    def callback(info: fm.EpochInfo) -> None:
        if info.epoch == 1:
            apply(info.trainer)

    got = fit(within, 5, batch_size=batch_size, callbacks=callback)
    assert_same(got.loss, want.loss, device)
    assert_same(got.report_loss, want.report_loss, device)
    for a, b in zip(weights_of(within.model), weights_of(apart.model), strict=True):
        assert_same(a, b, device)
    if name != "amsgrad":  # the largest may be the last
        assert abs(fit(plain, 5, batch_size=batch_size).loss[-1] / want.loss[-1] - 1) > 1e-6


def assert_same(got: Any, want: Any, device: str) -> None:
    """Bit by bit; on CUDA ways that differ in the order of sums may lead to the same."""
    if device == "cpu":
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 3], ids=["lanes", "dense"])
def test_options_set_by_another_thread_while_fit_runs(layers: int) -> None:
    """States appear when they are needed, between two steps."""
    model = fm.MLP([3, *[100 * (layers > 1) + 8] * layers, 1], seed=0)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-6), fm.MSELoss())
    done = threading.Event()

    def work() -> None:
        try:
            plan = {"batch_size": 8, "progress": False}
            trainer.fit(X, T, max_epoch=300 if layers > 1 else 30_000, **plan)
        finally:
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    momentum = 0.0
    while not done.wait(0.002):
        momentum = 0.9 - momentum
        trainer.optimizer.momentum = momentum
    thread.join()
    assert np.isfinite(trainer.history.loss).all()
    assert trainer.optimizer.momentum == momentum


def test_evaluation_mode_in_a_callback_ends_dropout() -> None:
    trainer = new_trainer(p=0.5)
    trainer.optimizer.lr = 0.0
    history = fit(trainer, 4, batch_size=None, callbacks=lambda info: trainer.model.eval())
    want = trainer.loss_fn(trainer.model.predict(X), T).item()
    np.testing.assert_allclose(history.loss[1:], [want] * 3, rtol=1e-12)
    assert history.loss[0] != pytest.approx(want)
    assert not trainer.model.training, "what a callback has set stays"


def test_looking_in_evaluation_mode_changes_nothing(device: str) -> None:
    """eval(), predict(), train() after each epoch: the bits of a training without them."""
    looked, plain = (new_trainer(device, p=0.5) for _ in range(2))

    def look(info: fm.EpochInfo) -> None:
        looked.model.eval()
        looked.model.predict(X)
        looked.model.train()

    want = fit(plain, 4, callbacks=lambda info: None)
    np.testing.assert_array_equal(fit(looked, 4, callbacks=look).loss, want.loss)
    for a, b in zip(weights_of(looked.model), weights_of(plain.model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_that_the_optimizer_lacks_are_refused() -> None:
    trainer = new_trainer()

    def callback(info: fm.EpochInfo) -> None:
        trainer.model = fm.MLP([3, 1], dtype="float64")

    with pytest.raises(ValueError, match="optimizer: expected parameters of the model"):
        fit(trainer, 3, callbacks=callback)
    assert len(trainer.history.loss) == 1


def test_one_function_will_do_and_a_used_up_iterator_will_not() -> None:
    trainer, seen = new_trainer(), []
    fit(trainer, 2, callbacks=seen.append)
    assert [info.epoch for info in seen] == [0, 1]
    with pytest.raises(ValueError, match=r"callbacks: .* used up"):
        fit(trainer, 2, callbacks=iter([]))
    assert len(trainer.history.loss) == 2
