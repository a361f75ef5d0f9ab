"""`fit_many` on a CUDA device: groups share launches, and each comes to the bits of `fit`."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import many as module

pytestmark = pytest.mark.cuda

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 2))
CLASSES = RNG.integers(0, 3, 90)
VALUES = RNG.normal(size=(90, 3))
KINDS = [fm.SGD, fm.Adam, fm.AdamW, fm.RMSprop, fm.NAdam, fm.Lion]
N = 5


def _trainer(
    i: int,
    kind: Callable[..., Any] = fm.Adam,
    sizes: tuple[int, ...] = (2, 6, 3),
    *,
    dtype: str = "float32",
    loss: Callable[[], Any] = fm.CrossEntropyLoss,
    schedule: Any = None,
    last: Any = None,
    device: str = "cuda",
    **options: Any,
) -> fm.Trainer:
    model: Any = fm.MLP(sizes, activation="tanh", seed=i, dtype=dtype)
    if last is not None:
        model = fm.Sequential(*model, last)
    model.to(device)
    optimizer = kind(model.parameters(), lr=0.01 * (1 + i % 3))
    scheduler = None if schedule is None else schedule(optimizer)
    return fm.Trainer(model, optimizer, loss(), scheduler=scheduler, **options)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the groups that have been trained together."""
    sizes: list[int] = []

    def run(fits: Any, poll: Any) -> Any:
        sizes.append(len(fits))
        return run_together(fits, poll)

    run_together = module.run_together
    monkeypatch.setattr(module, "run_together", run)
    return sizes


def _same(a: fm.Trainer, b: fm.Trainer) -> None:
    for name, value in a.model.state_dict().items():
        np.testing.assert_array_equal(value, b.model.state_dict()[name], strict=True)
    for name in ("loss", "validation_loss", "learning_rate", "report_loss"):
        np.testing.assert_array_equal(getattr(a.history, name), getattr(b.history, name))
    assert a.history.metrics.keys() == b.history.metrics.keys()
    for name, values in a.history.metrics.items():
        np.testing.assert_array_equal(values, b.history.metrics[name])
    assert a.history.best_epoch == b.history.best_epoch
    ours, theirs = a.optimizer.state_dict()["state"], b.optimizer.state_dict()["state"]
    for number, entry in ours.items():
        for name, value in entry.items():
            np.testing.assert_array_equal(value, theirs[number][name])


def _both(count: int = N, **options: Any) -> tuple[list[fm.Trainer], list[fm.Trainer]]:
    a, b = ([_trainer(i, **options) for i in range(count)] for _ in range(2))
    return a, b


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [30, 16, None])
def test_a_group_is_as_each_by_itself(
    groups: list[int], kind: Any, dtype: str, batch_size: int | None
) -> None:
    many, solo = _both(kind=kind, dtype=dtype)
    fm.fit_many(many, X, CLASSES, 7, batch_size, seed=range(N))
    assert groups == [N]
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        b.fit(X, CLASSES, 7, batch_size, seed=i)
        _same(a, b)
    assert not np.array_equal(many[0].history.loss, many[1].history.loss)


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": False},
        {"validation_split": 0.2, "metrics": ["accuracy"]},
        {"validation_data": (X[:20], CLASSES[:20])},
        {"validation_data": (X[:20], CLASSES[:20]), "early_stopping": fm.EarlyStopping(patience=2)},
        {"sample_weight": RNG.uniform(0.1, 2, 90)},
        {"eval_interval": 4},
    ],
    ids=lambda options: "-".join(options),
)
def test_options(groups: list[int], options: dict[str, Any]) -> None:
    many, solo = _both()
    for trainer in (many[1], solo[1]):
        trainer.optimizer.lr = 3.0  # it stops early
    fm.fit_many(many, X, CLASSES, 12, 30, seed=3, **options)
    assert groups == [N]
    for a, b in zip(many, solo, strict=True):
        b.fit(X, CLASSES, 12, 30, seed=3, **options)
        _same(a, b)
    if "early_stopping" in options:
        assert len({len(one.history.loss) for one in many}) > 1


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_schedules(groups: list[int], interval: str) -> None:
    def schedule(optimizer: Any) -> Any:
        return fm.lr_scheduler.CosineAnnealingLR(optimizer, 9)

    many, solo = _both(schedule=schedule, scheduler_interval=interval)
    fm.fit_many(many, X, CLASSES, 8, 30, seed=range(N))
    assert groups == [N]
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        b.fit(X, CLASSES, 8, 30, seed=i)
        _same(a, b)
        assert a.optimizer.lr == b.optimizer.lr


