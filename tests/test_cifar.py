"""Reading CIFAR-10's archives, and refusing pickles that hold more than plain data."""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmlp.datasets import DataError, Split, cifar, safe_pickle

LABELS = [0, 2, 9, 2]  # airplane, bird, truck, bird
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def _images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, cifar.PIXELS), dtype=np.uint8)


def _string(text: bytes) -> bytes:
    """Encode a str of Python 2."""
    if len(text) < 256:
        return b"U" + bytes([len(text)]) + text
    return b"T" + struct.pack("<i", len(text)) + text


def _python2_pickle(images: np.ndarray, labels: list[int]) -> bytes:
    """Return a batch as the archive has it, written by Python 2 with protocol 2."""
    rows, columns = (b"M" + struct.pack("<H", size) for size in images.shape)
    dtype = b"cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNN" + 2 * (
        b"J" + struct.pack("<i", -1)
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87R"
        b"(K\x01" + rows + columns + b"\x86" + dtype + b"K\x00tb\x89"
    )
    return b"".join(
        [
            b"\x80\x02}q\x01(",
            _string(b"data"),
            array + _string(images.tobytes()) + b"tb",
            _string(b"labels"),
            b"]q\x06(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e",
            _string(b"batch_label"),
            _string(b"training batch 1 of 5"),
            b"u.",
        ]
    )


def _python3_pickle(protocol: int) -> Callable[[np.ndarray, list[int]], bytes]:
    return lambda images, labels: pickle.dumps({b"data": images, b"labels": labels}, protocol)


def _binary(images: np.ndarray, labels: list[int]) -> bytes:
    return np.column_stack([np.array(labels, dtype=np.uint8), images]).tobytes()


WRITERS = {"python 2": _python2_pickle, "bin": _binary}
WRITERS |= {f"python 3, protocol {protocol}": _python3_pickle(protocol) for protocol in range(2, 6)}


def _write(folder: Path, write: Callable[[np.ndarray, list[int]], bytes], suffix: str = "") -> None:
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        (folder / (name + suffix)).write_bytes(write(_images(seed), LABELS))


def _check(data: Split) -> None:
    kept = [0, 1, 3]
    np.testing.assert_array_equal(
        data.x_train, np.vstack([_images(seed)[kept] for seed in range(5)])
    )
    np.testing.assert_array_equal(data.x_test, _images(5)[kept])
    assert data.y_train.tolist() == 5 * [0, 1, 1]
    assert data.y_test.tolist() == [0, 1, 1]
    assert data.x_train.dtype == np.uint8


@pytest.mark.parametrize("format_name", WRITERS)
def test_reads_every_format(tmp_path: Path, format_name: str) -> None:
    suffix = ".bin" if format_name == "bin" else ""
    folder = tmp_path / ("cifar-10-batches-bin" if suffix else "cifar-10-batches-py")
    _write(folder, WRITERS[format_name], suffix)
    _check(cifar.cifar2(folder))
    _check(cifar.cifar2(tmp_path))
    whole = cifar.cifar10(tmp_path)
    np.testing.assert_array_equal(whole.x_train, np.vstack([_images(seed) for seed in range(5)]))
    assert whole.y_train.tolist() == 5 * LABELS
    np.testing.assert_array_equal(whole.x_test, _images(5))


def test_reads_npz(tmp_path: Path) -> None:
    path = tmp_path / "cifar2.npz"
    y = np.array([0, 1, 0, 1], dtype=np.uint8)
    np.savez(path, x_train=_images(0), y_train=y, x_test=_images(1), y_test=y)
    data = cifar.cifar2(path)
    np.testing.assert_array_equal(data.x_test, _images(1))
    assert data.y_train.tolist() == [0, 1, 0, 1]


