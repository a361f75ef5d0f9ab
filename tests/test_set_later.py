"""What repr shows takes effect when it is set, also from a callback, or is refused."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm

X = np.array([[-2.0, -0.3, 0.4, 3.0]], "f4")


@pytest.mark.parametrize(
    ("activation", "name", "value", "same"),
    [
        (fm.LeakyReLU(), "negative_slope", 0.5, fm.LeakyReLU(0.5)),
        (fm.ELU(), "alpha", 2.0, fm.ELU(2.0)),
        (fm.CELU(), "alpha", 2.0, fm.CELU(2.0)),
        (fm.Softplus(), "beta", 3.0, fm.Softplus(3.0)),
        (fm.Softplus(), "threshold", 1.0, fm.Softplus(threshold=1.0)),
        (fm.Hardtanh(), "max_val", 0.5, fm.Hardtanh(-1, 0.5)),
        (fm.Hardtanh(), "min_val", -3, fm.Hardtanh(-3, 1)),
        (fm.GELU(), "approximate", "tanh", fm.GELU("tanh")),
        (fm.Softmax(), "dim", -1, fm.Softmax(-1)),
        (fm.Dropout(), "p", 0.0, fm.Dropout(0.0)),
    ],
    ids=lambda value: repr(value),
)
def test_options_of_layers(activation: Any, name: str, value: Any, same: fm.Module) -> None:
    model = fm.Sequential(activation)
    model.predict(X)
    setattr(activation, name, value)
    assert repr(activation) == repr(same)
    np.testing.assert_array_equal(model.predict(X), fm.Sequential(same).predict(X))
    np.testing.assert_array_equal(model(X), fm.Sequential(same)(X))


@pytest.mark.parametrize(
    ("owner", "name", "value", "error"),
    [
        (fm.LeakyReLU(), "negative_slope", -1, ValueError),
        (fm.ELU(), "alpha", "big", TypeError),
        (fm.CELU(), "alpha", 0, ValueError),
        (fm.Softplus(), "beta", 0, ValueError),
        (fm.Hardtanh(), "max_val", -2, ValueError),
        (fm.GELU(), "approximate", "erf", ValueError),
        (fm.Softmax(), "dim", 0, ValueError),
        (fm.Dropout(), "p", 1.5, ValueError),
        (fm.Linear(2, 3), "in_features", 5, AttributeError),
        (fm.Linear(2, 3), "out_features", 5, AttributeError),
        (fm.Linear(2, 3), "weight", None, TypeError),
        (fm.Linear(2, 3), "bias", np.zeros(2), ValueError),
        (fm.MSELoss(), "reduction", "all", ValueError),
        (fm.HuberLoss(), "delta", 0, ValueError),
        (fm.Linear(2, 3), "training", "yes", TypeError),
        (fm.MLP([1, 1]), "traning", False, AttributeError),
        (fm.LeakyReLU(), "negative_slop", 1, AttributeError),
        (fm.HuberLoss(), "detla", 1, AttributeError),
        (fm.SGD(fm.MLP([1, 1]).parameters()), "learning_rate", 1, AttributeError),
        (fm.SGD(fm.MLP([1, 1]).parameters()), "lr", -1, ValueError),
    ],
    ids=lambda value: getattr(value, "__name__", None) or repr(value)[:20],
)
def test_what_is_refused(owner: Any, name: str, value: Any, error: type[Exception]) -> None:
    before = repr(owner)
    with pytest.raises(error, match=name):
        setattr(owner, name, value)
    assert repr(owner) == before


def test_what_was_meant() -> None:
    model = fm.MLP([1, 1])
    optimizer = fm.SGD(model.parameters())
    trainer = fm.Trainer(model, optimizer, fm.MSELoss())
    for owner, name, meant in (
        (optimizer, "learning_rate", "lr"),
        (optimizer, "momentun", "momentum"),
        (model, "trainig", "training"),
        (trainer, "loss_function", "loss_fn"),
        (trainer, "optimiser", "optimizer"),
    ):
        with pytest.raises(AttributeError, match=f"did you mean {meant}"):
            setattr(owner, name, 1)


def test_attributes_of_models_of_ones_own() -> None:
    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = 3
            self.name = "net"
            self.trained = False

    class MyAdam(fm.Adam):
        def __init__(self, params: Any) -> None:
            super().__init__(params)
            self.count = 0

    net = Net()
    net.title = "a title"
    MyAdam(fm.MLP([1, 1]).parameters()).count = 1


def test_options_of_losses() -> None:
    loss = fm.HuberLoss()
    y, t = np.array([[5.0], [0.5]]), np.zeros((2, 1))
    for name, value, same in (
        ("delta", 3.0, fm.HuberLoss(delta=3.0)),
        ("reduction", "sum", fm.HuberLoss("sum", 3.0)),
    ):
        setattr(loss, name, value)
        assert repr(loss) == repr(same)
        assert loss(y, t).item() == same(y, t).item()


def test_options_of_optimizers() -> None:
    p = fm.Parameter(np.zeros(1))
    optimizer = fm.SGD([p], lr=1.0)
    for change in (
        lambda: setattr(optimizer, "lr", 0.5),
        lambda: optimizer.param_groups[0].__setitem__("lr", 0.25),
        lambda: optimizer.param_groups[0].update(lr=0.125),
    ):
        change()
        before = p.item()
        p.grad = np.ones(1)
        optimizer.step()
        assert before - p.item() == optimizer.lr == optimizer.param_groups[0]["lr"]
    assert optimizer.lr == 0.125
    with pytest.raises(KeyError, match="did you mean lr"):
        optimizer.param_groups[0]["learning_rate"] = 1


# --- from a callback


def _losses(
    model: fm.Module, change: Any, batch_size: int | None, lr: float = 0.0, **options: Any
) -> list[float]:
    """The losses of four epochs, between which `change(trainer)` runs once, after the first."""
    x, t = np.ones((8, 4), "f4"), np.full((8, 1), 2, "f4")
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=lr), fm.MSELoss())

    def callback(info: fm.EpochInfo) -> None:
        if info.epoch == 0:
            change(info.trainer)

    return list(
        trainer.fit(x, t, max_epoch=4, batch_size=batch_size, callbacks=callback, seed=0).loss
    )


BATCHES = pytest.mark.parametrize("batch_size", [None, 8, 4])


@BATCHES
def test_dropout_in_a_callback(batch_size: int | None) -> None:
    for change in (
        lambda trainer: setattr(trainer.model[0], "p", 0.0),
        lambda trainer: trainer.model.eval(),
        lambda trainer: trainer.model[0].eval(),
    ):
        model = fm.Sequential(fm.Dropout(0.5), fm.Linear(4, 1))
        losses = _losses(model, change, batch_size)
        want = float(np.mean((model.predict(np.ones((8, 4))) - 2) ** 2))
        assert losses[1:] == pytest.approx([want] * 3, rel=1e-5)
        assert losses[0] != pytest.approx(want, rel=1e-3)


@BATCHES
def test_other_parts_in_a_callback(batch_size: int | None) -> None:
    model = fm.Sequential(fm.Linear(4, 1), fm.LeakyReLU(0.1))
    model[0].weight = np.full((1, 4), -1.0)
    model[0].bias = np.zeros(1)
    assert _losses(
        model, lambda trainer: setattr(trainer.model[1], "negative_slope", 0.5), batch_size
    ) == pytest.approx([2.4**2, *[4.0**2] * 3])
    model[1].negative_slope = 0.1
    losses = _losses(model, lambda trainer: trainer.model.append(fm.Linear(1, 1)), batch_size)
    want = float(np.mean((model.predict(np.ones((8, 4))) - 2) ** 2))
    assert losses == pytest.approx([2.4**2, *[want] * 3], rel=1e-5)


@BATCHES
def test_losses_and_rates_in_a_callback(batch_size: int | None) -> None:
    model = fm.MLP([4, 1], seed=0)
    losses = _losses(
        model, lambda trainer: setattr(trainer.loss_fn, "reduction", "sum"), batch_size
    )
    assert losses[1:] == pytest.approx([losses[0] * 8] * 3)
    losses = _losses(model, lambda trainer: setattr(trainer, "loss_fn", fm.L1Loss()), batch_size)
    assert losses[1:] == pytest.approx([losses[0] ** 0.5] * 3)
    for change in (
        lambda trainer: setattr(trainer.optimizer, "lr", 0.0),
        lambda trainer: trainer.optimizer.param_groups[0].update(lr=0.0),
        lambda trainer: trainer.model.requires_grad_(False),
        lambda trainer: setattr(trainer, "optimizer", fm.SGD(trainer.model.parameters(), lr=0.0)),
    ):
        model = fm.MLP([4, 1], seed=0)
        losses = _losses(model, change, batch_size, lr=0.01)
        assert losses[0] != losses[1] == losses[2] == losses[3]


@BATCHES
def test_a_change_without_effect_leaves_the_bits(batch_size: int | None) -> None:
    results = []
    for change in (lambda trainer: None, lambda trainer: setattr(trainer.model, "note", "x")):
        model = fm.Sequential(fm.Linear(4, 3), fm.Dropout(0.3), fm.Linear(3, 1))
        for parameter in model.parameters():
            parameter.data = np.linspace(-1, 1, parameter.size).reshape(parameter.shape)
        results.append(_losses(model, change, batch_size, lr=0.01))
    assert np.isfinite(results[0]).all()
    assert results[0] == results[1]


def test_modes_are_restored_one_by_one() -> None:
    model = fm.Sequential(fm.Linear(1, 1), fm.Dropout(0.5), fm.Linear(1, 1))
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    for modes in ((True, False, True), (False, True, False)):
        model.train(modes[0])
        model[1].train(modes[1])
        trainer.fit(np.ones((2, 1)), np.ones((2, 1)), max_epoch=1)
        assert (model.training, model[1].training, model[2].training) == modes


def test_ctrl_c_at_any_call_leaves_the_modes() -> None:
    """KeyboardInterrupt at each call of the Python layer, where CPython looks for signals.

    Options of early stopping, which are fixed during a fit, are free again, too.
    """
    import sys

    model = fm.Sequential(fm.Linear(1, 1), fm.Dropout(0.5))
    model.eval()
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    x = np.ones((2, 1), "f4")
    early = fm.EarlyStopping(monitor="loss")
    count = 0
    place: list[Any] = []

    def run(stop: int) -> bool:
        nonlocal count
        count = 0

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal count
            inside = frame.f_code.co_name != "_rest"
            if "fastmlp" in frame.f_code.co_filename and event == "call" and inside:
                count += 1
                if count == stop:
                    place[:] = [frame.f_code.co_qualname, frame.f_lineno]
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            trainer.fit(x, x, max_epoch=1, early_stopping=early)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    stop = 1
    while run(stop):
        assert not any(module.training for module in model.modules()), place
        early.patience = stop
        stop += 1
    assert stop > 30