def test_rows_of_each(groups: list[int]) -> None:
    fold = np.arange(90) % 5
    rows = [fold != k for k in range(N)]
    many, solo = _both()
    fm.fit_many(many, X, CLASSES, 4, 24, rows=rows, seed=range(N))
    assert groups == [N]
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        b.fit(X[rows[i]], CLASSES[rows[i]], 4, 24, seed=i)
        _same(a, b)


def test_ignored_rows_of_some(groups: list[int]) -> None:
    classes = CLASSES.copy()
    classes[:3] = -100  # the first one alone has weights
    rows = [np.arange(k * 15, k * 15 + 30) for k in range(3)]
    many, solo = _both(3)
    fm.fit_many(many, X, classes, 3, 10, rows=rows, seed=0)
    assert groups == [3]
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        b.fit(X[rows[i]], classes[rows[i]], 3, 10, seed=0)
        _same(a, b)


def test_losses_and_activations_at_the_end(groups: list[int]) -> None:
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"last": fm.LogSoftmax(), "loss": fm.NLLLoss}, CLASSES),
        ({"last": fm.Sigmoid(), "loss": fm.BCELoss}, VALUES > 0),
        ({"loss": lambda: fm.HuberLoss(delta=0.3)}, VALUES),
        ({"loss": lambda: fm.CrossEntropyLoss(label_smoothing=0.1)}, CLASSES),
    ]
    for options, t in cases:
        groups.clear()
        many, solo = _both(3, **options)
        fm.fit_many(many, X, t, 3, 30, seed=0)
        assert groups == [3]
        for a, b in zip(many, solo, strict=True):
            b.fit(X, t, 3, 30, seed=0)
            _same(a, b)


def test_it_goes_on_from_where_the_trainers_are(groups: list[int]) -> None:
    many, solo = _both()
    for epochs in (2, 3):
        fm.fit_many(many, X, CLASSES, epochs, 30)
        for trainer in solo:
            trainer.fit(X, CLASSES, epochs, 30)
    assert groups == [N, N]
    for a, b in zip(many, solo, strict=True):
        _same(a, b)


def _mixed() -> list[fm.Trainer]:
    """Three groups, some that are trained alone, and two on the host."""
    shapes: list[dict[str, Any]] = [
        {},
        {"sizes": (2, 5, 3)},
        {"kind": fm.SGD},
        {"last": fm.Dropout(0.2)},
        {"sizes": (2, 300, 300, 3)},
        {"device": "cpu"},
    ]
    counts = [4, 3, 2, 2, 1, 2]
    made = [[shape] * count for shape, count in zip(shapes, counts, strict=True)]
    return [_trainer(i, **shape) for i, shape in enumerate(itertools.chain(*made))]


@pytest.mark.parametrize("threads", [1, 3])
def test_shapes_are_groups_of_their_own(groups: list[int], threads: int) -> None:
    many, solo = _mixed(), _mixed()
    with fm.threads(threads):
        histories = fm.fit_many(many, X, CLASSES, 3, 30, seed=range(len(many)))
    assert sorted(groups) == [2, 3, 4]
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        b.fit(X, CLASSES, 3, 30, seed=i)
        _same(a, b)
        np.testing.assert_array_equal(histories[i].loss, b.history.loss)


@pytest.mark.parametrize(
    "options",
    [
        {"callbacks": lambda info: None},
        {"max_grad": 1.0},
        {"accumulate": 2},
        {"validation_split": 0.2, "metrics": [lambda y, t: 0.5]},
    ],
    ids=lambda options: "-".join(options),
)
def test_what_is_trained_one_by_one(groups: list[int], options: dict[str, Any]) -> None:
    many, solo = _both(2)
    fm.fit_many(many, X, CLASSES, 3, 30, seed=0, **options)
    assert groups == []
    for a, b in zip(many, solo, strict=True):
        b.fit(X, CLASSES, 3, 30, seed=0, **options)
        _same(a, b)


