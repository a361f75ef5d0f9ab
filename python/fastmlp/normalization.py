"""Layers that normalise: LayerNorm, BatchNorm1d, and Standardize for the inputs of a model."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from fastmlp import _checks, _conversions
from fastmlp._types import Array
from fastmlp.modules import Module
from fastmlp.parameter import Buffer, Parameter, check_successor
from fastmlp.symbolic import Symbolic


class _Columns(Module):
    """A layer with a number a feature in each of its parameters and buffers."""

    fixed: ClassVar[tuple[str, ...]] = ()  # options that decide on what there is

    def __setattr__(self, name: str, value: Any) -> None:
        current = self.__dict__.get(name)
        if isinstance(current, Parameter) and (value is None or isinstance(value, Parameter)):
            check_successor(name, current, value)
        super().__setattr__(name, value)

    def check_option(self, name: str, value: Any) -> Any:
        if name in self.fixed and name in self.__dict__:
            raise AttributeError(f"{name}: cannot be changed; make a new {type(self).__name__}")
        if name in ("weight", "bias") and name in self.__dict__ and value is not None:
            raise AttributeError(f"{name}: this layer has none; make a new {type(self).__name__}")
        return super().check_option(name, value)

    def _add_parameter(
        self, name: str, there: bool, value: float, features: int, dtype: str
    ) -> None:
        setattr(self, name, Parameter(np.full(features, value, dtype)) if there else None)


def _features(name: str, shape: Any) -> tuple[int]:
    if isinstance(shape, tuple | list) or hasattr(shape, "__iter__"):
        sizes = tuple(shape)
        if len(sizes) != 1:
            raise ValueError(
                f"{name}: expected one size, that of rows of features, got {_checks.show(shape)}"
            )
        return (_checks.integer(name, sizes[0], at_least=1),)
    return (_checks.integer(name, shape, at_least=1),)


class LayerNorm(_Columns):
    """Rows less their mean, over their standard deviation (Ba and others, arXiv 1607.06450).

    y = (x - mean) / sqrt(variance + eps) * weight + bias, with the biased variance.

    Parameters
    ----------
    normalized_shape : int or (int,)
        The number of features.
    eps : float
        At least 0.
    elementwise_affine : bool
        Whether there is a weight.
    bias : bool
        Whether there is a bias, where there is a weight.
    dtype : {"float32", "float64"}
        Of the parameters.
    device : {"cpu", "cuda", "cuda:0"}
        Where they lie.

    Attributes
    ----------
    weight, bias : Parameter, shape (features,), or None
        Ones and zeros at first.
    """

    weight: Any
    bias: Any
    fixed = ("normalized_shape", "elementwise_affine")
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "normalized_shape": _features,
        "eps": partial(_checks.real, at_least=0),
        "elementwise_affine": _checks.flag,
    }

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = "float32",
        *,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.normalized_shape = normalized_shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        dtype = _checks.dtype("dtype", dtype)
        _checks.device("device", device)
        has_bias = _checks.flag("bias", bias) and self.elementwise_affine
        (features,) = self.normalized_shape
        self._add_parameter("weight", self.elementwise_affine, 1, features, dtype)
        self._add_parameter("bias", has_bias, 0, features, dtype)
        self.to(device=device)

    def reset_parameters(self) -> None:
        """Ones and zeros."""
        if self.weight is not None:
            self.weight.copy_(np.ones(self.normalized_shape))
        if self.bias is not None:
            self.bias.copy_(np.zeros(self.normalized_shape))

    def forward(self, x: Any) -> Any:
        """Add this layer to the program being traced."""
        if not isinstance(x, Symbolic):
            return self._as_layer(LayerNorm, x)
        (features,) = self.normalized_shape
        parameters = (self.weight, self.bias)
        return x.trace.add_columns("layer_norm", x, self, features, parameters, features, self.eps)

    def extra_repr(self) -> str:
        """As torch's."""
        return (
            f"{self.normalized_shape}, eps={self.eps},"
            f" elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class _Held:
    """An array as an operation holds it: equal to itself alone."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array


def _momentum(name: str, value: Any) -> float | None:
    return None if value is None else _checks.real(name, value, at_least=0, at_most=1)


class BatchNorm1d(_Columns):
    """Features less their mean, over their standard deviation (Ioffe and Szegedy, 1502.03167).

    y = (x - mean) / sqrt(variance + eps) * weight + bias. In training mode, mean and biased
    variance are those of the batch, which needs two rows, and are mixed into the running ones
    (with the unbiased variance); in evaluation mode and in `predict` the running ones are taken.

    Parameters
    ----------
    num_features : int
    eps : float
        At least 0.
    momentum : float or None
        The share of a new batch in the running statistics, from 0 to 1; None: they are means over
        all batches.
    affine : bool
        Whether there is a weight.
    track_running_stats : bool
        Whether there are running statistics; without, those of the batch are always taken.
    dtype : {"float32", "float64"}
        Of parameters and statistics.
    device : {"cpu", "cuda", "cuda:0"}
        Where they lie.
    bias : bool
        Whether there is a bias, where there is a weight.

    Attributes
    ----------
    weight, bias : Parameter, shape (num_features,), or None
        Ones and zeros at first.
    running_mean, running_var : Buffer, shape (num_features,), or None
        Zeros and ones at first.
    num_batches_tracked : ndarray of int64, shape (), or None
    """

    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any
    fixed = ("num_features", "affine", "track_running_stats")
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "num_features": partial(_checks.integer, at_least=1),
        "eps": partial(_checks.real, at_least=0),
        "momentum": _momentum,
        "affine": _checks.flag,
        "track_running_stats": _checks.flag,
    }

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = "float32",
        *,
        device: str = "cpu",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        dtype = _checks.dtype("dtype", dtype)
        _checks.device("device", device)
        has_bias = _checks.flag("bias", bias) and self.affine
        self._add_parameter("weight", self.affine, 1, self.num_features, dtype)
        self._add_parameter("bias", has_bias, 0, self.num_features, dtype)
        tracks = self.track_running_stats
        self.running_mean = Buffer(np.zeros(self.num_features, dtype)) if tracks else None
        self.running_var = Buffer(np.ones(self.num_features, dtype)) if tracks else None
        self.register_buffer("num_batches_tracked", np.array(0) if tracks else None)
        self.to(device=device)

    @staticmethod
    def _checked_buffer(name: str, value: Any) -> Array | None:
        if value is None:
            return None
        return np.array(_checks.integer(name, _conversions.as_array(value, name), at_least=0))

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.copy_(np.zeros(self.num_features))
            self.running_var.copy_(np.ones(self.num_features))
            self.num_batches_tracked[...] = 0

    def reset_parameters(self) -> None:
        """Ones and zeros, and no running statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            self.weight.copy_(np.ones(self.num_features))
        if self.bias is not None:
            self.bias.copy_(np.zeros(self.num_features))

    def forward(self, x: Any) -> Any:
        """Add this layer to the program being traced."""
        if not isinstance(x, Symbolic):
            return self._as_layer(BatchNorm1d, x)
        statistics = "batch"
        if self.track_running_stats:
            statistics = "mode" if self.training else "running"
        x.trace.dropout |= self.training
        x.trace.need_two_dimensions(x)  # the features are the second one
        mean, variance = self.running_mean, self.running_var
        return x.trace.add_columns(
            "batch_norm",
            x,
            self,
            self.num_features,
            (self.weight, self.bias),
            *(self.num_features, self.eps, statistics, self.momentum),
            *(buffer if buffer is None else buffer._native for buffer in (mean, variance)),
            False,
            self._held_count(),
            buffers=(mean, variance),
        )

    def _held_count(self) -> _Held | None:
        """One object for one array: what is traced twice is the same program."""
        if self.num_batches_tracked is None:
            return None
        held: _Held | None = self.__dict__.get("_count")
        if held is None or held.array is not self.num_batches_tracked:
            held = self.__dict__["_count"] = _Held(self.num_batches_tracked)
        return held

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_count"}

    def extra_repr(self) -> str:
        """As torch's."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine},"
            f" bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class Standardize(_Columns):
    """Inputs less a mean, over a scale, that the model carries: `(x - mean) / scale`.

    Parameters
    ----------
    num_features : int
    dtype : {"float32", "float64"}
        Of the numbers.
    device : {"cpu", "cuda", "cuda:0"}
        Where they lie.

    Attributes
    ----------
    mean, scale : Buffer, shape (num_features,)
        Zeros and ones at first.
    variance : Buffer, shape (num_features,)
        The biased variance of the rows seen so far. A feature without any has the scale 1.
    count : ndarray of int64, shape ()
        How many rows.
    """

    mean: Any
    scale: Any
    variance: Any
    count: Any
    fixed = ("num_features",)
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "num_features": partial(_checks.integer, at_least=1),
    }

    def __init__(self, num_features: int, dtype: Any = "float32", *, device: str = "cpu") -> None:
        super().__init__()
        self.num_features = num_features
        dtype = _checks.dtype("dtype", dtype)
        _checks.device("device", device)
        self.mean = Buffer(np.zeros(self.num_features, dtype))
        self.scale = Buffer(np.ones(self.num_features, dtype))
        self.variance = Buffer(np.zeros(self.num_features, dtype))
        self.register_buffer("count", np.array(0))
        self.to(device=device)

    @classmethod
    def from_data(cls, x: Any, dtype: Any = "float32", *, device: str = "cpu") -> "Standardize":
        """The layer that gives these rows mean 0 and variance 1.

        Parameters
        ----------
        x : array_like, shape (rows, num_features)
            Finite real numbers.
        dtype, device
            As for the class.
        """
        rows = _rows(x, None)
        layer = cls(rows.shape[1], dtype, device=device)
        layer.update(rows)
        return layer

    def update(self, x: Any) -> None:
        """Take more rows into mean and scale, as if all had been given at once.

        Parameters
        ----------
        x : array_like, shape (rows, num_features) or (num_features,)
            Finite real numbers.

        Raises
        ------
        TypeError
            If `x` is not made of real numbers.
        ValueError
            If it is empty, of another width, or not finite. Nothing has changed then.
        """
        rows = _rows(x, self.num_features)
        # Chan, Golub and LeVeque (1983), about a first row, so that a large mean costs no digits.
        known, new = int(self.count), len(rows)
        share = new / (known + new)
        pivot = rows[0]
        mean = pivot + (rows - pivot).mean(axis=0)
        variance = ((rows - mean) ** 2).mean(axis=0)
        apart = mean - np.asarray(self.mean, np.float64)
        if known == 0:
            self.mean.copy_(mean)
        else:
            self.mean.copy_(np.asarray(self.mean, np.float64) + share * apart)
            old = np.asarray(self.variance, np.float64)
            variance = (1 - share) * old + share * variance + share * (1 - share) * apart**2
        self.variance.copy_(variance)
        self.scale.copy_(np.sqrt(np.where(variance > 0, variance, 1)))
        self.count[...] = known + new

    def forward(self, x: Any) -> Any:
        """Add this layer to the program being traced."""
        if not isinstance(x, Symbolic):
            return self._as_layer(Standardize, x)
        return x.trace.add_columns(
            "batch_norm",
            x,
            self,
            self.num_features,
            (None, None),
            *(self.num_features, 0.0, "running", 0.0),
            *(self.mean._native, self.scale._native, True, None),
            buffers=(self.mean, self.scale),
        )

    def extra_repr(self) -> str:
        """The number of features."""
        return f"{self.num_features}"


def _rows(x: Any, features: int | None) -> Array:
    rows = np.atleast_2d(np.asarray(_conversions.as_array(x, "x"), np.float64))
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(f"x: expected shape (rows, features), none of them 0, got {rows.shape}")
    if features is not None and rows.shape[1] != features:
        raise ValueError(f"x: expected {features} features, got {rows.shape[1]}")
    if not np.isfinite(rows).all():
        row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise ValueError(f"x: expected finite numbers, got {rows[row]} in row {row}")
    return rows
