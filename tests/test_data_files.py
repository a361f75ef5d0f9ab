"""Files that NumPy maps into memory: read by the batch, whatever happens to them meanwhile."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from subprocesses import output_of
from test_data_narrow import classes, same, trained

# More than 16 MiB, from where on a file is read by the batch.
ROWS, FEATURES = 22_000, 200
SIZES = (FEATURES, 4, 3)


@pytest.fixture(scope="module")
def numbers() -> Any:
    return np.random.default_rng(3).normal(size=(ROWS, FEATURES)).astype("float32")


@pytest.fixture
def path(tmp_path: Path, numbers: Any) -> Path:
    np.save(tmp_path / "x.npy", numbers)
    return tmp_path / "x.npy"


def mapped(path: Path, mode: Any = "r") -> Any:
    return np.load(path, mmap_mode=mode)


@pytest.mark.parametrize("strategy", ["lanes", "dense"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False},
        {"batch_size": 20_000},
        {"validation_split": 0.2, "metrics": ["accuracy"]},
        {"callbacks": [lambda info: None]},
    ],
    ids=str,
)
def test_fit_has_the_same_bits(
    strategy: str, options: dict[str, Any], path: Path, numbers: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("FASTMLP_STRATEGY", strategy)
    t, options = classes(ROWS), {"max_epoch": 2} | options
    same(trained(mapped(path), t, SIZES, **options), trained(numbers, t, SIZES, **options))


def test_parts(path: Path, numbers: Any) -> None:
    x, t = mapped(path, "r+"), classes(ROWS)
    for part in (
        slice(11, None),
        slice(None, None, -1),
        (slice(10, 21_990), slice(3, 199)),
        (slice(None, 21_950), slice(None)),
    ):
        own = numbers[part]
        sizes = (own.shape[1], 4, 3)
        assert x[part].nbytes > 1 << 24
        same(
            trained(x[part], t[: len(own)], sizes, max_epoch=1),
            trained(own, t[: len(own)], sizes, max_epoch=1),
        )
    plain = np.asarray(x)[5:]
    same(trained(plain, t[5:], SIZES, max_epoch=1), trained(numbers[5:], t[5:], SIZES, max_epoch=1))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64", "int32", ">f4"])
def test_other_numbers(dtype: str, tmp_path: Path) -> None:
    rows = (1 << 24) // (FEATURES * np.dtype(dtype).itemsize) + 10
    own = np.random.default_rng(4).integers(0, 100, (rows, FEATURES)).astype(dtype)
    np.save(tmp_path / "x.npy", own)
    x, t = mapped(tmp_path / "x.npy"), classes(rows)
    options: dict[str, Any] = {"max_epoch": 1, "batch_size": 64}
    same(trained(x, t, SIZES, **options), trained(own.astype("float32"), t, SIZES, **options))


def test_predict_and_evaluate(path: Path, numbers: Any) -> None:
    x, t = mapped(path), classes(ROWS)
    model = fm.MLP(SIZES, seed=1)
    np.testing.assert_array_equal(model.predict(x), model.predict(numbers))
    trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=0.1))
    assert trainer.evaluate(x, t, "accuracy") == trainer.evaluate(numbers, t, "accuracy")
    assert fm.Trainer(model, trainer.optimizer, fm.MSELoss()).evaluate(
        x, np.zeros((ROWS, 3))
    ) == fm.Trainer(model, trainer.optimizer, fm.MSELoss()).evaluate(numbers, np.zeros((ROWS, 3)))


def test_images_in_a_file(tmp_path: Path) -> None:
    images = np.random.default_rng(5).integers(0, 255, (6000, 3, 31, 31), "uint8")
    np.save(tmp_path / "x.npy", images)
    x, t = mapped(tmp_path / "x.npy"), classes(len(images))
    assert x.nbytes > 1 << 24
    parts = [fm.Sequential(fm.Flatten(), fm.Linear(3 * 31 * 31, 3)) for _ in range(2)]
    np.testing.assert_array_equal(parts[0].predict(x), parts[0].predict(images))
    ensemble = fm.Ensemble(parts)
    np.testing.assert_allclose(ensemble.predict(x), ensemble.predict(images), rtol=1e-6)
    trainer = fm.Trainer(parts[0], fm.optim.SGD(parts[0].parameters(), lr=1e-5))
    assert trainer.evaluate(x, t, "accuracy") == trainer.evaluate(images, t, "accuracy")


def test_outputs_are_not_written_where_inputs_are_read(path: Path) -> None:
    x = mapped(path, "r+")
    square = fm.MLP((FEATURES, FEATURES))
    with pytest.raises(ValueError, match=r"out: expected memory of its own.*overlaps x"):
        square.predict(x, out=x)
    out = np.empty_like(x)
    np.testing.assert_array_equal(square.predict(x, out=out), square.predict(np.array(x)))


def test_changes_that_are_in_memory_alone_count(path: Path, numbers: Any) -> None:
    x, t = mapped(path, "c"), classes(ROWS)
    x[17] = 1
    own = numbers.copy()
    own[17] = 1
    same(trained(x, t, SIZES, max_epoch=1), trained(own, t, SIZES, max_epoch=1))
    x = mapped(path, "r+")
    x[17] = 1  # and those that will be in the file, too
    same(trained(x, t, SIZES, max_epoch=1), trained(own, t, SIZES, max_epoch=1))


def test_a_file_that_is_gone_or_another_one(path: Path, numbers: Any) -> None:
    x, t = mapped(path), classes(ROWS)
    want = trained(numbers, t, SIZES, max_epoch=1)
    other = numbers + 1
    np.save(path.with_name("other.npy"), other)
    os.replace(path.with_name("other.npy"), path)
    same(trained(x, t, SIZES, max_epoch=1), want)
    path.unlink()
    same(trained(x, t, SIZES, max_epoch=1), want)


def test_files_are_closed(path: Path) -> None:
    x, t = mapped(path), classes(ROWS)
    before = len(os.listdir("/proc/self/fd"))
    trained(x, t, SIZES, max_epoch=1, validation_data=(x, t))
    with pytest.raises(ValueError, match="t: expected shape"):
        trained(x, t[1:], SIZES)
    fm.MLP(SIZES).predict(x)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_not_finite_is_found(path: Path) -> None:
    x, t = mapped(path, "r+"), classes(ROWS)
    x[20_123, 7] = np.nan
    with pytest.raises(ValueError, match=r"x: expected finite.*NaN in row 20123, column 7"):
        trained(x, t, SIZES)
    with pytest.warns(RuntimeWarning, match="nan"):
        trained(x, t, SIZES, allow_nonfinite=True)


def test_a_file_that_is_too_short_already(path: Path) -> None:
    x, t = mapped(path), classes(ROWS)
    os.truncate(path, 10_000_000)
    for call in (lambda: trained(x, t, SIZES), lambda: fm.MLP(SIZES).predict(x)):
        with pytest.raises(ValueError, match=r"x: .*become shorter: 10000000 bytes"):
            call()
    with pytest.raises(ValueError, match=r"x: .*become shorter"):
        fm.MLP(SIZES).predict(x[:10])  # small parts are looked at, too
    with pytest.raises(ValueError, match=r"validation_data x: .*become shorter"):
        trained(np.zeros((5, FEATURES)), t[:5], SIZES, validation_data=(x, t))


def test_a_file_that_becomes_shorter_meanwhile() -> None:
    """In a process of its own, which a mapped page beyond the file's end would end."""
    out = output_of(
        """
        import os, tempfile
        import numpy as np
        import fastmlp as fm

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.npy")
            np.save(path, np.ones((22_000, 200), "float32"))
            x, t = np.load(path, mmap_mode="r"), np.arange(22_000) % 3
            model = fm.MLP((200, 4, 3))
            trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=1e-3))
            seen = []

            def shorten(info):
                seen.extend(np.asarray(p).copy() for p in model.parameters())
                os.truncate(path, 1_000_000)

            try:
                trainer.fit(x, t, 3, 22_000, callbacks=shorten, shuffle=True)
                trainer.fit(x, t, 3, 64)
            except (RuntimeError, ValueError) as error:
                print(error)
            seen.clear()
            np.save(path, np.ones((22_000, 200), "float32"))
            x = np.load(path, mmap_mode="r")
            try:
                trainer.fit(x, t, 3, 100, callbacks=shorten)
            except RuntimeError as error:
                print(error)
            for value, parameter in zip(seen, model.parameters(), strict=True):
                assert np.isfinite(parameter).all()
            assert len(trainer.history.loss) >= 1
        """
    )
    first, second = out.splitlines()
    assert "shorter" in first
    assert second == "x: its file has become shorter since the array was made"


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """A file of 400 MB; what of it is in the process's memory counts, too."""
    rows = 130_000
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (rows, 784))
    for first in range(0, rows, 10_000):
        x[first : first + 10_000] = np.random.default_rng(first).random((10_000, 784))
    del x
    out = output_of(
        f"""
        import resource
        import numpy as np
        import fastmlp as fm

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        x = np.load({str(tmp_path / "x.npy")!r}, mmap_mode="r")
        t = np.arange(len(x)) % 10
        model = fm.MLP((784, 4, 10))
        trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=1e-3))
        trainer.fit(np.zeros((1_000, 784), "float32"), t[:1_000], 1, 64)
        before = peak()
        trainer.fit(x, t, 1, 64, validation_split=0.2, metrics="accuracy")
        trainer.fit(x, t, 1, 64, shuffle=False, callbacks=lambda info: None)
        model.predict(x)
        trainer.evaluate(x, t)
        print(x.nbytes / 2**20, peak() - before)
        """
    )
    size, grown = map(float, out.split())
    assert size > 380
    assert grown < 50
