"""What `fit` takes besides data: accumulated steps, splits, metrics, batches; and `evaluate`."""

import copy
import itertools
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from training import weights_of

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 3))
CLASSES = rng.integers(0, 4, 30)
VALUES = rng.normal(size=(30, 2))


@pytest.fixture(params=["lanes", "dense"])
def hidden(request: pytest.FixtureRequest) -> list[int]:
    """Of a network for each strategy."""
    return [8] if request.param == "lanes" else [160, 160]


def new_trainer(
    hidden: list[int], loss_fn: Any = None, device: str = "cpu", out: int = 4, **options: Any
) -> fm.Trainer:
    model = fm.MLP([3, *hidden, out], "tanh", dtype="float64", device=device, seed=1)
    return fm.Trainer(model, fm.Adam(model.parameters(), lr=0.02), loss_fn, **options)


def fit(trainer: fm.Trainer, x: Any = X, t: Any = CLASSES, **options: Any) -> fm.History:
    return trainer.fit(x, t, **{"max_epoch": 4, "batch_size": 6, "seed": 3, **options})


def assert_close(trainer: fm.Trainer, other: Any, rtol: float = 1e-10) -> None:
    theirs = weights_of(other.model) if isinstance(other, fm.Trainer) else other
    for a, b in zip(weights_of(trainer.model), theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


# Accumulated steps


@pytest.mark.parametrize("max_grad", [None, 0.05])
@pytest.mark.parametrize("k", [2, 3, 7])
def test_accumulated_steps_are_those_of_the_five_lines(
    torch: Any, k: int, max_grad: float | None, hidden: list[int], device: str
) -> None:
    """30 rows are 5 batches of 6; the last group of an epoch has fewer than k batches."""
    trainer = new_trainer(hidden, device=device)
    layers = []
    sizes = [3, *hidden, 4]
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += [torch.nn.Linear(a, b, dtype=torch.float64), torch.nn.Tanh()]
        layers[-2].weight.data = torch.tensor(np.array(trainer.model[2 * i].weight))
        layers[-2].bias.data = torch.tensor(np.array(trainer.model[2 * i].bias))
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x, t = torch.tensor(X), torch.tensor(CLASSES)
    for _ in range(4):
        for first in range(0, 5, k):
            count = min(k, 5 - first)
            for batch in range(first, first + count):
                rows = slice(6 * batch, 6 * batch + 6)
                loss = torch.nn.functional.cross_entropy(model(x[rows]), t[rows])
                (loss / count).backward()
            if max_grad is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad)
            optimizer.step()
            optimizer.zero_grad()
    fit(trainer, accumulate=k, shuffle=False, max_grad=max_grad)
    assert_close(trainer, [p.detach().numpy() for p in model.parameters()])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("batch_size", "k"), [(6, 2), (4, 3), (7, 2), (8, 3), (1, 30), (30, 2)])
def test_accumulated_batches_count_as_one(
    batch_size: int, k: int, reduction: str, hidden: list[int], device: str
) -> None:
    """Whatever their sizes: 30 rows end with a short batch, and a short group."""
    loss_fn = fm.MSELoss(reduction=reduction)
    parts, whole = (new_trainer(hidden, loss_fn, device, 2) for _ in range(2))
    got = fit(parts, t=VALUES, batch_size=batch_size, accumulate=k, shuffle=False)
    want = fit(whole, t=VALUES, batch_size=batch_size * k, shuffle=False)
    assert_close(parts, whole, 1e-8)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-8)
    for a, b in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-7, atol=1e-10)


def test_accumulated_steps_with_callbacks_and_dropout() -> None:
    ends = []
    for options in ({}, {"callbacks": lambda info: None}):
        model = fm.Sequential(
            fm.MLP([3, 8, 8], "tanh", seed=1), fm.Dropout(0.5), fm.MLP([8, 4], seed=2)
        )
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))
        fit(trainer, accumulate=2, **options)
        ends.append(weights_of(model))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)


# Splits


@pytest.mark.parametrize("fraction", [0.2, 0.01, 0.99, 1 / 3])
def test_a_split_keeps_the_last_rows(fraction: float, device: str) -> None:
    count = 300
    x, t = rng.normal(size=(count, 3)), rng.integers(0, 4, count)
    first = int(count * (1 - fraction))
    split, pair = (new_trainer([8], device=device) for _ in range(2))
    got = fit(split, x, t, validation_split=fraction)
    want = fit(pair, x[:first], t[:first], validation_data=(x[first:], t[first:]))
    np.testing.assert_array_equal(got.loss, want.loss)
    np.testing.assert_array_equal(got.validation_loss, want.validation_loss)
    assert len(got.validation_loss) == 4