def test_losses_and_numbers_that_differ_part_groups(groups: list[int]) -> None:
    losses = [fm.CrossEntropyLoss(label_smoothing=0.1 * (i // 2)) for i in range(4)]
    many = [_trainer(i, loss=lambda i=i: losses[i]) for i in range(4)]
    fm.fit_many(many, X, CLASSES, [2, 2, 2, 3], 30, seed=0)
    assert groups == [2]
    assert [len(one.history.loss) for one in many] == [2, 2, 2, 3]


@pytest.mark.parametrize("batch_size", [30, 16])
def test_a_network_whose_loss_is_nan_ends_alone(groups: list[int], batch_size: int) -> None:
    many, solo = _both(on_nonfinite="raise")
    for trainer in (many[2], solo[2]):
        trainer.model[0].weight[...] = np.nan
    with pytest.raises(FloatingPointError, match=r"trainers\[2\]: the loss became nan in epoch 0"):
        fm.fit_many(many, X, CLASSES, 5, batch_size, seed=range(N))
    assert groups == [N]
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        if i != 2:
            b.fit(X, CLASSES, 5, batch_size, seed=i)
            _same(a, b)
    assert len(many[2].history.loss) < 5


def test_a_warning_tells_of_those_that_are_no_numbers() -> None:
    many, _ = _both()
    many[1].model[0].weight[...] = np.nan
    with pytest.warns(RuntimeWarning, match=r"trainers\[1\]"):
        fm.fit_many(many, X, CLASSES, 3, 30)
    assert [len(one.history.loss) for one in many] == [3] * N


def test_ctrl_c_leaves_whole_steps(groups: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    many, solo = _both()
    polls = itertools.count()

    def check(self: Any, epoch: int = 0, loss: float = 0.0) -> None:
        if next(polls) >= 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module._Run, "_check", check)
    with pytest.raises(KeyboardInterrupt):
        fm.fit_many(many, X, CLASSES, 10**7, 30, seed=range(N))
    monkeypatch.undo()
    epochs = [len(one.history.loss) for one in many]
    assert len(set(epochs)) == 1
    assert 0 < epochs[0] < 10**7
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        steps = a.optimizer.state_dict()["state"][0]["step"]
        assert steps >= 3 * epochs[0]
        if steps == 3 * epochs[0] and epochs[0] < 5000:
            b.fit(X, CLASSES, epochs[0], 30, seed=i)
            for name, value in a.model.state_dict().items():
                np.testing.assert_allclose(value, b.model.state_dict()[name], rtol=1e-4, atol=1e-5)
        assert all(np.isfinite(value).all() for value in a.model.state_dict().values())
        a.fit(X, CLASSES, 1, 30)  # and it goes on


def test_an_error_names_those_that_were_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(self: Any, epoch: int | None = None, loss: float = 0.0) -> None:
        if epoch is not None:
            raise OSError("broken")

    monkeypatch.setattr(module._Run, "_check", check)
    with pytest.raises(OSError, match="broken") as raised:
        fm.fit_many(_both()[0], X, CLASSES, 10**6, 30)
    assert any("trainers[" in note for note in getattr(raised.value, "__notes__", ["trainers["]))


def test_more_than_there_is_memory_for_are_trained_in_parts(
    groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2 * len(X))
    many, solo = _both()
    fm.fit_many(many, X, CLASSES, 2, 30, seed=range(N))
    assert groups == [2, 2]
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        b.fit(X, CLASSES, 2, 30, seed=i)
        _same(a, b)


def test_wrong_arguments_name_the_trainer() -> None:
    many, _ = _both()
    with pytest.raises((TypeError, ValueError), match=r"trainers\[0\]: t"):
        fm.fit_many(many, X, CLASSES[:50], 2)
    many[3] = _trainer(3, loss=lambda: fm.MSELoss(reduction="none"))
    with pytest.raises((TypeError, ValueError), match=r"trainers\[3\]: loss_fn"):
        fm.fit_many(many, X, CLASSES, 2)
    assert all(len(one.history.loss) == 0 for one in many)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield
