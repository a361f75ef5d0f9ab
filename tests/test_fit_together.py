"""Options of `fit` that meet: accumulated steps, splits, metrics, batches and early stopping with
weights of rows and classes, with all losses, and with normalisation."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from specs import LOSSES, Loss
from training import weights_of
from weighting import PLACES, ROWS, WEIGHTS, model_of, targets_of, x_of

EACH_LOSS = pytest.mark.parametrize("row", LOSSES.values(), ids=lambda row: row.id)
EACH_PLACE = pytest.mark.parametrize("place", PLACES)


def new_trainer(model: fm.Module, loss_fn: Any, lr: float = 1e-4) -> fm.Trainer:
    return fm.Trainer(model, fm.SGD(model.parameters(), lr=lr, momentum=0.9), loss_fn)


def fit(trainer: fm.Trainer, x: Any, t: Any = None, **options: Any) -> fm.History:
    return trainer.fit(x, t, **{"max_epoch": 3, "shuffle": False, "batch_size": None, **options})


def assert_close(trainer: fm.Trainer, other: fm.Trainer, limit: float = 1e-12) -> None:
    for a, b in zip(weights_of(trainer.model), weights_of(other.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=limit * np.abs(b).max())


# Accumulated steps


@EACH_LOSS
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@EACH_PLACE
def test_accumulated_batches_count_as_one_with_weights(
    row: Loss, reduction: str, place: str
) -> None:
    """One of the batches has no weight at all; the last group is a single row."""
    columns = row.outputs(4)
    x, t = x_of(), targets_of(row, columns)
    assert not WEIGHTS[6:8].any()
    for weights in (None, WEIGHTS):
        parts, whole = (
            new_trainer(model_of(place, columns, row.head), row.module(reduction)) for _ in "ab"
        )
        got = fit(parts, x, t, batch_size=2, accumulate=3, sample_weight=weights)
        want = fit(whole, x, t, batch_size=6, sample_weight=weights)
        assert_close(parts, whole)
        np.testing.assert_allclose(got.loss, want.loss, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [2, 5])
@EACH_PLACE
def test_weighted_sums_by_hand(torch: Any, batch_size: int, place: str) -> None:
    """With torch: the gradients of the batches' weighted sums, by the sum of their weights."""
    classes = np.array([0.5, 2.0, 1.0])
    t = targets_of(LOSSES["cross_entropy"], 3)
    t[::5] = 1
    model = model_of(place, 3)
    sizes = [p.shape for p in model.parameters()]
    layers = [torch.nn.Linear(sizes[i][1], sizes[i][0]).double() for i in (0, 2)]
    theirs = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
    with torch.no_grad():
        for p, q in zip(theirs.parameters(), model.parameters(), strict=True):
            p.copy_(torch.tensor(np.array(q)))
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    rows = np.flatnonzero(np.arange(ROWS) >= 0)
    batches = [rows[i : i + batch_size] for i in range(0, ROWS, batch_size)]
    counted = WEIGHTS * classes[t] * (t != 2)
    for _ in range(3):
        for first in range(0, len(batches), 2):
            group = batches[first : first + 2]
            optimizer.zero_grad()
            for batch in group:
                values = torch.nn.functional.cross_entropy(
                    theirs(torch.tensor(x_of()[batch])),
                    torch.tensor(t[batch]),
                    torch.tensor(classes),
                    ignore_index=2,
                    reduction="none",
                )
                (values * torch.tensor(WEIGHTS[batch])).sum().backward()
            total = sum(counted[batch].sum() for batch in group)
            for p in theirs.parameters():
                p.grad *= 1 / total if total else 0
            optimizer.step()
    loss_fn = fm.CrossEntropyLoss(weight=classes, ignore_index=2)
    trainer = new_trainer(model, loss_fn, lr=0.05)
    fit(trainer, x_of(), t, sample_weight=WEIGHTS, batch_size=batch_size, accumulate=2)
    for p, q in zip(model.parameters(), theirs.parameters(), strict=True):
        want = q.detach().numpy()
        np.testing.assert_allclose(np.asarray(p), want, rtol=0, atol=1e-12 * np.abs(want).max())


