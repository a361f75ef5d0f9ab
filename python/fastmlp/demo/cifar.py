"""CIFAR-2, airplanes against birds: read from CIFAR-10's archives in either format, or an npz."""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastmlp.demo import safe_pickle

Array = npt.NDArray[Any]

CLASS_NAMES = ("airplane", "bird")
PIXELS = 3 * 32 * 32
_CIFAR10_LABELS = (0, 2)  # airplane and bird in CIFAR-10 become 0 and 1
_MEAN = np.array([0.4915, 0.4823, 0.4468], dtype=np.float32)
_STD = np.array([0.2470, 0.2435, 0.2616], dtype=np.float32)
# A file of text or a .npy array surprises numpy.load in several ways.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)
_NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


class DataError(ValueError):
    """The path does not lead to CIFAR data, or the data are damaged."""


class Cifar2(NamedTuple):
    """Images of shape (rows, 3072), uint8, channel first; labels of shape (rows,), int64."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def load(path: str | Path) -> Cifar2:
    """Read the airplanes and birds of CIFAR-10.

    Parameters
    ----------
    path : path
        The folder ``cifar-10-batches-py`` or ``cifar-10-batches-bin``, a folder that holds one of
        them, or an npz with the arrays of :class:`Cifar2`.

    Raises
    ------
    DataError
        If there is no such data at `path`, or it is not as it should be.
    """
    path = Path(path)
    if path.is_file():
        return _load_npz(path)
    for folder in (path, path / "cifar-10-batches-py", path / "cifar-10-batches-bin"):
        for suffix, read in (("", _read_python), (".bin", _read_binary)):
            if (folder / f"test_batch{suffix}").is_file():
                return _load_folder(folder, suffix, read)
    raise DataError(
        f"{path} is neither an npz file nor a folder with CIFAR-10's data_batch_1 to data_batch_5 "
        "and test_batch (cifar-10-batches-py), or the same with .bin (cifar-10-batches-bin)"
    )


def normalise(x: Array) -> Array:
    """Scale uint8 images to [0, 1], then each channel by its mean and deviation; float32."""
    channels = x.reshape(len(x), 3, -1).astype(np.float32)
    channels /= 255
    channels -= _MEAN[:, None]
    channels /= _STD[:, None]
    return channels.reshape(len(x), -1)


def _load_npz(path: Path) -> Cifar2:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x_train, y_train, x_test, y_test = (arrays[key] for key in _NPZ_KEYS)
    except _UNREADABLE as error:
        raise DataError(f"{path} is not an npz with {', '.join(_NPZ_KEYS)}") from error
    for x, y in ((x_train, y_train), (x_test, y_test)):
        _check(path, x, y, classes=2)
    return Cifar2(x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64))


def _load_folder(folder: Path, suffix: str, read: Any) -> Cifar2:
    names = [f"data_batch_{number}{suffix}" for number in range(1, 6)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}")
    parts = [_two_classes(*read(folder / name)) for name in names]
    x_train, y_train = (np.concatenate(part) for part in zip(*parts, strict=True))
    x_test, y_test = _two_classes(*read(folder / f"test_batch{suffix}"))
    if not len(y_train) or not len(y_test):
        raise DataError(f"{folder} has no airplanes and birds to train on, or none to test with")
    return Cifar2(x_train, y_train, x_test, y_test)


def _read_python(path: Path) -> tuple[Array, Array]:
    try:
        batch = safe_pickle.loads(path.read_bytes())
    except safe_pickle.UnsafePickleError as error:
        raise DataError(f"{path}: {error}") from error
    if not isinstance(batch, dict):
        raise DataError(f"{path} holds no dict, as a batch of CIFAR-10 does")
    # bytes as the archive has them; str where somebody saved them again with Python 3
    x: Any = batch.get(b"data", batch.get("data"))
    labels = batch.get(b"labels", batch.get("labels"))
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path} has no list of labels")
    if not all(0 <= label < 10 for label in labels):
        raise DataError(f"{path} has labels outside 0 to 9")
    y = np.array(labels, dtype=np.int64)
    _check(path, x, y, classes=10)
    return x, y


def _read_binary(path: Path) -> tuple[Array, Array]:
    content = np.fromfile(path, dtype=np.uint8)
    if not len(content) or len(content) % (1 + PIXELS):
        raise DataError(f"{path} is not made of records of {1 + PIXELS} bytes")
    records = content.reshape(-1, 1 + PIXELS)
    x, y = records[:, 1:], records[:, 0].astype(np.int64)
    _check(path, x, y, classes=10)
    return x, y


def _check(path: Path, x: Any, y: Array, classes: int) -> None:
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape[1:] != (PIXELS,):
        raise DataError(f"{path} has no uint8 images of shape (rows, {PIXELS})")
    if y.dtype.kind not in "iu" or y.shape != (len(x),):
        raise DataError(f"{path} has {len(x)} images, but labels of shape {y.shape} and {y.dtype}")
    if not len(y) or y.min() < 0 or y.max() >= classes:
        raise DataError(f"{path} has no images, or labels outside 0 to {classes - 1}")


def _two_classes(x: Array, y: Array) -> tuple[Array, Array]:
    airplane, bird = _CIFAR10_LABELS
    keep = (y == airplane) | (y == bird)
    return x[keep], (y[keep] == bird).astype(np.int64)
