"""The data that the library makes, ships and reads."""

import gzip
import struct
import sys

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import datasets


def test_they_come_with_the_library():
    assert fm.datasets is datasets
    for name in ("xor", "circles", "moons", "spiral", "surface", "temperature", "boston"):
        x, t = getattr(datasets, name)()
        assert x.ndim == 2
        assert len(x) == len(t)
        assert np.isfinite(x).all()
        assert np.isfinite(t).all()


@pytest.mark.parametrize(("rows", "noise", "seed"), [(500, 0.2, 123), (11, 0.0, 0), (2, 1.0, 7)])
def test_moons_are_those_of_scikit_learn(rows, noise, seed):
    made = pytest.importorskip("sklearn.datasets").make_moons(rows, noise=noise, random_state=seed)
    x, t = datasets.moons(rows, noise=noise, seed=seed)
    np.testing.assert_array_equal(x, made[0])
    np.testing.assert_array_equal(t[:, 0], made[1])


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        # Franke's at (0, 0) of the unit square, by hand; the four minima of Himmelblau's are 0.
        ("franke", (-1, -1), 0.75 * np.exp(-2) + 0.75 * np.exp(-1 / 49 - 0.1) + 0.5 * np.exp(-14.5)
         - 0.2 * np.exp(-65)),
        ("himmelblau", (0.6, 0.4), 0.0),
        ("ripple", (0.0, 0.0), 1.0),
        ("saddle", (0.5, -0.5), -0.25),
    ],
)  # fmt: skip
def test_surfaces(name, at, value):
    x, y = (np.array([v], float) for v in at)
    np.testing.assert_allclose(datasets.SURFACES[name](x, y), value, atol=1e-12)
    points, t = datasets.surface(name, 50, seed=3)
    assert points.shape == (50, 2)
    assert t.shape == (50, 1)
    assert np.abs(points).max() <= 1
    np.testing.assert_array_equal(t[:, 0], datasets.SURFACES[name](*points.T))
    noisy = datasets.surface(name, 5000, noise=0.5, seed=3)[1]
    assert 0.45 < np.std(noisy - datasets.surface(name, 5000, seed=3)[1]) < 0.55


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.surface("peak"), "name: expected one of"),
        (lambda: datasets.surface(rows=0), "rows: expected an integer >= 1, got 0"),
        (lambda: datasets.surface(noise=-1), "noise: expected"),
        (lambda: datasets.moons(1), "rows: expected an integer >= 2, got 1"),
        (lambda: datasets.moons(noise=float("nan")), "noise: expected"),
        (lambda: datasets.circles(0), "rows: expected an integer >= 2, got 0"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# MNIST --------------------------------------------------------------------------------------------

IMAGES = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(folder, pack=lambda content: content, suffix=""):
    for name, labels in (("train", [3, 9]), ("t10k", [0, 1])):
        for what, array in (("images-idx3", IMAGES), ("labels-idx1", np.array(labels))):
            (folder / f"{name}-{what}-ubyte{suffix}").write_bytes(pack(idx(array)))


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path, packed):
    write_mnist(tmp_path, *((gzip.compress, ".gz") if packed else ()))
    data = datasets.mnist(tmp_path)
    np.testing.assert_array_equal(data.x_train, IMAGES.reshape(2, 784))
    assert data.y_train.tolist() == [3, 9]
    assert data.y_test.tolist() == [0, 1]
    assert data.x_test.dtype == np.uint8
    assert data.y_test.dtype == np.int64
    data.x_train[0] = 0  # one's own memory


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin as an idx file"),
        (b"\0\0\x08\x01" + idx(IMAGES)[4:], "does not begin as an idx file"),
        (b"\0\0\x0d\x03" + idx(IMAGES)[4:], "does not begin as an idx file"),
        (idx(IMAGES)[:-1], "should have values of shape"),
        (idx(IMAGES) + b"1", "should have values of shape"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "should have values of shape"),
        (idx(IMAGES[:0]), "should have values of shape"),
        (idx(IMAGES[:1]), "1 images, but labels"),
        (None, "has no train-images-idx3-ubyte"),
    ],
)
def test_mnist_damaged(tmp_path, content, message):
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(datasets.DataError, match=message):
        datasets.mnist(tmp_path)


def test_mnist_damaged_gzip(tmp_path):
    write_mnist(tmp_path, gzip.compress, ".gz")
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    for content in (path.read_bytes()[:-9], b"no gzip", path.read_bytes()[:-1] + b"x"):
        path.write_bytes(content)
        with pytest.raises(datasets.DataError, match="no whole file of gzip"):
            datasets.mnist(tmp_path)


# CSV ----------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    pytest.importorskip("pandas")
    path = tmp_path / "houses.csv"
    path.write_text("area,place,price\n1.5,north,10\n2.5,south,20\n,north,30\n")
    return path


def test_csv(table):
    x, t = datasets.csv(table)
    assert list(x.columns) == ["area", "place"]
    assert t.tolist() == [10, 20, 30]
    x, t = datasets.csv(table, "area")
    assert list(x.columns) == ["place", "price"]
    assert t.name == "area"
    x, t = datasets.csv(str(table), ["price", "area"], nrows=2)
    assert list(x.columns) == ["place"]
    assert t.shape == (2, 2)
    assert list(t.columns) == ["price", "area"]
    assert datasets.csv(table, 0)[1].name == "area"


def test_csv_wrong(table, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"target: expected names among \['area'.*got \['cost'\]"):
        datasets.csv(table, "cost")
    with pytest.raises(ValueError, match="target: expected an integer >= -3, got -4"):
        datasets.csv(table, -4)
    with pytest.raises(TypeError, match="target: expected an integer"):
        datasets.csv(table, 1.5)
    with pytest.raises(ValueError, match="expected columns beside"):
        datasets.csv(table, ["area", "place", "price"])
    with pytest.raises(ValueError, match="path: expected a file, got the address"):
        datasets.csv("https://example.org/a.csv")
    with pytest.raises(FileNotFoundError):
        datasets.csv(tmp_path / "none.csv")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"fastmlp\[pandas\]"):
        datasets.csv(table)
