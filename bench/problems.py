"""The inputs, targets and initial weights of a workload: the same in every process.

The data are synthetic, of the documents' shapes and scales; time a step does not depend on their
values. `data_path` puts real images in the place of the synthetic ones of the cifar2 workloads.
"""

import zlib
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shapes import Workload

Floats = npt.NDArray[np.float32]
Weights = list[tuple[Floats, Floats]]

FAHRENHEIT = (35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4)
CELSIUS = (0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0)


class Problem(NamedTuple):
    workload: Workload
    x: Floats  # rows x features
    t: npt.NDArray | None  # rows x outputs (float32), or class indices (int64), or None
    weights: Weights  # weight (in x out) and bias of each layer, of several models one on the other


def make(workload: Workload, data_path: Path | None = None) -> Problem:
    """Build a workload's problem; `data_path` is an npz with `x_train` and `y_train`."""
    rng = np.random.default_rng(zlib.crc32(workload.name.encode()))
    if workload.data == "images" and data_path is not None:
        x, t = _stored_images(workload, data_path)
    else:
        x, t = _MAKERS[workload.data](workload, rng)
    x = np.ascontiguousarray(x, np.float32)
    return Problem(workload, x, t, _initial_weights(workload, rng))


def _initial_weights(workload: Workload, rng: np.random.Generator) -> Weights:
    """Uniform in +-1/sqrt(fan_in), as a `Linear` layer starts."""
    weights = []
    for fan_in, fan_out in pairwise(workload.sizes):
        bound = fan_in**-0.5
        stack = (workload.models,) if workload.models > 1 else ()
        block = rng.random((*stack, fan_in + 1, fan_out), np.float32) * np.float32(2 * bound)
        block -= np.float32(bound)
        weights.append((block[..., :-1, :].copy(), block[..., -1, :].copy()))
    return weights


def _features(workload, rng):
    return rng.standard_normal((workload.rows, workload.sizes[0]), np.float32), None


def _xor(workload, rng):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    return x, np.array([[0], [1], [1], [0]], np.float32)


def _circles(workload, rng):
    outer = np.arange(workload.rows) % 2
    angle = rng.uniform(0, 2 * np.pi, workload.rows)
    radius = np.where(outer, 1.0, 0.3)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return x + 0.2 * rng.standard_normal(x.shape), (1 - outer[:, None]).astype(np.float32)


def _houses(workload, rng):
    """Standardised columns and a price of the Boston table's mean and spread."""
    x = rng.standard_normal((workload.rows, 13))
    t = 22.5 + 9.0 * np.tanh(x[:, :4].sum(1, keepdims=True) / 2)
    return x, (t + rng.standard_normal(t.shape)).astype(np.float32)


def _spiral(workload, rng):
    i, j = np.divmod(np.arange(workload.rows), 3)  # the classes take turns within a batch
    radius = 3.0 * i / workload.rows
    angle = 4.0 * j + 4.0 * radius + 0.2 * rng.standard_normal(workload.rows)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1), j.astype(np.int64)


def _temperature(workload, rng):
    return 0.1 * np.array(FAHRENHEIT)[:, None], np.array(CELSIUS, np.float32)[:, None]


def _images(workload, rng):
    """Normalised noise with a faint pattern for the second class."""
    t = rng.integers(0, 2, workload.rows)
    x = rng.standard_normal((workload.rows, workload.sizes[0]), np.float32)
    x[t == 1] += np.float32(0.05) * rng.standard_normal(workload.sizes[0], np.float32)
    return x, t


def _stored_images(workload, path):
    with np.load(path) as stored:
        x, t = stored["x_train"][: workload.rows], stored["y_train"][: workload.rows]
    if x.shape != (workload.rows, workload.sizes[0]):
        raise ValueError(
            f"x_train of {path} has shape {x.shape}, expected at least "
            f"{workload.rows} rows of {workload.sizes[0]}"
        )
    mean = np.array([0.4915, 0.4823, 0.4468])[:, None]
    std = np.array([0.2470, 0.2435, 0.2616])[:, None]
    scaled = (x.reshape(len(x), 3, -1) / 255.0 - mean) / std
    return scaled.reshape(len(x), -1), t.astype(np.int64)


def _classes(workload, rng):
    """Clusters around one centre a class, in [0, 1] as pixels are."""
    t = rng.integers(0, workload.sizes[-1], workload.rows)
    centres = rng.random((workload.sizes[-1], workload.sizes[0]), np.float32)
    return 0.3 * centres[t] + 0.7 * rng.random((workload.rows, workload.sizes[0]), np.float32), t


def _regression(workload, rng):
    """A smooth function of the features, with noise."""
    x = rng.standard_normal((workload.rows, workload.sizes[0]), np.float32)
    mixing = rng.standard_normal((workload.sizes[0], workload.sizes[-1]), np.float32)
    t = np.sin(x @ mixing / np.float32(workload.sizes[0] ** 0.5))
    return x, t + np.float32(0.1) * rng.standard_normal(t.shape, np.float32)


_MAKERS = {
    "features": _features,
    "xor": _xor,
    "circles": _circles,
    "houses": _houses,
    "spiral": _spiral,
    "temperature": _temperature,
    "images": _images,
    "classes": _classes,
    "regression": _regression,
}
