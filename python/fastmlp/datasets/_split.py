"""Images to train and to test with, as the readers return them."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class DataError(ValueError):
    """A path does not lead to the data that were asked for, or they are damaged."""


class Split(NamedTuple):
    """Images of shape (rows, values), uint8, and their classes of shape (rows,), int64."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def checked(where: Any, x: Any, y: Array, values: int, classes: int) -> tuple[Array, Array]:
    """Images and their classes; DataError unless they are as `Split` says."""
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape[1:] != (values,):
        raise DataError(f"{where} has no uint8 images of shape (rows, {values})")
    if y.dtype.kind not in "iu" or y.shape != (len(x),):
        raise DataError(f"{where} has {len(x)} images, but labels of shape {y.shape} and {y.dtype}")
    if not len(y) or y.min() < 0 or y.max() >= classes:
        raise DataError(f"{where} has no images, or labels outside 0 to {classes - 1}")
    return x, y.astype(np.int64)
