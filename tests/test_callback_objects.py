"""Callbacks that are objects, and the ready-made ones of `fastmlp.callbacks`."""

import csv
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.callbacks import CSVLogger, LearningRateMonitor, ModelCheckpoint
from training import weights_of

rng = np.random.default_rng(0)
X, T = rng.normal(size=(24, 3)), rng.normal(size=(24, 1))


def new_trainer(**options: Any) -> fm.Trainer:
    model = fm.MLP([3, 6, 1], "tanh", dtype="float64", seed=1)
    return fm.Trainer(model, fm.Adam(model.parameters(), lr=0.05), fm.MSELoss(), **options)


def fit(trainer: fm.Trainer, **options: Any) -> fm.History:
    plan = {"max_epoch": 4, "batch_size": 6, "seed": 3, "validation_split": 0.25}
    return trainer.fit(X, T, **{**plan, **options})


class Recorder:
    """Writes down its events."""

    def __init__(self, seen: list[Any], name: str = "") -> None:
        self.seen, self.name = seen, name

    def on_train_begin(self, info: fm.EpochInfo) -> None:
        self.seen.append((self.name + "train begin", info.epoch))

    def on_epoch_begin(self, info: fm.EpochInfo) -> None:
        assert np.isnan(info.loss)
        assert info.validation_loss is None
        self.seen.append((self.name + "begin", info.epoch))

    def on_epoch_end(self, info: fm.EpochInfo) -> bool:
        self.seen.append((self.name + "end", info.epoch))
        return info.epoch == 5

    def on_train_end(self, info: fm.EpochInfo) -> None:
        self.seen.append((self.name + "train end", info.epoch))


def test_events_come_in_order() -> None:
    trainer, seen = new_trainer(), []
    fit(trainer, max_epoch=2, callbacks=Recorder(seen))
    fit(trainer, max_epoch=50, callbacks=Recorder(seen))
    events = [(event, epoch) for epoch in range(6) for event in ("begin", "end")]
    assert seen[:6] == [("train begin", 0), *events[:4], ("train end", 1)]
    assert seen[6:] == [("train begin", 2), *events[4:], ("train end", 5)]


def test_any_of_the_events_will_do_and_functions_beside_them() -> None:
    trainer, seen = new_trainer(), []

    class Ends:
        def on_train_end(self, info: fm.EpochInfo) -> None:
            seen.append(info.validation_loss)

    class Calls:
        def __call__(self, info: fm.EpochInfo) -> None:
            seen.append("call")

    history = fit(trainer, max_epoch=2, callbacks=[Ends(), Calls(), lambda info: seen.append("f")])
    assert seen == ["call", "f", "call", "f", history.validation_loss[-1]]


def test_the_end_comes_however_the_training_ends() -> None:
    """For those that saw it begin; not where the arguments were wrong."""
    trainer, seen = new_trainer(), []

    class Fails(Recorder):
        def on_train_begin(self, info: fm.EpochInfo) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(trainer, callbacks=[Recorder(seen, "first "), Fails(seen), Recorder(seen, "last ")])
    assert seen == [("first train begin", 0), ("first train end", 0)]
    seen.clear()
    with pytest.raises(ValueError, match="feature"):
        trainer.fit(X[:, :2], T, callbacks=Recorder(seen))
    assert seen == []

    def interrupt(info: fm.EpochInfo) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(trainer, callbacks=[Recorder(seen), interrupt])
    assert seen[-1] == ("train end", 0)
    trainer.on_nonfinite = "raise"
    trainer.optimizer.lr = 1e300
    seen.clear()
    with pytest.raises(FloatingPointError):
        fit(trainer, callbacks=Recorder(seen), max_epoch=50, batch_size=2)
    assert seen[-1][0] == "train end"


