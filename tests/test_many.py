"""`fit_many`: each training comes to the bits of a fit of its own, and errors name the trainer."""

import threading
import warnings
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 2))
CLASSES = RNG.integers(0, 3, 90)
VALUES = RNG.normal(size=(90, 3))


@pytest.fixture(autouse=True, params=[1, 3])
def _threads(request: pytest.FixtureRequest) -> Any:
    with fm.threads(request.param):
        yield


def _trainer(i: int, **options: Any) -> fm.Trainer:
    """A different kind for each number."""
    dtype = ["float32", "float64"][i % 5 == 4]
    sizes = [[2, 10, 3], [2, 4, 4, 3], [2, 70, 70, 3], [2, 3], [2, 16, 3]][i % 5]
    model = fm.MLP(sizes, activation=["tanh", "relu", "sigmoid"][i % 3], seed=i, dtype=dtype)
    if i % 7 == 3:
        hidden = fm.Linear(2, 8, dtype=dtype), fm.BatchNorm1d(8, dtype=dtype)
        model = fm.Sequential(*hidden, fm.ReLU(), fm.Dropout(0.2), fm.Linear(8, 3, dtype=dtype))
        with fm.no_grad():
            for k, parameter in enumerate(model.parameters()):
                parameter[...] = np.random.default_rng(k).normal(size=parameter.shape)
    kinds = [fm.SGD, fm.Adam, fm.AdamW, fm.RMSprop, fm.Lion]
    optimizer = kinds[i % 5](model.parameters(), lr=0.01 * (1 + i % 3))
    scheduler = None
    if i % 4 == 1:
        scheduler = fm.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    loss = fm.CrossEntropyLoss(label_smoothing=0.1) if i % 2 else fm.CrossEntropyLoss()
    return fm.Trainer(model, optimizer, loss, scheduler=scheduler, **options)


def same(a: fm.Trainer, b: fm.Trainer) -> None:
    for name, value in a.model.state_dict().items():
        np.testing.assert_array_equal(value, b.model.state_dict()[name], strict=True)
    for name in ("loss", "validation_loss", "learning_rate", "report_loss"):
        np.testing.assert_array_equal(getattr(a.history, name), getattr(b.history, name))
    for name, values in a.history.metrics.items():
        np.testing.assert_array_equal(values, b.history.metrics[name])
    ours, theirs = a.optimizer.state_dict()["state"], b.optimizer.state_dict()["state"]
    for number, entry in ours.items():
        for name, value in entry.items():
            np.testing.assert_array_equal(value, theirs[number][name])


@pytest.mark.parametrize(
    "options",
    [
        {"seed": range(20)},
        {"seed": 3, "batch_size": 20, "shuffle": False, "max_grad": 0.5, "accumulate": 2},
        {"seed": np.arange(20), "validation_data": (X[:20], CLASSES[:20]), "metrics": "accuracy"},
        {"seed": 1, "sample_weight": RNG.uniform(0.1, 2, 90), "validation_split": 0.2},
        {"seed": 0, "max_epoch": [1 + i % 4 for i in range(20)], "max_grad": [None, 1.0] * 10},
        {},
    ],
    ids=lambda options: "-".join(options) or "none",
)
def test_each_is_as_by_itself(options: dict[str, Any]) -> None:
    with _seeded():
        many = [_trainer(i) for i in range(20)]
        given = {"max_epoch": 6, **options}
        histories = fm.fit_many(many, X, CLASSES, **given)
    with _seeded():
        solo = [_trainer(i) for i in range(20)]
        single = ("seed", "max_epoch", "max_grad")
        for i, trainer in enumerate(solo):
            own = {
                name: value[i]
                if name in single and isinstance(value, list | range | np.ndarray)
                else value
                for name, value in given.items()
            }
            trainer.fit(X, CLASSES, progress=False, **own)
    for a, b, history in zip(many, solo, histories, strict=True):
        same(a, b)
        np.testing.assert_array_equal(history.loss, b.history.loss)


class _seeded:  # noqa: N801  as a context is called
    def __enter__(self) -> None:
        fm.manual_seed(5)

    def __exit__(self, *error: object) -> None:
        pass