def test_a_split_of_other_containers(torch: Any) -> None:
    pd = pytest.importorskip("pandas")
    trainers = [new_trainer([8]) for _ in range(3)]
    kinds = (X, CLASSES), (torch.tensor(X), torch.tensor(CLASSES)), (pd.DataFrame(X), list(CLASSES))
    losses = [
        fit(trainer, *data, validation_split=0.3).validation_loss
        for trainer, data in zip(trainers, kinds, strict=True)
    ]
    for other in losses[1:]:
        np.testing.assert_array_equal(other, losses[0])


# Metrics


def expected_metrics(y: np.ndarray, t: np.ndarray) -> dict[str, float]:
    error = y - t
    centred = t - t.mean(axis=0)
    return {
        "mae": np.abs(error).mean(),
        "mse": (error**2).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "r2": np.mean(1 - (error**2).sum(axis=0) / (centred**2).sum(axis=0)),
        "binary_accuracy": ((y > 0.5) == (t > 0.5)).mean(),
        "accuracy": (y.argmax(axis=1) == t.argmax(axis=1)).mean(),
    }


def test_metrics_of_values(hidden: list[int], device: str) -> None:
    trainer = new_trainer(hidden, fm.MSELoss(), device, 2)
    names = ["mae", "mse", "rmse", "r2", "binary_accuracy", "accuracy"]
    seen: list[dict[str, float]] = []

    def check(info: fm.EpochInfo) -> None:
        want = expected_metrics(trainer.model.predict(X[:11]), VALUES[:11])
        assert info.metrics == pytest.approx(want, rel=1e-10)
        seen.append(info.metrics)

    history = fit(
        trainer,
        t=VALUES,
        validation_data=(X[:11], VALUES[:11]),
        metrics=names,
        callbacks=check,
    )
    assert list(history.metrics) == names
    for name in names:
        np.testing.assert_array_equal(history.metrics[name], [found[name] for found in seen])
    np.testing.assert_allclose(history.metrics["mse"], history.validation_loss, rtol=1e-12)
    result = trainer.evaluate(X, VALUES)
    assert list(result) == ["loss", *names], "the metrics of the last fit"
    want = expected_metrics(trainer.model.predict(X), VALUES)
    assert result == pytest.approx({"loss": want["mse"], **want}, rel=1e-10)


def test_metrics_of_classes(hidden: list[int], device: str) -> None:
    trainer = new_trainer(hidden, device=device)
    history = fit(
        trainer, validation_data=(X, CLASSES), metrics=("accuracy", "top_2_accuracy"), max_epoch=30
    )
    y = trainer.model.predict(X)
    order = np.argsort(-y, axis=1)
    assert history.metrics["accuracy"][-1] == (order[:, 0] == CLASSES).mean()
    top = (order[:, :2] == CLASSES[:, None]).any(axis=1).mean()
    assert history.metrics["top_2_accuracy"][-1] == top
    one_hot = np.eye(4)[CLASSES]
    want = trainer.evaluate(X, CLASSES)
    assert trainer.evaluate(X, one_hot) == pytest.approx(want, rel=1e-12)
    assert want["loss"] == pytest.approx(history.validation_loss[-1], rel=1e-12)
    assert want["accuracy"] > 0.3


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("loss", [fm.BCELoss, fm.BCEWithLogitsLoss])
def test_accuracy_of_yes_and_no(loss: type[Any], columns: int) -> None:
    t = (VALUES[:, :1] + np.arange(columns) > 0) * 1.0
    end = "sigmoid" if loss is fm.BCELoss else None
    model = fm.MLP([3, 8, columns], "tanh", output_activation=end, seed=0, dtype="float64")
    trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.05), loss())
    history = fit(trainer, t=t, validation_data=(X, t), metrics="accuracy", max_epoch=40)
    y = model.predict(X)
    want = ((y > (0.5 if end else 0)) == (t > 0.5)).mean()
    assert history.metrics["accuracy"][-1] == want
    assert trainer.evaluate(X, t)["accuracy"] == want
    assert want > 0.5


def test_metrics_are_zero_where_outputs_are_no_numbers() -> None:
    trainer = new_trainer([8])
    trainer.model[0].weight[...] = np.nan
    found = trainer.evaluate(X, CLASSES, metrics=["accuracy", "top_4_accuracy"])
    assert (found["accuracy"], found["top_4_accuracy"]) == (0, 0)