def test_the_end_sees_the_best_parameters() -> None:
    trainer, seen = new_trainer(), {}

    class Looks:
        def on_epoch_end(self, info: fm.EpochInfo) -> None:
            seen[info.epoch] = weights_of(trainer.model)

        def on_train_end(self, info: fm.EpochInfo) -> None:
            seen["end"] = weights_of(trainer.model)

    early = fm.EarlyStopping(3)
    fit(trainer, max_epoch=200, early_stopping=early, callbacks=Looks())
    assert early.stopped_epoch is not None
    for a, b in zip(seen["end"], seen[early.best_epoch], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("event", ["on_train_begin", "on_epoch_begin"])
@pytest.mark.parametrize("change", ["optimizer", "layer", "lr"])
def test_what_a_beginning_changes_holds_at_once(change: str, event: str) -> None:
    def apply(trainer: fm.Trainer) -> None:
        if change == "optimizer":
            trainer.optimizer = fm.SGD(trainer.model.parameters(), lr=0.1)
        elif change == "layer":
            trainer.model[1] = fm.ReLU()
        else:
            trainer.optimizer.lr = 0.3

    class Changes:
        done = False

    def method(self: Any, info: fm.EpochInfo) -> None:
        if not self.done:
            apply(info.trainer)
        self.done = True

    setattr(Changes, event, method)
    within, before = new_trainer(), new_trainer()
    apply(before)
    want, got = fit(before), fit(within, callbacks=Changes())
    assert len(got.loss) == 4
    np.testing.assert_array_equal(got.loss, want.loss)
    for a, b in zip(weights_of(within.model), weights_of(before.model), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("best_only", [True, False])
@pytest.mark.parametrize("monitor", ["loss", "validation_loss", "r2"])
def test_model_checkpoint(monitor: str, best_only: bool) -> None:
    trainer, kept = new_trainer(), []
    checkpoint = ModelCheckpoint(monitor=monitor, save_best_only=best_only)
    history = fit(
        trainer,
        max_epoch=40,
        metrics="r2",
        callbacks=[checkpoint, lambda info: kept.append(weights_of(trainer.model))],
    )
    values = history.metrics["r2"] if monitor == "r2" else getattr(history, monitor)
    best = int(np.argmax(values) if monitor == "r2" else np.argmin(values))
    assert checkpoint.best_epoch == best
    assert checkpoint.best == values[best]
    trainer.model.load_state_dict(checkpoint.best_state)
    for a, b in zip(weights_of(trainer.model), kept[best], strict=True):
        np.testing.assert_array_equal(a, b)
    assert checkpoint.last_epoch == (None if best_only else 39)
    if not best_only:
        trainer.model.load_state_dict(checkpoint.last_state)
        for a, b in zip(weights_of(trainer.model), kept[-1], strict=True):
            np.testing.assert_array_equal(a, b)
    assert pickle.loads(pickle.dumps(checkpoint)).best == checkpoint.best


def test_model_checkpoint_of_what_is_not_measured() -> None:
    with pytest.raises(ValueError, match="monitor: expected one of loss, which are measured"):
        fit(new_trainer(), callbacks=ModelCheckpoint(), validation_split=None)


def test_csv_logger(tmp_path: Path) -> None:
    path, trainer = tmp_path / "log.csv", new_trainer()
    logger = CSVLogger(path, append=True)
    fit(trainer, callbacks=logger, metrics="mae", max_epoch=3)
    history = fit(trainer, callbacks=logger, metrics="mae", max_epoch=2)
    lines = list(csv.reader(path.open()))
    assert lines[0] == ["epoch", "loss", "validation_loss", "mae"]
    numbers = np.array(lines[1:], float)
    curves = [np.arange(5), history.loss, history.validation_loss, history.metrics["mae"]]
    np.testing.assert_array_equal(numbers.T, curves)
    fit(trainer, callbacks=CSVLogger(path, separator=";"), validation_split=None, max_epoch=1)
    assert path.read_text().splitlines()[0] == "epoch;loss"
    assert len(path.read_text().splitlines()) == 2
    pickle.dumps(logger)


def test_csv_logger_without_a_folder_fails_before_the_training(tmp_path: Path) -> None:
    trainer = new_trainer()
    with pytest.raises(FileNotFoundError):
        fit(trainer, callbacks=CSVLogger(tmp_path / "none" / "log.csv"))
    assert len(trainer.history.loss) == 0


def test_learning_rate_monitor() -> None:
    trainer, monitor = new_trainer(), LearningRateMonitor()
    assert monitor.lr.shape == (0, 0)

    def decay(info: fm.EpochInfo) -> None:
        trainer.optimizer.lr = 0.05 / (info.epoch + 2)

    fit(trainer, callbacks=[monitor, decay])
    assert monitor.epochs == [0, 1, 2, 3]
    np.testing.assert_allclose(monitor.lr, [[0.05], [0.05 / 2], [0.05 / 3], [0.05 / 4]])


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through either package's writer, of which only this much is used."""
    written: list[Any] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path)

        def add_scalar(self, name: str, value: float, epoch: int) -> None:
            written.append((name, value, epoch))

        def close(self) -> None:
            written.append("closed")

    package = types.ModuleType("tensorboardX")
    package.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboardX", package)
    history = fit(new_trainer(), metrics="mae", callbacks=fm.callbacks.TensorBoard(tmp_path))
    assert written.pop() == "closed"
    curves = {"loss": history.loss, "mae": history.metrics["mae"], "lr": [0.05] * 4}
    curves["validation_loss"] = history.validation_loss
    want = [(name, curves[name][epoch], epoch) for epoch in range(4) for name in curves]
    assert sorted(written) == sorted(want)

    for name in ("tensorboardX", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        fit(new_trainer(), callbacks=fm.callbacks.TensorBoard(tmp_path))


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of epochs and what is trained, in the user's run or in one of its own."""
    for variable in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(variable, "true")
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    client = mlflow.MlflowClient()

    def logged(run: str, name: str) -> list[tuple[int, float]]:
        return [(found.step, found.value) for found in client.get_metric_history(run, name)]

    callback = fm.callbacks.MLflow(every=3, parameters={"data": "circles"})
    history = fit(new_trainer(), metrics="mae", callbacks=callback)
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert mlflow.active_run() is None
    curves = {"loss": history.loss, "mae": history.metrics["mae"], "lr": [0.05] * 4}
    curves["validation_loss"] = history.validation_loss
    for name, curve in curves.items():
        assert logged(run.info.run_id, name) == [(2, curve[2]), (3, curve[3])]
    assert run.data.params["data"] == "circles"
    assert run.data.params["optimizer"].startswith("Adam(")
    assert int(run.data.params["model_parameters"]) > 0

    with mlflow.start_run() as mine:
        mlflow.log_param("data", "mine")
        for _ in range(2):  # the second one has another rate, which is no error
            trainer = new_trainer()
            trainer.optimizer.lr = 0.1
            fit(trainer, callbacks=pickle.loads(pickle.dumps(callback)))
            assert mlflow.active_run().info.run_id == mine.info.run_id
    assert client.get_run(mine.info.run_id).data.params["data"] == "mine"

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r'pip install "fastmlp\[mlflow\]"'):
        fit(new_trainer(), callbacks=callback)
    with pytest.raises(ValueError, match="every"):
        fm.callbacks.MLflow(every=0)
    with pytest.raises(TypeError, match="parameters"):
        fm.callbacks.MLflow(parameters=[1])  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_leaves_the_model_as_it_is() -> None:
    """With on_nonfinite="raise", early stopping gives nothing back."""
    trainer = new_trainer(on_nonfinite="raise")

    def spoil(info: fm.EpochInfo) -> None:
        trainer.model[0].weight[0, 0] = np.nan

    with pytest.raises(FloatingPointError):
        fit(trainer, early_stopping=fm.EarlyStopping(), callbacks=spoil)
    assert np.isnan(np.asarray(trainer.model[0].weight)).any()
    trainer = new_trainer(on_nonfinite="ignore")
    fit(trainer, early_stopping=fm.EarlyStopping(), callbacks=spoil)
    assert np.isfinite(np.asarray(trainer.model[0].weight)).all()
