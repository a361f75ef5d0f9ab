"""`fm.batches`: the batches of a data set, pass after pass."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

ROWS = 103


@pytest.fixture
def data() -> tuple[Any, Any, Any]:
    random = np.random.default_rng(1)
    return (
        random.normal(size=(ROWS, 4)).astype("float32"),
        random.integers(0, 3, ROWS),
        random.random(ROWS) + 0.1,
    )


def together(batches: Any) -> list[Any]:
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def test_parts_in_order(data: Any) -> None:
    x, t, w = data
    batches = fm.batches(x, t, 10)
    assert len(batches) == 11 == len(list(batches))
    assert [len(own) for own, _ in batches] == [10] * 10 + [3]
    for _ in range(2):  # it can be passed through again
        for got, want in zip(together(batches), (x, t), strict=True):
            np.testing.assert_array_equal(got, want)
    batches = fm.batches(x, t, 10, sample_weight=w, drop_last=True)
    assert len(batches) == 10 == len(list(batches))
    for got, want in zip(together(batches), (x, t, w), strict=True):
        np.testing.assert_array_equal(got, want[:100])
    assert all(np.shares_memory(own, x) for own, *_ in batches)
    assert "103 rows" in repr(batches)
    assert len(fm.batches(x, t, ROWS)) == len(fm.batches(x, t, 1000)) == 1


def test_orders(data: Any) -> None:
    x, t, w = data
    batches = fm.batches(x, t, 10, shuffle=True, seed=3, sample_weight=w)
    first, second = together(batches), together(batches)
    assert not np.array_equal(first[0], second[0])
    for parts in (first, second):
        order = [int(np.argmax((x == row).all(axis=1))) for row in parts[0]]
        assert sorted(order) == list(range(ROWS))
        for part, whole in zip(parts, data, strict=True):
            np.testing.assert_array_equal(part, whole[order])
    again = fm.batches(x, t, 10, shuffle=True, seed=3)
    assert again.epoch == 0
    again.epoch = 1
    np.testing.assert_array_equal(together(again)[0], second[0])
    assert again.epoch == 2
    fm.manual_seed(5)
    one = together(fm.batches(x, t, 10, shuffle=True))
    other = together(fm.batches(x, t, 10, shuffle=True))
    fm.manual_seed(5)
    np.testing.assert_array_equal(one[0], together(fm.batches(x, t, 10, shuffle=True))[0])
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("batch_size", [10, ROWS, 1])
def test_the_order_is_that_of_fit(data: Any, batch_size: int) -> None:
    x, _, _ = data
    rows = np.arange(ROWS, dtype="float32")[:, None]
    seen: list[Any] = []

    def loss(y: Any, t: Any) -> Any:
        seen.append(t.copy())
        return 0.0, np.zeros_like(y)

    model = fm.MLP((4, 1))
    trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=0.1), fm.FunctionLoss(loss))
    trainer.fit(x, rows, 3, batch_size, seed=11)
    batches = fm.batches(x, rows, batch_size, shuffle=True, seed=11)
    want = [t for _ in range(3) for _, t in batches]
    assert len(seen) == len(want)
    for got, own in zip(seen, want, strict=True):
        np.testing.assert_array_equal(got, own)


@pytest.mark.parametrize("weighted", [False, True])
def test_fit_takes_them(data: Any, weighted: bool) -> None:
    x, t, w = data
    w = w if weighted else None
    losses, predictions = [], []
    for in_batches in (False, True):
        model = fm.MLP((4, 8, 3), seed=1)
        trainer = fm.Trainer(model, fm.optim.Adam(model.parameters(), lr=0.01))
        options: dict[str, Any] = {"max_epoch": 5, "seed": 4, "validation_data": (x, t)}
        if in_batches:
            batches = fm.batches(x, t, 10, shuffle=True, seed=4, sample_weight=w)
            options["validation_data"] = fm.batches(x, t, 50)
            history = trainer.fit(batches, **options)
            assert trainer.evaluate(fm.batches(x, t, 7))["loss"] == trainer.evaluate(x, t)["loss"]
        else:
            history = trainer.fit(x, t, batch_size=10, sample_weight=w, **options)
        losses.append([*history.loss, *history.validation_loss])
        predictions.append(model.predict(x))
    np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(*predictions, rtol=1e-4, atol=1e-5)


def test_data_of_any_kind(data: Any, torch: Any) -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    sparse = pytest.importorskip("scipy.sparse")
    x, t, _ = data
    kinds = [
        (pandas.DataFrame(x), pandas.Series(t)),
        (polars.DataFrame(x), polars.Series(t)),
        (torch.from_numpy(x), torch.from_numpy(t)),
        (x.tolist(), t.tolist()),
        (sparse.csr_array(x), t),
        (sparse.csc_matrix(x), t),
    ]
    for shuffle in (False, True):
        want = list(fm.batches(x, t, 10, shuffle, seed=1))
        for kind in kinds:
            for got, own in zip(fm.batches(*kind, 10, shuffle, seed=1), want, strict=True):
                assert all(type(part) is np.ndarray for part in got)
                np.testing.assert_allclose(got[0], own[0])
                np.testing.assert_array_equal(got[1], own[1])
    images = np.arange(5 * 2 * 3 * 3, dtype="uint8").reshape(5, 2, 3, 3)
    batch, _ = next(iter(fm.batches(images, range(5), 2)))
    assert batch.shape == (2, 2, 3, 3)
    assert batch.dtype == np.uint8


@pytest.mark.parametrize("shuffle", [False, True])
def test_files_larger_than_their_share_of_memory(tmp_path: Path, shuffle: bool) -> None:
    rows = 100_000
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (rows, 250))
    for first in range(0, rows, 10_000):
        x[first : first + 10_000] = np.arange(first, first + 10_000)[:, None]
    x.flush()
    del x
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches = fm.batches(mapped, np.arange(rows), 500, shuffle, seed=1)

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

    before, most = resident(), 0.0
    for own, t in batches:
        np.testing.assert_array_equal(own[:, 100], t)
        most = max(most, resident() - before)
    assert most < 30  # MiB, of 95
    with open(tmp_path / "x.npy", "r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(ValueError, match=r"x: .*become shorter"):
        list(batches)