def test_normalise() -> None:
    x = np.zeros((2, cifar.PIXELS), dtype=np.uint8)
    x[1, 1024:2048] = 255  # all of the second channel
    y = cifar.normalise(x)
    assert y.dtype == np.float32
    assert y.shape == x.shape
    assert y[0, 0] == pytest.approx((0 - 0.4915) / 0.2470)
    assert y[1, 1024] == pytest.approx((1 - 0.4823) / 0.2435)
    assert y[1, 2048] == pytest.approx((0 - 0.4468) / 0.2616)


def _npz(path: Path, **changes: Any) -> None:
    y = np.array([0, 1, 0, 1])
    arrays = {"x_train": _images(0), "y_train": y, "x_test": _images(1), "y_test": y} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"y_test": None},
        {"x_train": _images(0).astype(np.float32)},
        {"x_train": _images(0)[:, :100]},
        {"y_train": np.array([0, 1, 2, 1])},
        {"y_train": np.array([0.0, 1.0, 0.0, 1.0])},
        {"y_test": np.array([0, 1])},
        {"y_test": np.array([0, 1, 1, None])},  # would have to be unpickled
    ],
    ids=["missing", "float", "narrow", "label 2", "float labels", "short", "object"],
)
def test_refuses_a_wrong_npz(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "wrong.npz"
    _npz(path, **changes)
    with pytest.raises(DataError, match=r"wrong\.npz"):
        cifar.cifar2(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut short", pickle.dumps([1])])
def test_refuses_a_file_that_is_no_npz(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"other\.npz"):
        cifar.cifar2(path)


def test_refuses_a_single_array(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", _images(0))
    with pytest.raises(DataError, match=r"array\.npy"):
        cifar.cifar2(tmp_path / "array.npy")


def test_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cifar-10-batches-bin"):
        cifar.cifar2(tmp_path)
    with pytest.raises(DataError, match="cifar-10-batches-bin"):
        cifar.cifar2(tmp_path / "absent")


def test_names_missing_batches(tmp_path: Path) -> None:
    folder = tmp_path / "cifar"
    _write(folder, _python2_pickle)
    (folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_3$"):
        cifar.cifar2(folder)


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".bin", b"", "records of 3073 bytes"),
        (".bin", bytes(3072), "records of 3073 bytes"),
        (".bin", _binary(_images(0), [0, 2, 10, 2]), "outside 0 to 9"),
        ("", b"", "pickle"),
        ("", pickle.dumps([1, 2]), "no dict"),
        ("", pickle.dumps({b"data": _images(0)}), "labels"),
        ("", pickle.dumps({b"data": _images(0), b"labels": [0, 2, "x", 2]}), "labels"),
        ("", pickle.dumps({b"data": _images(0), b"labels": [0, 2, 1 << 70, 2]}), "outside 0 to 9"),
        ("", pickle.dumps({b"data": _images(0), b"labels": [0, 2]}), "4 images"),
        ("", pickle.dumps({b"data": b"bytes", b"labels": LABELS}), "no uint8 images"),
        (
            "",
            pickle.dumps({b"data": _images(0)[:, :9].copy(), b"labels": LABELS}),
            "no uint8 images",
        ),
        ("", pickle.dumps({b"data": _images(0) * 1.0, b"labels": LABELS}), "uint8"),
        ("", _python2_pickle(_images(0), LABELS)[:-200], "pickle"),
    ],
)
def test_refuses_a_damaged_batch(tmp_path: Path, suffix: str, content: bytes, message: str) -> None:
    folder = tmp_path / "cifar"
    _write(folder, _binary if suffix else _python2_pickle, suffix)
    (folder / f"data_batch_2{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        cifar.cifar2(folder)
    assert "data_batch_2" in str(caught.value)


def test_refuses_an_archive_without_the_two_classes(tmp_path: Path) -> None:
    folder = tmp_path / "cifar"
    _write(folder, lambda images, labels: _binary(images, [1, 3, 9, 9]), ".bin")
    with pytest.raises(DataError, match="no airplanes"):
        cifar.cifar2(folder)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_data_come_through(protocol: int, order: str) -> None:
    array = np.array(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)  # type: ignore[call-overload]
    plain = {b"a": [1, -2, 1 << 40, True, None, "text", b"bytes"], "b": {"c": (1, 2)}, "d": array}
    loaded = safe_pickle.loads(pickle.dumps(plain, protocol))
    np.testing.assert_array_equal(loaded.pop("d"), plain.pop("d"))
    assert loaded == plain


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class _Plain:
    """An instance of any class is more than plain data."""


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


_PROTOCOL = b"\x80\x02"
_ARRAY = _global("numpy._core.multiarray", "_reconstruct") + b")R"
HOSTILE = {
    "system": pickle.dumps(_Call(os.system, "touch hostile")),
    "system, protocol 0": pickle.dumps(_Call(os.system, "touch hostile"), 0),
    "in the middle": pickle.dumps({b"data": [_Call(os.system, "touch hostile")]}, 2),
    "eval": pickle.dumps(_Call(eval, "open('hostile', 'w')")),
    "getattr": pickle.dumps(_Call(getattr, "text", "upper")),
    "instance": pickle.dumps(_Plain()),
    "numpy function": _PROTOCOL + _global("numpy", "load") + b"U\x01x\x85R.",
    "attribute path": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
    "other codec": _PROTOCOL
    + _global("_codecs", "encode")
    + b"X\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.",
    "object array": pickle.dumps(np.array([_Call(os.system, "touch hostile")], dtype=object)),
    "float array": pickle.dumps(np.zeros(3)),
    "structured array": pickle.dumps(np.zeros(3, dtype=[("a", "u1")])),
    "shape too large": pickle.dumps(np.zeros(7, np.uint8), 2).replace(b"K\x07\x85", b"K\x09\x85"),
    "negative shape": _PROTOCOL + _ARRAY + b"(K\x01J\xff\xff\xff\xff\x85NK\x00U\x00tb.",
    "half an array": _PROTOCOL + _ARRAY + b".",
    "half an array in a dict": _PROTOCOL + b"}U\x01a" + _ARRAY + b"s.",
    "bare global": _PROTOCOL + _global("numpy", "dtype") + b".",
    "state of a global": _PROTOCOL + _global("numpy", "dtype") + b"}U\x01aU\x01bsb.",
    "attributes of a global": _PROTOCOL + _global("numpy", "dtype") + b"N}U\x05_makeU\x01bs\x86b.",
    "extension registry": _PROTOCOL + b"\x82\x01.",
    "persistent id": _PROTOCOL + b"U\x01aQ.",
    "instance opcode": b"(U\x01aios\nsystem\n.",
    "memo bomb": _PROTOCOL + b"Nr\xff\xff\xff\x7f.",
    "length bomb": _PROTOCOL + b"T\xff\xff\xff\x7fa.",
    "length bomb, protocol 5": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x00a.",
    "deep tuple as a key": _PROTOCOL + b"}N" + 100_000 * b"\x85" + b"Ns.",
    "unhashable key": _PROTOCOL + b"}]Ns.",
    "stack underflow": _PROTOCOL + b"s.",
    "unknown opcode": _PROTOCOL + b"\xff.",
    "no end": _PROTOCOL + b"}",
    "empty": b"",
    "text": b"no pickle",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refuses_hostile_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(safe_pickle.UnsafePickleError):
        safe_pickle.loads(HOSTILE[name])
    assert not list(tmp_path.iterdir())


def test_a_hostile_pickle_leaves_the_reader_as_it_was() -> None:
    plain = pickle.dumps({"a": np.arange(3, dtype=np.uint8)}, 2)
    for content in HOSTILE.values():
        with pytest.raises(safe_pickle.UnsafePickleError):
            safe_pickle.loads(content)
    assert safe_pickle.loads(plain)["a"].tolist() == [0, 1, 2]