def squared_error(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    return float(np.mean((y - t) ** 2)), 2 * (y - t) / y.size


@EACH_PLACE
def test_functions_as_losses(place: str) -> None:
    """Accumulated, of a split, of batches that come one by one; with metrics, and evaluated."""
    x, t = x_of(), targets_of(LOSSES["mse"], 2)
    batches = [(x[i : i + 3], t[i : i + 3]) for i in range(0, ROWS, 3)]
    calls: list[dict[str, Any]] = [
        {"x": x, "t": t, "batch_size": 3, "accumulate": 2},
        {"x": x, "t": t, "validation_split": 0.4, "metrics": ("mae", "r2")},
        {"x": batches, "validation_data": batches, "metrics": "mse"},
        {"x": batches, "accumulate": 2},
    ]
    for options in calls:
        own, plain = (
            new_trainer(model_of(place, 2), loss_fn, lr=0.05)
            for loss_fn in (fm.FunctionLoss(squared_error), fm.MSELoss())
        )
        got, want = fit(own, **options), fit(plain, **options)
        assert_close(own, plain)
        np.testing.assert_allclose(got.loss, want.loss, rtol=1e-12)
        np.testing.assert_allclose(got.validation_loss, want.validation_loss, rtol=1e-12)
        for name, values in want.metrics.items():
            np.testing.assert_allclose(got.metrics[name], values, rtol=1e-12)
        assert own.evaluate(x, t) == pytest.approx(plain.evaluate(x, t), rel=1e-12)


def test_metrics_of_classes_with_a_function_as_loss() -> None:
    t = targets_of(LOSSES["cross_entropy"], 3)

    def no_loss(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
        return 0.0, np.zeros_like(y)

    trainer = new_trainer(model_of("lanes", 3), fm.FunctionLoss(no_loss))
    history = fit(trainer, x_of(), t, validation_split=0.5, metrics="accuracy")
    right = trainer.model.predict(x_of()).argmax(axis=1) == t
    assert history.metrics["accuracy"][-1] == right[6:].mean()
    assert trainer.evaluate(x_of(), t)["accuracy"] == right.mean()


# Splits, batches, evaluation


@EACH_PLACE
def test_a_split_takes_the_weights_along(place: str) -> None:
    x, t = x_of(), targets_of(LOSSES["mse"], 2)
    split, given = (new_trainer(model_of(place, 2), fm.MSELoss()) for _ in "ab")
    got = fit(split, x, t, sample_weight=WEIGHTS, validation_split=0.4, metrics="mae")
    kept = (x[7:], t[7:], WEIGHTS[7:])
    want = fit(given, x[:7], t[:7], sample_weight=WEIGHTS[:7], validation_data=kept, metrics="mae")
    for a, b in zip(weights_of(split.model), weights_of(given.model), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(got.validation_loss, want.validation_loss)
    np.testing.assert_array_equal(got.metrics["mae"], want.metrics["mae"])


@pytest.mark.parametrize("accumulate", [1, 2])
@EACH_PLACE
def test_batches_with_weights(place: str, accumulate: int) -> None:
    """The same as arrays; validation data, too, may come in batches with and without weights."""
    x, t = x_of(), targets_of(LOSSES["mse"], 2)
    weights = np.where(WEIGHTS == 0, 0.5, WEIGHTS)
    weights[4:8] = 1
    parts = [slice(i, i + 4) for i in range(0, ROWS, 4)]
    batches = [(x[p], t[p]) if p.start == 4 else (x[p], t[p], weights[p]) for p in parts]
    one_by_one, arrays = (new_trainer(model_of(place, 2), fm.MSELoss()) for _ in "ab")
    got = fit(one_by_one, batches, validation_data=iter(batches), accumulate=accumulate)
    want = fit(
        arrays,
        x,
        t,
        sample_weight=weights,
        batch_size=4,
        validation_data=(x, t, weights),
        accumulate=accumulate,
    )
    assert_close(one_by_one, arrays)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-12)
    np.testing.assert_array_equal(got.validation_loss, want.validation_loss)
    assert one_by_one.evaluate(batches) == arrays.evaluate(x, t, sample_weight=weights)


@EACH_LOSS
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@EACH_PLACE
def test_evaluation_is_that_of_fit(row: Loss, reduction: str, place: str) -> None:
    columns = row.outputs(4)
    x, t = x_of(), targets_of(row, columns)
    trainer = new_trainer(model_of(place, columns, row.head), row.module(reduction))
    history = fit(trainer, x, t, validation_data=(x, t, WEIGHTS))
    loss = trainer.evaluate(x, t, sample_weight=WEIGHTS)["loss"]
    assert loss == pytest.approx(history.validation_loss[-1], rel=1e-12)


def test_variances_below_the_least_one_are_evaluated_as_they_are_trained() -> None:
    model = fm.Linear(4, 2, dtype="float64")
    trainer = new_trainer(model, fm.GaussianNLLLoss(eps=0.1))
    t = targets_of(LOSSES["mse"], 1)
    history = fit(trainer, x_of(), t, validation_data=(x_of(), t))
    assert (model.predict(x_of())[:, 1] < 0).any()
    loss = trainer.evaluate(x_of(), t)["loss"]
    assert loss == pytest.approx(history.validation_loss[-1], rel=1e-12)


# Metrics


@EACH_PLACE
def test_a_weight_is_how_often_a_row_counts_in_metrics(place: str) -> None:
    counts = np.array([2, 0, 1, 1, 0, 3, 1, 0, 1, 1, 1, 1, 2])
    rows = np.repeat(np.arange(ROWS), counts)
    x = x_of()
    for loss, columns, names in (
        ("mse", 2, ("mae", "mse", "rmse", "r2", "binary_accuracy", "accuracy")),
        ("mse", 1, ("r2", "accuracy")),
        ("cross_entropy", 3, ("accuracy", "top_2_accuracy")),
        ("gaussian_nll", 4, ("mae", "r2")),
        ("quantile", 3, ("mae", "rmse")),
    ):
        row = LOSSES[loss]
        t = targets_of(row, columns)
        trainer = new_trainer(model_of(place, columns, row.head), row.module("mean"))
        history = fit(trainer, x, t, validation_data=(x, t, counts), metrics=names)
        weighted = trainer.evaluate(x, t, sample_weight=counts)
        repeated = trainer.evaluate(x[rows], t[rows])
        assert weighted == pytest.approx(repeated, rel=1e-12)
        for name in names:
            assert history.metrics[name][-1] == pytest.approx(weighted[name], rel=1e-12)


def test_classes_with_weights_and_ignored_rows() -> None:
    """Classes' weights do not count in metrics; ignored rows are none."""
    t = targets_of(LOSSES["cross_entropy"], 3)
    loss_fn = fm.CrossEntropyLoss(weight=[1.0, 5.0, 0.1], ignore_index=-100)
    trainer = new_trainer(model_of("lanes", 3), loss_fn, lr=0.1)
    right = {"accuracy": 0.0}
    ignored = np.where(np.arange(ROWS) % 4 == 0, -100, t)
    history = fit(trainer, x_of(), ignored, validation_data=(x_of(), ignored), metrics="accuracy")
    right = trainer.model.predict(x_of()).argmax(axis=1) == t
    assert history.metrics["accuracy"][-1] == right[ignored >= 0].mean()
    assert trainer.evaluate(x_of(), t)["accuracy"] == right.mean()


def test_means_alone_are_compared_where_outputs_are_means_and_variances() -> None:
    t = targets_of(LOSSES["gaussian_nll"], 4)
    trainer = new_trainer(model_of("lanes", 4, "softplus"), fm.GaussianNLLLoss())
    found = trainer.evaluate(x_of(), t, metrics=("mae", lambda y, t: float(y.shape == (13, 4))))
    error = np.abs(trainer.model.predict(x_of())[:, :2] - t)
    assert found["mae"] == pytest.approx(error.mean(), rel=1e-12)
    assert found["<lambda>"] == 1, "functions see all outputs"


# Early stopping


@EACH_LOSS
def test_early_stopping_with_each_loss(row: Loss) -> None:
    columns = row.outputs(4)
    x, t = x_of(), targets_of(row, columns)
    trainer = new_trainer(model_of("lanes", columns, row.head), row.module("mean"), lr=0.05)
    kept: list[list[np.ndarray]] = []
    early = fm.EarlyStopping(3)
    history = fit(
        trainer,
        x[:6],
        t[:6],
        validation_data=(x[6:], t[6:], WEIGHTS[6:]),
        max_epoch=200,
        early_stopping=early,
        callbacks=lambda info: kept.append(weights_of(trainer.model)),
    )
    assert early.best_epoch == int(np.nanargmin(history.validation_loss))
    for a, b in zip(weights_of(trainer.model), kept[early.best_epoch], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("restore", [True, False])
def test_running_statistics_are_restored(
    restore: bool, momentum: float | None, device: str
) -> None:
    """With the number of their batches; so is what a prediction folds of them."""
    x, t = x_of(), targets_of(LOSSES["mse"], 1)
    model = fm.Sequential(
        fm.Linear(4, 6, dtype="float64"),
        fm.BatchNorm1d(6, momentum=momentum, dtype="float64"),
        fm.Tanh(),
        fm.Linear(6, 1, dtype="float64"),
    ).to(device)
    trainer = new_trainer(model, fm.MSELoss(), lr=0.5)
    kept: list[tuple[Any, np.ndarray]] = []

    def keep(info: fm.EpochInfo) -> None:
        outputs = model.eval().predict(x)
        model.train()
        kept.append((copy.deepcopy(model.state_dict()), outputs))

    early = fm.EarlyStopping(4, restore_best=restore)
    history = fit(
        trainer, x, t, validation_split=0.4, max_epoch=60, early_stopping=early, callbacks=keep
    )
    assert early.best_epoch is not None
    assert early.best_epoch < len(history.loss) - 1, "nothing to restore"
    state, outputs = kept[early.best_epoch if restore else -1]
    found = model.state_dict()
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} <= set(found)
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    np.testing.assert_array_equal(model.eval().predict(x), outputs)
    later = kept[-1][0]
    if restore:
        assert found["1.num_batches_tracked"] < later["1.num_batches_tracked"]
        assert not np.array_equal(found["1.running_mean"], later["1.running_mean"])
    fit(trainer, x, t)  # it goes on


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_sees_each_batch_by_itself(
    torch: Any, momentum: float | None, device: str
) -> None:
    """In accumulated steps, and in batches that come one by one: as in torch."""
    x, t = x_of(12), targets_of(LOSSES["mse"], 2, 12)
    layers = torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6, momentum=momentum)
    theirs = torch.nn.Sequential(*layers, torch.nn.Linear(6, 2)).double()
    models = [
        fm.Sequential(
            fm.Linear(4, 6), fm.BatchNorm1d(6, momentum=momentum), fm.Linear(6, 2), dtype="float64"
        ).to(device)
        for _ in "ab"
    ]
    for model in models:
        model.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    batches = [(x[i : i + 3], t[i : i + 3]) for i in range(0, 12, 3)]
    for _ in range(3):
        for first in (0, 2):
            optimizer.zero_grad()
            for a, b in batches[first : first + 2]:
                loss = torch.nn.functional.mse_loss(theirs(torch.tensor(a)), torch.tensor(b))
                (loss / 2).backward()
            optimizer.step()
    data: list[tuple[Any, Any]] = [(x, t), (batches, None)]
    for model, (a, b) in zip(models, data, strict=True):
        fit(new_trainer(model, fm.MSELoss(), lr=0.05), a, b, batch_size=3, accumulate=2)
        found = model.state_dict()
        for name, value in theirs.state_dict().items():
            np.testing.assert_allclose(found[name], value.numpy(), rtol=1e-11, atol=1e-13)


def test_a_batch_of_one_row_is_an_error_with_batch_norm() -> None:
    model = fm.Sequential(fm.BatchNorm1d(4, dtype="float64"), fm.Linear(4, 1, dtype="float64"))
    trainer = new_trainer(model, fm.MSELoss())
    x, t = x_of(), targets_of(LOSSES["mse"], 1)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield x[:5], t[:5]
        yield x[5:6], t[5:6]

    with pytest.raises(ValueError, match="x: one of the batches: expected more than one row"):
        trainer.fit(batches(), max_epoch=1)
    assert model.state_dict()["0.num_batches_tracked"] == 1
    with pytest.raises(ValueError, match="batch_size: one of the batches: expected more than one"):
        trainer.fit(x, t, batch_size=6, accumulate=3)