def test_rows_of_each() -> None:
    rows = [None, slice(10, 40), np.arange(0, 90, 2), X[:, 0] > 0, [3, 1, 2, 5, 8, 13]]
    weights = RNG.uniform(0.5, 1, 90)
    many, solo = ([_trainer(i) for i in range(5)] for _ in range(2))
    fm.fit_many(many, X, CLASSES, 3, 8, rows=rows, sample_weight=weights, seed=0)
    for trainer, which in zip(solo, rows, strict=True):
        part = slice(None) if which is None else which
        trainer.fit(X[part], CLASSES[part], 3, 8, sample_weight=weights[part], seed=0)
    for a, b in zip(many, solo, strict=True):
        same(a, b)


def test_the_same_rows_for_all() -> None:
    many, solo = ([_trainer(i) for i in range(3)] for _ in range(2))
    fm.fit_many(many, X, CLASSES, 2, rows=np.arange(30), seed=0)
    for a, b in zip(many, solo, strict=True):
        b.fit(X[:30], CLASSES[:30], 2, seed=0)
        same(a, b)


@pytest.mark.parametrize("where", ["argument", "callbacks", "list"])
def test_early_stopping_of_each(where: str) -> None:
    validation = X[60:], CLASSES[60:]

    def search() -> fm.EarlyStopping:
        return fm.EarlyStopping(patience=2)

    many, solo = ([_trainer(i) for i in range(6)] for _ in range(2))
    given = search()
    each = [search() for _ in many]
    options: dict[str, Any] = {
        "argument": {"early_stopping": given},
        "callbacks": {"callbacks": [given]},
        "list": {"early_stopping": each},
    }[where]
    fm.fit_many(many, X[:60], CLASSES[:60], 40, validation_data=validation, seed=0, **options)
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        own = search()
        b.fit(X[:60], CLASSES[:60], 40, validation_data=validation, seed=0, early_stopping=own)
        same(a, b)
        assert a.history.best_epoch == b.history.best_epoch
        if where == "list":
            assert (each[i].best, each[i].stopped_epoch) == (own.best, own.stopped_epoch)
    if where != "list":  # as after one fit after another
        assert (given.best, given.best_epoch) == (own.best, own.best_epoch)


def test_callbacks_see_every_epoch_of_all() -> None:
    seen: dict[int, list[int]] = {}
    many = [_trainer(i) for i in range(6)]
    fm.fit_many(
        many,
        X,
        CLASSES,
        4,
        callbacks=lambda info: seen.setdefault(id(info.trainer), []).append(info.epoch),
    )
    assert seen == {id(trainer): [0, 1, 2, 3] for trainer in many}


def test_frames_lists_and_batches() -> None:
    pd = pytest.importorskip("pandas")
    batches = [(X[:40], CLASSES[:40]), (X[40:], CLASSES[40:])]
    solo = [_trainer(i) for i in range(4)]
    for trainer in solo:
        trainer.fit(batches, max_epoch=3, seed=0)
    many = [_trainer(i) for i in range(4)]
    fm.fit_many(many, batches, max_epoch=3, seed=0)
    for a, b in zip(many, solo, strict=True):
        same(a, b)
    framed, listed = ([_trainer(i) for i in range(4)] for _ in range(2))
    fm.fit_many(framed, pd.DataFrame(X), pd.Series(CLASSES), 2, seed=0)
    fm.fit_many(listed, X.tolist(), CLASSES.tolist(), 2, seed=0)
    for a, b in zip(framed, listed, strict=True):
        same(a, b)


def trainer_of_values(i: int, lr: float = 0.01, **options: Any) -> fm.Trainer:
    model = fm.MLP([2, 5, 3], seed=i)
    return fm.Trainer(model, fm.SGD(model.parameters(), lr=lr), fm.MSELoss(), **options)


