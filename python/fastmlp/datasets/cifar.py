"""CIFAR-10 from its archives in either format, and CIFAR-2: its airplanes against its birds."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp.datasets import safe_pickle
from fastmlp.datasets._split import Array, DataError, Split, checked

CLASS_NAMES = ("airplane", "bird")
PIXELS = 3 * 32 * 32
_CIFAR10_LABELS = (0, 2)  # airplane and bird in CIFAR-10 become 0 and 1
_MEAN = np.array([0.4915, 0.4823, 0.4468], dtype=np.float32)
_STD = np.array([0.2470, 0.2435, 0.2616], dtype=np.float32)
# A file of text or a .npy array surprises numpy.load in several ways.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)


def cifar10(path: str | os.PathLike[str]) -> Split:
    """Read CIFAR-10 from its archive, unpacked, of either format.

    Parameters
    ----------
    path : path
        The folder ``cifar-10-batches-py`` or ``cifar-10-batches-bin``, or one that holds one of
        them.

    Returns
    -------
    Split
        Images of shape (rows, 3072), channel first, and classes from 0 to 9.

    Raises
    ------
    DataError
        If there is no such data at `path`, or it is not as it should be.
    """
    return _load_folder(Path(path), lambda x, y: (x, y))


def cifar2(path: str | os.PathLike[str]) -> Split:
    """Read the airplanes (0) and birds (1) of CIFAR-10.

    Parameters
    ----------
    path : path
        As `cifar10` takes it, or an npz with the arrays of `Split`.

    Raises
    ------
    DataError
        If there is no such data at `path`, or it is not as it should be.
    """
    path = Path(path)
    if path.is_file():
        return _load_npz(path)
    split = _load_folder(path, _two_classes)
    if not len(split.y_train) or not len(split.y_test):
        raise DataError(f"{path} has no airplanes and birds to train on, or none to test with")
    return split


def normalise(x: Array) -> Array:
    """Scale uint8 images to [0, 1], then each channel by its mean and deviation; float32."""
    channels = x.reshape(len(x), 3, -1).astype(np.float32)
    channels /= 255
    channels -= _MEAN[:, None]
    channels /= _STD[:, None]
    return channels.reshape(len(x), -1)


def _load_npz(path: Path) -> Split:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x_train, y_train, x_test, y_test = (arrays[key] for key in Split._fields)
    except _UNREADABLE as error:
        raise DataError(f"{path} is not an npz with {', '.join(Split._fields)}") from error
    train, test = (
        checked(path, *pair, PIXELS, 2) for pair in ((x_train, y_train), (x_test, y_test))
    )
    return Split(*train, *test)


def _load_folder(path: Path, choose: Any) -> Split:
    """What `choose` takes of the images and classes of each file."""
    for folder in (path, path / "cifar-10-batches-py", path / "cifar-10-batches-bin"):
        if (folder / "test_batch").is_file():
            return _load_batches(folder, "", _read_python, choose)
        if (folder / "test_batch.bin").is_file():
            return _load_batches(folder, ".bin", _read_binary, choose)
    raise DataError(
        f"{path} is neither an npz file nor a folder with CIFAR-10's data_batch_1 to data_batch_5 "
        "and test_batch (cifar-10-batches-py), or the same with .bin (cifar-10-batches-bin)"
    )


def _load_batches(folder: Path, suffix: str, read: Any, choose: Any) -> Split:
    names = [f"data_batch_{number}{suffix}" for number in range(1, 6)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}")
    parts = [choose(*read(folder / name)) for name in names]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Split(x, y, *choose(*read(folder / f"test_batch{suffix}")))


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
    return checked(path, x, np.array(labels, dtype=np.int64), PIXELS, 10)


def _read_binary(path: Path) -> tuple[Array, Array]:
    content = np.fromfile(path, dtype=np.uint8)
    if not len(content) or len(content) % (1 + PIXELS):
        raise DataError(f"{path} is not made of records of {1 + PIXELS} bytes")
    records = content.reshape(-1, 1 + PIXELS)
    return checked(path, records[:, 1:], records[:, 0], PIXELS, 10)


def _two_classes(x: Array, y: Array) -> tuple[Array, Array]:
    airplane, bird = _CIFAR10_LABELS
    keep = (y == airplane) | (y == bird)
    return x[keep], (y[keep] == bird).astype(np.int64)
