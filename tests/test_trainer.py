"""Trainer.fit: what it measures, reports and calls; a second fit goes on from the first."""

import threading
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import draw
from specs import BUSY_OPTIMIZERS, Optimizer
from training import MEDIUM, TINY, weights_of

OPTIMIZERS = pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
CASES = pytest.mark.parametrize("case", [TINY, MEDIUM], ids=["tiny", "medium"])


def trainer_of(
    case: Any = TINY, optimizer: Optimizer = BUSY_OPTIMIZERS[0], device: str = "cpu"
) -> fm.Trainer:
    model = draw(case).fastmlp(device)
    loss_fn = fm.CrossEntropyLoss() if case is TINY else fm.MSELoss()
    return fm.Trainer(model, optimizer.fastmlp(model.parameters()), loss_fn)


def fit(trainer: fm.Trainer, case: Any = TINY, **options: Any) -> fm.History:
    plan = {"max_epoch": 4, "batch_size": 8, "seed": 1, "progress": False}
    data = {"x": draw(case).x, "t": draw(case).t}
    return trainer.fit(**{**data, **plan, **options})


def assert_same(got: Any, want: Any, device: str = "cpu") -> None:
    """Bit by bit; on CUDA ways that differ in the order of sums may lead to the same."""
    if device == "cpu":
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)


@CASES
@OPTIMIZERS
def test_a_second_fit_goes_on(optimizer: Optimizer, case: Any, device: str) -> None:
    whole, parts = (trainer_of(case, optimizer, device) for _ in range(2))
    want = fit(whole, case, max_epoch=10)
    first = fit(parts, case, max_epoch=3)
    got = fit(parts, case, max_epoch=7)
    assert len(first.loss) == 3, "a history is a snapshot"
    assert_same(got.loss, want.loss, device)
    np.testing.assert_array_equal(got.report_step, want.report_step)
    assert_same(got.report_loss, want.report_loss, device)
    for a, b in zip(weights_of(parts.model), weights_of(whole.model), strict=True):
        assert_same(a, b, device)
    assert len(set(want.loss)) == 10


@OPTIMIZERS
def test_fit_and_loop_share_the_state_of_the_optimizer(optimizer: Optimizer, device: str) -> None:
    """A step by hand between two fits is the same as within them."""
    x, t = draw(TINY).x, draw(TINY).t
    mixed, plain = (trainer_of(TINY, optimizer, device) for _ in range(2))
    plan = {"batch_size": None, "shuffle": False}
    fit(mixed, max_epoch=2, **plan)
    loss = mixed.loss_fn(mixed.model(x), t)
    mixed.optimizer.zero_grad()
    loss.backward()
    mixed.optimizer.step()
    fit(mixed, max_epoch=2, **plan)
    fit(plain, max_epoch=5, **plan)
    for a, b in zip(weights_of(mixed.model), weights_of(plain.model), strict=True):
        assert_same(a, b, device)


@OPTIMIZERS
@pytest.mark.parametrize("batch_size", [None, 8], ids=["full batch", "small batches"])
@pytest.mark.parametrize("variant", ["no bias", "frozen", "left out"])
def test_steps_in_one_call_are_those_one_by_one(
    variant: str, batch_size: int | None, optimizer: Optimizer, device: str
) -> None:
    """Whatever parameters there are to train. A callback makes each epoch a call of its own."""

    def trained(**options: Any) -> tuple[fm.History, list[np.ndarray]]:
        bias = variant != "no bias"
        model = fm.MLP([2, 5, 3], "tanh", bias=bias, dtype="float64", device=device, seed=3)
        parameters = list(model.parameters())
        if variant == "frozen":
            parameters[0].requires_grad = False
        trainer = fm.Trainer(model, optimizer.fastmlp(parameters[variant == "left out" :]))
        return fit(trainer, max_epoch=30, batch_size=batch_size, **options), weights_of(model)

    together, apart = trained(), trained(callbacks=[lambda info: None])
    assert_same(together[0].loss, apart[0].loss, device)
    assert_same(together[0].report_loss, apart[0].report_loss, device)
    for a, b in zip(together[1], apart[1], strict=True):
        assert_same(a, b, device)


@CASES
def test_validation_loss_is_that_after_each_epoch_and_changes_nothing(
    case: Any, device: str
) -> None:
    problem = draw(case)
    trainer, plain = (trainer_of(case, device=device) for _ in range(2))
    x, t = problem.x[:13], problem.t[:13]
    measured = []

    def measure(info: fm.EpochInfo) -> None:
        measured.append(trainer.loss_fn(trainer.model.predict(x), t).item())
        assert info.validation_loss == pytest.approx(measured[-1], rel=1e-12)

    history = fit(trainer, case, validation_data=(x, t), callbacks=[measure])
    np.testing.assert_allclose(history.validation_loss, measured, rtol=1e-12)
    assert len(measured) == 4
    assert len(fit(plain, case).validation_loss) == 0
    for a, b in zip(weights_of(trainer.model), weights_of(plain.model), strict=True):
        assert_same(a, b, device)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@CASES