def test_a_loss_that_is_no_number_ends_alone() -> None:
    def group(reaction: str) -> list[fm.Trainer]:
        rates = [0.01, 1e30, 0.01, 1e30]
        return [trainer_of_values(i, rate, on_nonfinite=reaction) for i, rate in enumerate(rates)]

    many = group("warn")
    with pytest.warns(RuntimeWarning, match=r"trainers\[1\]: the loss became .*1 others: 3"):
        fm.fit_many(many, X, VALUES, 5, seed=0)
    sound = trainer_of_values(2)
    sound.fit(X, VALUES, 5, seed=0)
    same(many[2], sound)
    many = group("raise")
    with pytest.raises(FloatingPointError, match=r"trainers\[1\]: the loss became"):
        fm.fit_many(many, X, VALUES, 5, seed=0)
    same(many[2], sound)
    assert [len(trainer.history.loss) < 5 for trainer in many] == [False, True, False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fm.fit_many(group("ignore"), X, VALUES, 5, seed=0)


def test_one_wrong_trainer_is_named_before_any_begins() -> None:
    many = [_trainer(i) for i in range(5)]
    many[3] = fm.Trainer(
        wide := fm.MLP([3, 4, 3], seed=0), fm.SGD(wide.parameters(), lr=0.1), fm.CrossEntropyLoss()
    )
    before = [trainer.model.state_dict() for trainer in many]
    with pytest.raises(ValueError, match=r"trainers\[3\]: x has 2 features.*takes 3"):
        fm.fit_many(many, X, CLASSES, 2)
    narrow = fm.MLP([2, 4, 2], seed=0)
    many[3] = fm.Trainer(narrow, fm.SGD(narrow.parameters(), lr=0.1), fm.CrossEntropyLoss())
    before[3] = many[3].model.state_dict()
    with pytest.raises(ValueError, match=r"trainers\[3\]: .*2"):
        fm.fit_many(many, X, CLASSES, 2)
    short = _trainer(0)
    short.scheduler = fm.lr_scheduler.OneCycleLR(short.optimizer, 0.1, total_steps=2)
    with pytest.raises(ValueError, match=r"trainers\[5\]: scheduler: expected"):
        fm.fit_many([*many[:3], many[4], _trainer(7), short], X, CLASSES, 2)
    for trainer, state in zip(many, before, strict=True):
        assert len(trainer.history.loss) == 0
        for name, value in trainer.model.state_dict().items():
            np.testing.assert_array_equal(value, state[name])


def test_trainers_that_share() -> None:
    a, b = _trainer(0), _trainer(1)
    with pytest.raises(ValueError, match=r"trainers\[2\]: .*some of trainers\[0\], too"):
        fm.fit_many([a, b, a], X, CLASSES)
    other = fm.Trainer(b.model, fm.SGD(b.model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"trainers\[1\]: .*some of trainers\[0\]"):
        fm.fit_many([b, other], X, CLASSES)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"trainers": 3}, TypeError, "trainers: expected a list of trainers, got"),
    ({"trainers": [3]}, TypeError, r"trainers\[0\]: expected a Trainer, got"),
    ({"seed": [1, 2]}, ValueError, "seed: expected a value, or a list of one for each of the 3"),
    ({"seed": [1, 2, -1]}, ValueError, r"trainers\[2\]: seed"),
    ({"epochs": 3}, TypeError, "fit_many.. has no argument 'epochs'"),
    ({"max_epoch": 0}, ValueError, r"trainers\[0\]: max_epoch"),
    ({"rows": [[1], [2]]}, ValueError, "rows: expected those of each of the 3 trainers"),
    ({"rows": [[1], [2], [90]]}, ValueError, r"trainers\[2\]: rows: expected numbers of rows"),
    ({"rows": [[1], [2], [-1]]}, ValueError, r"rows\[2\]: expected numbers of rows, got -1"),
    ({"rows": [1.5, 2.5]}, TypeError, "rows: expected integers, booleans or a slice"),
    ({"x": iter([(X, CLASSES)]), "t": None}, TypeError, "x: expected batches that can be passed"),
    ({"x": [(X, CLASSES)], "t": None, "rows": [1]}, ValueError, "rows: expected None with batches"),
    ({"progress": 3}, ValueError, "progress: expected"),
    (
        {"early_stopping": [None] * 3, "callbacks": [fm.EarlyStopping()]},
        ValueError,
        "early_stopping: expected one",
    ),
    ({"callbacks": [[print], [print]]}, ValueError, "callbacks: expected .* 3 trainers, got 2"),
    ({"callbacks": [[print], [3], []]}, TypeError, r"trainers\[1\]: callbacks: expected"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD, ids=[str(row[0])[:40] for row in BAD])
