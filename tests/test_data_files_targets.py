"""Targets and weights in files, and evaluation by parts: the bits of arrays in memory."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from subprocesses import output_of
from test_data_narrow import same, trained

# More than 16 MiB each, from where on a file is read by the batch.
MANY = 2_150_000  # of targets of eight bytes
ROWS, WIDTH = 22_000, 200  # of targets in many columns of four


class Kept:
    """The same numbers in memory and in a file."""

    def __init__(self, path: Path, values: Any) -> None:
        np.save(path, values)
        self.path, self.values = path, values

    def mapped(self, mode: Any = "r") -> Any:
        array = np.load(self.path, mmap_mode=mode)
        assert array.nbytes > 1 << 24
        return array


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kept]:
    """Tables of many rows."""
    folder, random = tmp_path_factory.mktemp("long"), np.random.default_rng(1)
    values = {
        "x": random.normal(size=(MANY, 2)).astype("float32"),
        "classes": random.integers(0, 3, MANY),
        "weights": random.integers(0, 3, MANY) / 2,
        "numbers": random.normal(size=MANY),
    }
    return {name: Kept(folder / f"{name}.npy", array) for name, array in values.items()}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    values = np.random.default_rng(2).random((ROWS, WIDTH)).astype("float32")
    return Kept(tmp_path_factory.mktemp("wide") / "t.npy", values)


LOSSES = {
    "plain": fm.CrossEntropyLoss(),
    "ignoring": fm.CrossEntropyLoss(ignore_index=1),
    "weighing": fm.CrossEntropyLoss(weight=[1, 2, 3], ignore_index=2),
    "summed": fm.CrossEntropyLoss(reduction="sum"),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"shuffle": False},
    {"batch_size": 30_000, "accumulate": 3},
    {"callbacks": [lambda info: None]},
    {"validation_split": 0.3, "metrics": ["accuracy"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_on_classes_and_weights(
    weighted: bool, options: dict[str, Any], long: dict[str, Kept]
) -> None:
    rows = slice(None, 2_120_000) if "shuffle" in options else slice(None)
    settings: dict[str, Any] = {"max_epoch": 1, "batch_size": 20_000} | options
    for name, loss_fn in LOSSES.items():  # one with the options, the others without
        if (name == "ignoring") != bool(options):
            continue
        fits = [
            trained(
                x[rows],
                t[rows],
                (2, 4, 3),
                loss_fn=loss_fn,
                sample_weight=w[rows] if weighted else None,
                **settings,
            )
            for x, t, w in (
                [long[part].mapped() for part in ("x", "classes", "weights")],
                [long[part].values for part in ("x", "classes", "weights")],
                [long["x"].values, long["classes"].mapped(), long["weights"].values],
                [long["x"].mapped(), long["classes"].values, long["weights"].mapped()],
            )
        ]
        for other in fits[1:]:
            same(fits[0], other)


@pytest.mark.parametrize("strategy", ["lanes", "dense"])
@pytest.mark.parametrize(
    ("loss_fn", "outputs"),
    [(fm.MSELoss(), WIDTH), (fm.BCEWithLogitsLoss(), WIDTH), (fm.GaussianNLLLoss(), 2 * WIDTH)],
    ids=repr,
)
def test_fit_on_many_columns(
    strategy: str, loss_fn: Any, outputs: int, wide: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTMLP_STRATEGY", strategy)
    x = np.random.default_rng(3).normal(size=(ROWS, 3)).astype("float32")
    options: dict[str, Any] = {
        "max_epoch": 2,
        "loss_fn": loss_fn,
        "validation_split": 0.03,
        "metrics": ["r2", "mae", "rmse"],
        "sample_weight": np.arange(ROWS) % 3,
    }
    sizes = (3, 4, outputs)
    for shuffle in (True, False):
        same(
            trained(x, wide.mapped(), sizes, shuffle=shuffle, **options),
            trained(x, wide.values, sizes, shuffle=shuffle, **options),
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fit_on_shared_targets(dtype: str, long: dict[str, Kept]) -> None:
    options: dict[str, Any] = {
        "max_epoch": 1,
        "batch_size": 20_000,
        "loss_fn": fm.QuantileLoss([0.1, 0.5, 0.9]),
    }
    x, t = long["x"].values, long["numbers"]
    same(
        trained(x, t.mapped(), (2, 4, 3), dtype, **options),
        trained(x, t.values, (2, 4, 3), dtype, **options),
    )


def test_other_places_and_types(long: dict[str, Kept], tmp_path: Path) -> None:
    wide = np.random.default_rng(5).integers(0, 3, (MANY, 3)).astype("int32")
    np.save(tmp_path / "t.npy", wide)
    t, x = np.load(tmp_path / "t.npy", mmap_mode="r"), long["x"].values
    options: dict[str, Any] = {"max_epoch": 1, "batch_size": 20_000}
    column = t[::-1, 1]  # every third number, backwards
    assert column.nbytes < 1 << 24 < t[:, :2].nbytes
    same(
        trained(x, column, (2, 4, 3), **options),
        trained(x, wide[::-1, 1], (2, 4, 3), **options),
    )
    same(
        trained(x, t[::-1, :2], (2, 4, 2), loss_fn=fm.MSELoss(), **options),
        trained(x, wide[::-1, :2], (2, 4, 2), loss_fn=fm.MSELoss(), **options),
    )


@pytest.mark.parametrize("metrics", [(), ("accuracy", "top_2_accuracy")])
def test_evaluate_classes(metrics: tuple[str, ...], long: dict[str, Kept]) -> None:
    model = fm.MLP((2, 4, 3), seed=1)
    for loss_fn in LOSSES.values():
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), loss_fn)
        for weights in (None, long["weights"]):
            want = trainer.evaluate(
                long["x"].values,
                long["classes"].values,
                metrics,
                None if weights is None else weights.values,
            )
            for x, t in (
                (long["x"].mapped(), long["classes"].mapped()),
                (long["x"].mapped(), long["classes"].values),
                (long["x"].values, long["classes"].mapped()),
            ):
                w = None if weights is None else weights.mapped()
                assert trainer.evaluate(x, t, metrics, w) == want
            assert set(want) == {"loss", *metrics}


@pytest.mark.parametrize(
    ("loss_fn", "outputs"),
    [
        (fm.MSELoss(), WIDTH),
        (fm.L1Loss(), WIDTH),
        (fm.BCELoss(), WIDTH),
        (fm.GaussianNLLLoss(), 2 * WIDTH),
        (fm.FunctionLoss(lambda y, t: ((y - t) ** 2).mean()), WIDTH),
    ],
    ids=repr,
)
def test_evaluate_numbers(loss_fn: Any, outputs: int, wide: Kept) -> None:
    x = np.random.default_rng(3).normal(size=(ROWS, 3)).astype("float32")
    model = fm.Sequential(fm.MLP((3, 4, outputs), seed=1), fm.Sigmoid())
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), loss_fn)
    own = lambda y, t: float(np.abs(y[:, :WIDTH] - t).max())  # noqa: E731
    own.__name__ = "own"
    for metrics in ((), ("r2", "mae", "mse", "rmse"), ("r2", own)):
        want = trainer.evaluate(x, wide.values, metrics)
        assert trainer.evaluate(x, wide.mapped(), metrics) == want


def test_evaluate_sparse_tables() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.random(4000, 300, density=0.05, format="csr", random_state=0, dtype="float32")
    t = np.arange(4000) % 3
    model = fm.MLP((300, 4, 3), seed=1)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))
    assert trainer.evaluate(x, t, "accuracy") == trainer.evaluate(x.toarray(), t, "accuracy")


def test_what_is_wrong_is_found(long: dict[str, Kept], wide: Kept, tmp_path: Path) -> None:
    def changed(kept: Kept, place: Any, value: Any) -> Any:
        array = kept.values.copy()
        array[place] = value
        return Kept(tmp_path / f"{len(list(tmp_path.iterdir()))}.npy", array).mapped()

    x = long["x"].values
    for bad in (-1, 3):
        t = changed(long["classes"], 2_100_123, bad)
        with pytest.raises(ValueError, match=rf"t: expected class.* got {bad} in row 2100123"):
            trained(x, t, (2, 4, 3))
    w = changed(long["weights"], 2_100_123, -1)
    with pytest.raises(ValueError, match=r"sample_weight: .*at least 0, got -1.* in row 2100123"):
        trained(x, long["classes"].values, (2, 4, 3), sample_weight=w)
    w = Kept(tmp_path / "weights.npy", np.zeros(MANY)).mapped()
    with pytest.raises(ValueError, match=r"sample_weight: .*finite sum above 0"):
        trained(x, long["classes"].values, (2, 4, 3), sample_weight=w)
    with pytest.raises(ValueError, match=r"sample_weight: expected shape \(2150000,\)"):
        trained(x, long["classes"].values, (2, 4, 3), sample_weight=w[1:])
    t = Kept(tmp_path / "t.npy", np.zeros(MANY, int)).mapped()
    with pytest.raises(ValueError, match="ignored or have weight 0"):
        trained(x, t, (2, 4, 3), loss_fn=fm.CrossEntropyLoss(ignore_index=0))
    few = np.zeros((ROWS, 3), "float32")
    for value, message in ((np.nan, "NaN"), (np.inf, "infinity")):
        t = changed(wide, (21_999, 7), value)
        with pytest.raises(ValueError, match=rf"t: .*{message} in row 21999, column 7"):
            trained(few, t, (3, 4, WIDTH), loss_fn=fm.MSELoss())
        options: dict[str, Any] = {"loss_fn": fm.MSELoss(), "validation_data": (few, t)}
        with pytest.raises(ValueError, match=r"validation_data t: .*row 21999, column 7"):
            trained(few[:9], t[:9], (3, 4, WIDTH), **options)
    with pytest.warns(RuntimeWarning, match="loss became"):
        trained(few, t, (3, 4, WIDTH), loss_fn=fm.MSELoss(), max_epoch=1, allow_nonfinite=True)
    t = changed(wide, (21_999, 7), 1.5)
    with pytest.raises(ValueError, match=r"t: expected values from 0 to 1, got .* in row 21999"):
        trained(few, t, (3, 4, WIDTH), loss_fn=fm.BCEWithLogitsLoss())


def test_a_file_that_changes_meanwhile(long: dict[str, Kept], wide: Kept, tmp_path: Path) -> None:
    """The whole steps before stand; no class leads anywhere else."""
    t = Kept(tmp_path / "t.npy", long["classes"].values).mapped()

    def spoil(info: Any) -> None:
        np.load(tmp_path / "t.npy", mmap_mode="r+")[1_500_000:] = 1 << 40

    with pytest.raises(RuntimeError, match="t: its classes have been changed while they were"):
        trained(long["x"].values, t, (2, 4, 3), callbacks=spoil, batch_size=20_000)

    t = Kept(tmp_path / "u.npy", wide.values).mapped()
    seen: list[Any] = []

    def shorten(info: Any) -> None:
        seen.append(info.loss)
        os.truncate(tmp_path / "u.npy", 10_000_000)

    x = np.zeros((ROWS, 3), "float32")
    with pytest.raises(RuntimeError, match="t: its file has become shorter since"):
        trained(x, t, (3, 4, WIDTH), loss_fn=fm.MSELoss(), callbacks=shorten)
    assert len(seen) == 1


def test_files_are_closed(long: dict[str, Kept]) -> None:
    x, t, w = (long[name].mapped() for name in ("x", "classes", "weights"))
    before = len(os.listdir("/proc/self/fd"))
    trained(x, t, (2, 4, 3), max_epoch=1, batch_size=20_000, sample_weight=w)
    with pytest.raises(ValueError, match="t: expected shape"):
        trained(x, t[1:], (2, 4, 3), sample_weight=w)
    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Inputs and targets of 200 MB each; what of the files is in the process's memory counts."""
    rows = 65_000
    for name in ("x", "t"):
        array = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", "float32", (rows, 784))
        for first in range(0, rows, 10_000):
            own = array[first : first + 10_000]
            own[:] = np.random.default_rng(first).random(own.shape)
        del array
    out = output_of(
        f"""
        import resource
        import numpy as np
        import fastmlp as fm

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        x, t = (np.load(f"{tmp_path}/{{name}}.npy", mmap_mode="r") for name in "xt")
        model = fm.MLP((784, 4, 784))
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-3), fm.MSELoss())
        few = np.zeros((1_000, 784), "float32")
        metrics = ["r2", "mae"]
        trainer.fit(few, few, 1, 64, validation_split=0.2, metrics=metrics)
        trainer.evaluate(few, few, metrics)
        model.predict(few)
        before = peak()
        trainer.fit(x, t, 1, 64, validation_split=0.4, metrics=metrics)
        trainer.fit(x, t, 1, 64, shuffle=False, callbacks=lambda info: None)
        trainer.evaluate(x, t, metrics)
        narrow = fm.MLP((784, 4, 1))
        narrow.predict(x)
        print(x.nbytes / 2**20, peak() - before)
        """
    )
    size, grown = map(float, out.split())
    assert size > 190
    assert grown < 60
