"""MNIST and its like: files of the format idx, packed by gzip or not.

The format is that of https://yann.lecun.com/exdb/mnist: two zeros, a byte for the type, one for the
number of dimensions, their sizes as 32 bits in the network's order, and the values.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp.datasets._split import Array, DataError, Split, checked

_UINT8 = 0x08
_MOST = 1 << 31  # bytes of one file


def mnist(folder: str | os.PathLike[str]) -> Split:
    """Read handwritten digits, or what comes in the same files (Fashion-MNIST, KMNIST, ...).

    Parameters
    ----------
    folder : path
        With `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
        `t10k-labels-idx1-ubyte`, or the same with ".gz".

    Returns
    -------
    Split
        Images of shape (rows, 784) where they have 28 x 28 points, uint8, and classes.

    Raises
    ------
    DataError
        If there are no such files, or one is damaged.
    """
    parts: list[Array] = []
    values = 0
    for name in ("train", "t10k"):
        path, images = _read(Path(folder), f"{name}-images-idx3-ubyte", 3)
        _, labels = _read(Path(folder), f"{name}-labels-idx1-ubyte", 1)
        images = images.reshape(len(images), -1)
        values = values or images.shape[1]
        parts += checked(path, images, labels, values, 256)
    return Split(*parts)


def _read(folder: Path, name: str, dimensions: int) -> tuple[Path, Any]:
    for path in (folder / name, folder / f"{name}.gz", folder / name.replace("-idx", ".idx")):
        if path.is_file():
            return path, _parse(path, _content(path), dimensions)
    raise DataError(f"{folder} has no {name}, packed by gzip or not")


def _content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            content = file.read(_MOST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is no whole file of gzip: {error}") from error
    if len(content) > _MOST:
        raise DataError(f"{path} holds more than {_MOST} bytes")
    return content


def _parse(path: Path, content: bytes, dimensions: int) -> Array:
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes([0, 0, _UINT8, dimensions]):
        raise DataError(f"{path} does not begin as an idx file of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    if math.prod(shape) != len(content) - head or 0 in shape:
        raise DataError(
            f"{path} should have values of shape {shape}, but has {len(content) - head}"
        )
    return np.array(np.frombuffer(content, np.uint8, offset=head).reshape(shape))