def test_functions_as_metrics(device: str) -> None:
    """They get outputs and targets of one shape, in the host's memory."""
    trainer = new_trainer([8], fm.MSELoss(), device, out=1)
    shapes = set()

    def worst(y: np.ndarray, t: np.ndarray) -> float:
        assert isinstance(y, np.ndarray)
        shapes.add((y.shape, t.shape))
        return np.abs(y - t).max()

    history = fit(
        trainer,
        t=VALUES[:, 0],
        validation_data=(X[:11], VALUES[:11, 0]),
        metrics=(worst, "mae"),
    )
    assert shapes == {((11, 1), (11, 1))}
    y = trainer.model.predict(X[:11])
    want = np.abs(y - VALUES[:11, :1])
    assert history.metrics["worst"][-1] == pytest.approx(want.max(), rel=1e-12)
    assert history.metrics["mae"][-1] == pytest.approx(want.mean(), rel=1e-12)
    found = trainer.evaluate(X[:11], VALUES[:11, 0])
    assert found["worst"] == pytest.approx(want.max(), rel=1e-12)


def test_a_function_that_fails_ends_the_training() -> None:
    trainer = new_trainer([8])

    def fails(y: Any, t: Any) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(trainer, validation_data=(X, CLASSES), metrics=fails)
    with pytest.raises(TypeError, match="metrics: expected a number from <lambda>, got"):
        fit(trainer, validation_data=(X, CLASSES), metrics=lambda y, t: y)
    assert len(fit(trainer).loss) == 4


@pytest.mark.parametrize("copied", [lambda h: pickle.loads(pickle.dumps(h)), copy.deepcopy])
def test_a_history_stays_as_it_was_taken(copied: Any) -> None:
    trainer = new_trainer([8])
    history, twin = fit(trainer, max_epoch=3), fit(trainer, max_epoch=2)
    untouched = copied(copied(twin))
    trainer.optimizer.lr = 0.125
    fit(trainer, max_epoch=4)
    assert [len(h.loss) for h in (history, twin, untouched)] == [3, 5, 5]
    assert len(history.epoch_time) == 3
    assert 0.125 not in twin.learning_rate
    assert trainer.history.learning_rate.tolist() == [*twin.learning_rate, *[0.125] * 4]
    assert untouched.to_dict() == twin.to_dict()
    assert untouched.best_epoch == twin.best_epoch


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 30, 100, 1500])
def test_validation_with_callbacks_and_without(
    rows: int, classes: bool, weighs: bool, hidden: list[int], device: str
) -> None:
    """Bit for bit, though rows stay where they were loaded only where no Python runs in between.

    On a device a step that keeps its gradient adds in another order.
    """
    own = np.random.default_rng(rows)
    x = own.normal(size=(rows, 3))
    t = own.integers(0, 4, rows) if classes else own.normal(size=(rows, 4))
    weights = own.uniform(0.5, 2, rows) if weighs else None
    held_out = (x, t, weights) if weighs else (x, t)
    targets = CLASSES if classes else own.normal(size=(30, 4))
    curves = []
    for callbacks in ((), [lambda info: None]):
        loss_fn = fm.CrossEntropyLoss() if classes else fm.MSELoss()
        trainer = new_trainer(hidden, loss_fn, device)
        history = fit(trainer, t=targets, validation_data=held_out, callbacks=callbacks)
        curves.append(history.validation_loss.tolist())
        after = trainer.evaluate(x, t, sample_weight=weights)["loss"]
        assert after == pytest.approx(curves[-1][-1], rel=1e-12)
    if device == "cpu":
        assert curves[0] == curves[1]
    np.testing.assert_allclose(*curves, rtol=1e-12)


