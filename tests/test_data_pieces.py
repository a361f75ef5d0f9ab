"""Batches of Parquet files and Dask arrays, by part, in bounded memory."""

import tracemalloc

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.datasets import chunk_batches, parquet_batches

ROWS = 103


@pytest.fixture(params=["parquet", "dask", "array"])
def source(request, tmp_path):
    """What makes batches of the same rows, in pieces of 20; x: a row's number and its square."""
    number = np.arange(ROWS, dtype=np.float32)
    x = np.stack([number, number**2], axis=1)
    t = np.arange(ROWS) % 3
    w = number / 7
    if request.param == "parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        table = pa.table(
            {"number": x[:, 0], "name": ["-"] * ROWS, "square": x[:, 1], "t": t, "w": w}
        )
        parquet.write_table(table.slice(0, 70), tmp_path / "a.parquet", row_group_size=20)
        parquet.write_table(table.slice(70), tmp_path / "b.parquet", row_group_size=20)
        return lambda *args, weights=False, **options: parquet_batches(
            tmp_path, ["number", "square"], "t", *args,
            sample_weight="w" if weights else None, **options,
        )  # fmt: skip
    if request.param == "dask":
        da = pytest.importorskip("dask.array")
        x, t, w = (
            da.from_array(part, chunks=(size, *part.shape[1:]))
            for part, size in ((x, 20), (t, 50), (w, 7))
        )
    return lambda *args, weights=False, **options: chunk_batches(
        x, t, *args, sample_weight=w if weights else None, **options
    )


@pytest.mark.parametrize("batch_size", [1, 16, 20, 200])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_parts_in_order(source, batch_size, world_size):
    seen = []
    for rank in range(world_size):
        batches = source(batch_size, rank=rank, world_size=world_size)
        found = list(batches)
        assert len(batches) == len(found)
        assert [len(x) for x, _ in found[:-1]] == [batch_size] * (len(found) - 1)
        assert batches.rows == sum(len(x) for x, _ in found)
        assert abs(batches.rows - ROWS / world_size) < 1
        for x, t in found:
            assert x.dtype == np.float32
            assert np.array_equal(x[:, 1], x[:, 0] ** 2)
            assert np.array_equal(t, x[:, 0] % 3)
            seen += x[:, 0].tolist()
    assert seen == list(range(ROWS))


def test_weights(source):
    for x, t, w in source(16, weights=True):
        assert np.array_equal(w, x[:, 0] / 7)
        assert np.array_equal(t, x[:, 0] % 3)


def test_orders(source):
    batches = source(16, shuffle=True, seed=5, rank=1, world_size=2)
    passes = [np.concatenate([x[:, 0] for x, _ in batches]) for _ in range(2)]
    assert not np.array_equal(*passes)
    again = source(16, shuffle=True, seed=5, rank=1, world_size=2)
    assert batches.epoch == 2
    again.epoch = 1
    assert np.array_equal(np.concatenate([x[:, 0] for x, _ in again]), passes[1])
    for one in passes:
        assert sorted(one) == list(range(ROWS // 2, ROWS))
        assert not np.array_equal(one, sorted(one))


def test_fit(source):
    """The same bits as with the rows at hand."""
    losses = []
    x, t = (np.concatenate(parts) for parts in zip(*source(16), strict=True))
    for data in (source(16), fm.batches(x, t, 16)):
        model = fm.MLP([2, 8, 3], seed=0)
        scale = fm.Standardize.from_data([[0, 0], [100, 10000]])
        model = fm.Sequential(scale, *model)
        trainer = fm.Trainer(model, fm.Adam(model.parameters()), fm.CrossEntropyLoss())
        losses.append(trainer.fit(data, max_epoch=3, progress=False).loss)
    assert np.array_equal(*losses)


def test_wrong_arguments(source):
    with pytest.raises(ValueError, match="batch_size: expected an integer >= 1, got 0"):
        source(0)
    with pytest.raises(ValueError, match="rank: expected an integer from 0 to 1, got 2"):
        source(5, rank=2, world_size=2)
    with pytest.raises(ValueError, match="world_size: expected at most 103, the number of rows"):
        source(5, world_size=104)
    with pytest.raises(TypeError, match="shuffle: expected"):
        source(5, shuffle="yes")
    assert "103 rows" in repr(source(5))


def test_wrong_columns(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"width": [1.0, 2.0], "name": ["a", "b"], "t": [0, 1]}), path)
    for columns, target, message in (
        (
            ["with"],
            "t",
            "columns: expected columns of .*a.parquet, got 'with'; did you mean width?",
        ),
        (["width"], ["t", "u"], "target: expected columns of .*, got 'u'"),
        (["width", "name"], "t", "columns: expected columns of numbers, got 'name' of string"),
    ):
        with pytest.raises(ValueError, match=message):
            parquet_batches(path, columns, target, 1)
    with pytest.raises(TypeError, match="columns: expected a list of columns' names, got 'width'"):
        parquet_batches(path, "width", "t", 1)
    with pytest.raises(TypeError, match="sample_weight: expected a column's name, got 3"):
        parquet_batches(path, ["width"], "t", 1, sample_weight=3)
    with pytest.raises(TypeError, match="files: expected a path, or several, got 3"):
        parquet_batches(3, ["width"], "t", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"files: expected a folder with files \*.parquet"):
        parquet_batches(tmp_path / "empty", ["width"], "t", 1)
    ((x, t),) = parquet_batches([path], ["width"], ["t"], 9)
    assert x.shape == t.shape == (2, 1)
    with pytest.raises(FileNotFoundError):
        parquet_batches(tmp_path / "none", ["width"], "t", 1)


def test_wrong_arrays():
    with pytest.raises(TypeError, match="t: expected an array, got None"):
        chunk_batches(np.zeros((3, 2)), None, 1)
    with pytest.raises(ValueError, match=r"t: expected 3 rows, as x has, got shape \(2,\)"):
        chunk_batches(np.zeros((3, 2)), [0, 1], 1)
    da = pytest.importorskip("dask.array")
    x = da.from_array(np.arange(6.0), chunks=2)
    with pytest.raises(ValueError, match="x: expected rows whose number is known"):
        chunk_batches(x[x > 2], np.zeros(3), 1)


def test_memory_is_bounded(tmp_path):
    """80 MB of rows, of which some MB at a time are in memory."""
    pytest.importorskip("dask.array")
    import dask.array as da

    made = []

    def block(block_info=None):
        (first, last), (_, columns) = block_info[None]["array-location"]
        made.append(first)
        return np.full((last - first, columns), first, np.float32)

    kind = {"dtype": np.float32, "meta": np.zeros((0, 0), np.float32)}
    x = da.map_blocks(block, chunks=((2000,) * 50, (200,)), **kind)
    batches = chunk_batches(x, np.zeros(100_000), 300, rank=1, world_size=2)
    tracemalloc.start()
    rows = sum(len(x) for x, _ in batches)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 50_000
    assert sorted(made) == list(range(50_000, 100_000, 2000))
    assert peak < 12e6