def test_validation_data_of_many_rows(case: Any, reduction: str, device: str) -> None:
    """They are measured in pieces, and so is a prediction; no row is lost or counted twice."""
    trainer, problem = trainer_of(case, device=device), draw(case)
    trainer.loss_fn = type(trainer.loss_fn)(reduction=reduction)
    rng = np.random.default_rng(0)
    count = 150_001 if device == "cpu" or case is TINY else 20_001  # rows of a piece: 14 848
    rows = rng.integers(0, case.batch, count)
    x, t = problem.x[rows], problem.t[rows]
    history = fit(trainer, case, max_epoch=1, validation_data=(x, t))
    y = trainer.model.predict(x)
    np.testing.assert_allclose(y, trainer.model.predict(problem.x)[rows], rtol=1e-12, atol=1e-13)
    assert history.validation_loss[0] == pytest.approx(trainer.loss_fn(y, t).item(), rel=1e-10)


@pytest.mark.parametrize("eval_interval", [1, 3, 4, 1000])
def test_reports(eval_interval: int, device: str) -> None:
    """Every `eval_interval` steps, the mean since the last; 30 rows are 4 steps of 8."""
    steps = fit(trainer_of(device=device), eval_interval=1, shuffle=False).report_loss
    assert len(steps) == 16
    history = fit(trainer_of(device=device), eval_interval=eval_interval, shuffle=False)
    count = 16 // eval_interval
    np.testing.assert_array_equal(history.report_step, eval_interval * np.arange(1, count + 1))
    means = steps[: count * eval_interval].reshape(count, -1).mean(axis=1) if count else []
    np.testing.assert_allclose(history.report_loss, means, rtol=1e-12 if device == "cpu" else 1e-8)


def test_histories_that_are_taken_during_a_fit() -> None:
    x, t = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
    model = fm.MLP([2, 2, 1], seed=0)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-4), fm.MSELoss())
    fit = threading.Thread(
        target=lambda: trainer.fit(x, t, 20_000, 4, validation_data=(x, t), progress=False)
    )
    fit.start()
    taken = []
    while fit.is_alive():
        taken.append(trainer.history)
    fit.join()
    for history in [*taken, trainer.history]:
        epochs = len(history.loss)
        curves = history.learning_rate, history.epoch_time
        assert [len(curve) for curve in curves] == [epochs, epochs]
        assert len(history.validation_loss) in (0, epochs)
    assert epochs == 20_000


def test_history_has_plain_float64_arrays() -> None:
    trainer = trainer_of()
    history = fit(trainer, validation_data=(draw(TINY).x, draw(TINY).t))
    for name in ("loss", "validation_loss", "report_loss"):
        assert type(getattr(history, name)) is np.ndarray
        assert getattr(history, name).dtype == np.float64
    assert "4 epochs" in repr(history)
    history.loss[0] = 7  # it is the caller's own
    assert trainer.history.loss[0] != 7


def test_callbacks_see_each_epoch_and_can_stop() -> None:
    trainer, seen = trainer_of(), []

    def callback(info: fm.EpochInfo) -> bool:
        seen.append((info.epoch, info.loss, info.validation_loss, info.trainer))
        return info.epoch == 5

    first = fit(trainer, callbacks=[callback])
    second = fit(trainer, max_epoch=50, callbacks=[callback, lambda info: None])
    assert [epoch for epoch, *_ in seen] == [0, 1, 2, 3, 4, 5]
    assert len(first.loss) == 4
    np.testing.assert_array_equal(second.loss, [loss for _, loss, _, _ in seen])
    assert {(validation, t) for _, _, validation, t in seen} == {(None, trainer)}


def test_callbacks_may_use_the_model_and_change_the_learning_rate(device: str) -> None:
    trainer = trainer_of(device=device)
    x = draw(TINY).x
    seen = []

    def callback(info: fm.EpochInfo) -> None:
        seen.append(trainer.model.predict(x))
        trainer.optimizer.lr = 0.0

    fit(trainer, callbacks=[callback])
    assert trainer.optimizer.lr == 0.0
    for y in seen[1:]:
        np.testing.assert_array_equal(y, seen[0])
    assert not np.array_equal(seen[0], draw(TINY).fastmlp(device).predict(x))