def test_history_of_fits_with_and_without_validation() -> None:
    trainer = new_trainer([8])
    fit(trainer, max_epoch=2)
    fit(trainer, max_epoch=1, validation_data=(X, CLASSES), metrics="accuracy")
    history = fit(trainer, max_epoch=2, validation_data=(X, CLASSES))
    history = fit(trainer, max_epoch=1)
    for values, measured in (
        (history.validation_loss, [2, 3, 4]),
        (history.metrics["accuracy"], [2]),
        (history.epoch_time, range(6)),
    ):
        assert len(values) == 6
        np.testing.assert_array_equal(np.flatnonzero(~np.isnan(values)), measured)
    assert (history.epoch_time > 0).all()
    assert history.best_epoch == np.nanargmin(history.validation_loss)
    twin = new_trainer([8])
    twin.load_state_dict(trainer.state_dict())
    for name, values in history.to_dict().items():
        np.testing.assert_array_equal(twin.history.to_dict()[name], values)
    pd = pytest.importorskip("pandas")
    frame = history.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    curves = ["loss", "validation_loss", "accuracy", "learning_rate", "epoch_time"]
    assert list(frame.columns) == curves
    assert frame.index.name == "epoch"
    np.testing.assert_array_equal(frame["loss"], history.loss)


# Batches


class Loader:
    """Batches of its own, in another order in each pass."""

    def __init__(self, sizes: list[int], t: np.ndarray) -> None:
        self.sizes, self.t, self.passes = sizes, t, 0

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.random.default_rng(self.passes).permutation(len(X))
        self.passes += 1
        for rows in np.split(order, np.cumsum(self.sizes)[:-1]):
            yield X[rows], self.t[rows]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("sizes", [[6] * 5, [8, 8, 8, 6], [1, 4, 25], [30]])
def test_batches_that_come_one_by_one(
    sizes: list[int], accumulate: int, hidden: list[int], device: str
) -> None:
    trainer, loop = (new_trainer(hidden, device=device) for _ in range(2))
    loader, again = (Loader(sizes, CLASSES) for _ in range(2))
    history = trainer.fit(loader, max_epoch=3, accumulate=accumulate)
    assert loader.passes == 3
    for epoch in range(3):
        batches, losses = list(again), []
        for first in range(0, len(batches), accumulate):
            group = batches[first : first + accumulate]
            x, t = (np.concatenate(parts) for parts in zip(*group, strict=True))
            loss = loop.loss_fn(loop.model(x), t)
            losses.append(len(x) * loss.item())
            loop.optimizer.zero_grad()
            loss.backward()
            loop.optimizer.step()
        assert history.loss[epoch] == pytest.approx(sum(losses) / 30, rel=1e-9)
    assert_close(trainer, loop, 1e-8)


def test_a_data_loader_of_torch(torch: Any) -> None:
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(CLASSES))
    trainer, plain = (new_trainer([8]) for _ in range(2))
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    got = trainer.fit(loader, max_epoch=3, validation_data=loader, metrics="accuracy")
    want = fit(plain, max_epoch=3, batch_size=8, shuffle=False, validation_data=(X, CLASSES))
    np.testing.assert_array_equal(got.loss, want.loss)
    np.testing.assert_array_equal(got.validation_loss, want.validation_loss)
    for a, b in zip(weights_of(trainer.model), weights_of(plain.model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert trainer.evaluate(loader) == trainer.evaluate(X, CLASSES)


def test_batches_with_early_stopping_and_callbacks_that_change_the_model() -> None:
    trainer = new_trainer([8])

    def freeze(info: fm.EpochInfo) -> None:
        if info.epoch == 1:
            trainer.model[0].weight.requires_grad = False
            trainer.model[1] = fm.ReLU()

    loader = Loader([10, 20], CLASSES)
    history = trainer.fit(
        loader, max_epoch=5, callbacks=freeze, early_stopping=fm.EarlyStopping(100, monitor="loss")
    )
    assert len(history.loss) == 5
    assert loader.passes == 5


def test_a_list_of_batches_will_do_and_a_used_up_iterator_will_not() -> None:
    trainer, other = (new_trainer([8]) for _ in range(2))
    batches = [(X[:10], CLASSES[:10]), [X[10:], CLASSES[10:]]]
    trainer.fit(batches, max_epoch=1)
    other.fit(iter(batches), max_epoch=1)
    assert_close(trainer, other, 0)
    with pytest.raises(TypeError, match="x: expected batches that can be passed through 2 times"):
        trainer.fit(iter(batches), max_epoch=2)


def test_a_wrong_batch_is_an_error_after_the_steps_before_it() -> None:
    trainer = new_trainer([8])
    with pytest.raises(ValueError, match=r"\bt\b.*3"):
        trainer.fit([(X, CLASSES), (X, CLASSES[:3])], max_epoch=2)
    assert len(trainer.history.loss) == 0
    assert len(fit(trainer).loss) == 4


def test_to_pandas_without_pandas_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = new_trainer([8])
    history = fit(trainer)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install pandas, or fastmlp\[pandas\]"):
        history.to_pandas()