def test_wrong_arguments(given: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"trainers": [_trainer(i) for i in range(3)], "x": X, "t": CLASSES}
    arguments |= given
    with pytest.raises(error, match=message):
        fm.fit_many(**arguments)


def test_callbacks_of_each() -> None:
    """With functions, objects and searches for the best epoch."""
    seen: dict[int, list[Any]] = {i: [] for i in range(4)}

    class Sees:
        def __init__(self, i: int) -> None:
            self.i = i

        def on_train_begin(self, info: fm.EpochInfo) -> None:
            seen[self.i].append(info.trainer)

    def stops(i: int) -> Any:
        return lambda info: info.epoch == i

    many, solo = ([_trainer(i) for i in range(4)] for _ in range(2))
    early = [fm.EarlyStopping(monitor="loss", patience=1) for _ in range(2)]
    callbacks = [[Sees(0), stops(0)], [], (stops(2), early[0]), [stops(3), Sees(3), early[1]]]
    fm.fit_many(many, X, CLASSES, 6, seed=0, callbacks=callbacks)
    assert seen == {0: [many[0]], 1: [], 2: [], 3: [many[3]]}
    own = [fm.EarlyStopping(monitor="loss", patience=1) for _ in range(2)]
    given = [[stops(0)], [], [stops(2), own[0]], [stops(3), own[1]]]
    for trainer, part in zip(solo, given, strict=True):
        trainer.fit(X, CLASSES, 6, seed=0, callbacks=part)
    for a, b in zip(many, solo, strict=True):
        same(a, b)
    assert [e.best for e in early] == [e.best for e in own]


def test_none_is_none() -> None:
    assert fm.fit_many([], X, CLASSES) == []


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_ends_the_others_after_a_whole_step(failure: type[BaseException]) -> None:
    many = [trainer_of_values(i) for i in range(4)]

    def fail(info: fm.EpochInfo) -> None:
        if info.trainer is many[0] and info.epoch == 3:
            raise failure("here")

    with pytest.raises(failure, match="here"):
        fm.fit_many(many, X, VALUES, 200_000, callbacks=fail, seed=0)
    for i, trainer in enumerate(many):
        done = len(trainer.history.loss)
        assert done < 200_000
        if done and i:
            solo = trainer_of_values(i)
            solo.fit(X, VALUES, done, seed=0)
            np.testing.assert_array_equal(solo.history.loss, trainer.history.loss)
        trainer.fit(X, VALUES, 1)


def test_ctrl_c_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    import _thread

    many = [trainer_of_values(i) for i in range(4)]
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        fm.fit_many(many, X, VALUES, 10_000_000, seed=0)
    assert all(len(trainer.history.loss) < 10_000_000 for trainer in many)
    for trainer in many:
        trainer.fit(X, VALUES, 1)


def test_progress_counts_networks(capsys: pytest.CaptureFixture[str]) -> None:
    fm.fit_many([_trainer(i) for i in range(3)], X, CLASSES, 2, progress=True)
    assert "network 3/3" in capsys.readouterr().err
    fm.fit_many([_trainer(i) for i in range(3)], X, CLASSES, 2)
    assert capsys.readouterr().err == ""


def test_it_goes_on_from_where_the_trainers_are() -> None:
    many, solo = ([_trainer(i) for i in range(6)] for _ in range(2))
    for epochs in (2, 3):
        fm.fit_many(many, X, CLASSES, epochs, seed=1)
        for trainer in solo:
            trainer.fit(X, CLASSES, epochs, seed=1)
    for a, b in zip(many, solo, strict=True):
        same(a, b)


@pytest.mark.cuda
def test_networks_on_a_device_beside_one_on_the_host() -> None:
    groups = [[_trainer(i) for i in range(3)] for _ in range(2)]
    for group in groups:
        for trainer in group[1:]:
            trainer.model.to("cuda")
    many, solo = groups
    fm.fit_many(many, X, CLASSES, 3, seed=0)
    for a, b in zip(many, solo, strict=True):
        b.fit(X, CLASSES, 3, seed=0)
        same(a, b)