def test_the_last_step_leaves_its_gradient(device: str) -> None:
    problem = draw(TINY)
    trainer, before = (trainer_of(device=device) for _ in range(2))
    fit(before, max_epoch=3, batch_size=None)
    fit(trainer, max_epoch=4, batch_size=None)
    before.model.zero_grad()
    before.loss_fn(before.model(problem.x), problem.t).backward()
    for a, b in zip(trainer.model.parameters(), before.model.parameters(), strict=True):
        assert np.abs(b.grad).max() > 0
        assert_same(a.grad, b.grad, device)


def test_gradients_from_before_do_not_count(device: str) -> None:
    trainer, plain = (trainer_of(device=device) for _ in range(2))
    trainer.loss_fn(trainer.model(draw(TINY).x), draw(TINY).t).backward()
    fit(trainer)
    fit(plain)
    for a, b in zip(weights_of(trainer.model), weights_of(plain.model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_batch_keeps_the_order_of_rows() -> None:
    """With a single batch, shuffling would only change the rounding."""
    ends = []
    for plan in ({"shuffle": False}, {"shuffle": True, "seed": 3}, {"batch_size": 10**6}):
        trainer = trainer_of()
        fit(trainer, **{"batch_size": None, **plan})
        ends.append(weights_of(trainer.model))
    for other in ends[1:]:
        for a, b in zip(ends[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_data_are_not_changed() -> None:
    problem, trainer = draw(TINY), trainer_of()
    x, t = problem.x.copy(), problem.t.copy()
    x.flags.writeable = t.flags.writeable = False
    trainer.fit(x, t, max_epoch=2, batch_size=4)
    np.testing.assert_array_equal(x, problem.x)
    np.testing.assert_array_equal(t, problem.t)


@CASES
def test_rows_may_be_their_own_targets(case: Any) -> None:
    """As an autoencoder's are: x and t are one array."""
    x = draw(case).x
    ends = []
    for t in (x, x.copy()):
        model = fm.MLP([x.shape[1], 7, x.shape[1]], "tanh", dtype="float64", seed=0)
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.MSELoss())
        history = fit(trainer, case, x=x, t=t)
        ends.append([history.loss, *weights_of(model)])
    assert ends[0][0][-1] < ends[0][0][0]
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    fit(trainer_of(), progress=False)
    fit(trainer_of(), progress="auto")  # stderr is no terminal here
    assert capsys.readouterr() == ("", "")
    history = fit(trainer_of(), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "4/4" in err
    assert f"{history.loss[-1]:.6g}" in err


def test_the_default_loss_is_cross_entropy() -> None:
    model = draw(TINY).fastmlp()
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))
    assert isinstance(trainer.loss_fn, fm.CrossEntropyLoss)
    assert fit(trainer).loss[-1] < np.log(3) * 1.2


@pytest.mark.parametrize("max_norm", [0.01, 100.0])
def test_clip_grad_norm(max_norm: float, device: str) -> None:
    problem = draw(MEDIUM)
    model = problem.fastmlp(device)
    assert fm.clip_grad_norm_(model.parameters(), 1.0) == 0.0
    fm.MSELoss()(model(problem.x), problem.t).backward()
    before = [p.grad.copy() for p in model.parameters()]
    norm = np.sqrt(sum((g**2).sum() for g in before))
    assert 0.01 < norm < 100
    assert fm.clip_grad_norm_(model.parameters(), max_norm) == pytest.approx(norm, rel=1e-12)
    factor = min(1.0, max_norm / (norm + 1e-6))
    for parameter, grad in zip(model.parameters(), before, strict=True):
        np.testing.assert_allclose(parameter.grad, factor * grad, rtol=1e-12)


def test_optimizer_options_can_be_read_and_set(torch: Any) -> None:
    model = fm.MLP([2, 3])
    for name in ("NAdam", "Adagrad", "Adam", "AdamW", "SGD", "RMSprop"):
        ours = getattr(fm, name)(model.parameters())
        theirs = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)])
        for option, value in ours.options.items():
            assert theirs.defaults[option] == value, f"{name}'s default of {option}"
            assert getattr(ours, option) == value
    ours.lr, ours.momentum = 0.5, 0.25
    assert (ours.lr, ours.momentum, ours.options["lr"]) == (0.5, 0.25, 0.5)
    before = np.array(model[0].weight)
    model(np.ones((1, 2))).backward(np.ones((1, 3)))
    sgd = fm.SGD(model.parameters(), lr=1.0)
    sgd.lr = 0.25
    sgd.step()
    np.testing.assert_allclose(before - np.asarray(model[0].weight), 0.25, rtol=1e-6)
