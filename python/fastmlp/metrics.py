"""What is told of predictions besides their loss: metrics by name, and functions of one's own."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp._data import to_host
from fastmlp._types import Array
from fastmlp.function_loss import FunctionLoss
from fastmlp.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss, NLLLoss

Metric = str | Callable[[Array, Array], Any]
Native = _core.Metric | Callable[[Array], float]

NAMES = ("accuracy", "binary_accuracy", "top_5_accuracy", "mae", "mse", "rmse", "r2")
_RESERVED = (
    *("epoch", "loss", "validation_loss", "learning_rate", "epoch_time"),
    *("lr", "report_step", "report_loss"),
)
_TOP_K = re.compile(r"top_([1-9]\d{0,8})_accuracy")
_GROWS = re.compile(r"(.*_)?(accuracy|acc|auc|r2|f1|score|precision|recall)")
_FALLS = re.compile(r"(.*_)?(loss|error|mae|mse|rmse|deviance)")


def check_metrics(metrics: Any, validates: bool) -> tuple[Metric, ...]:
    """Names and functions, each of another name; none where there is nothing to validate with."""
    if isinstance(metrics, str) or callable(metrics):
        metrics = (metrics,)
    if not hasattr(metrics, "__iter__"):
        raise TypeError(f"metrics: expected names or functions, got {_checks.show(metrics)}")
    found = tuple(metrics)
    names = [_name(metric) for metric in found]
    for name in names:
        if name in _RESERVED:
            raise ValueError(f"metrics: expected a name that is not in use, got {name!r}")
        if names.count(name) > 1:
            raise ValueError(f"metrics: expected different names, got {name!r} twice")
    if found and not validates:
        raise ValueError(
            "metrics: expected validation_data or validation_split to measure them with, got none"
        )
    return found


def _name(metric: Any) -> str:
    if isinstance(metric, str):
        if metric not in NAMES and not _TOP_K.fullmatch(metric):
            raise ValueError(
                f"metrics: expected one of {', '.join(NAMES)} (or another number than 5), or a"
                f" function f(y, t), got {metric!r}{_checks.similar(metric, NAMES)}"
            )
        return metric
    if not callable(metric) or isinstance(metric, type):
        raise TypeError(f"metrics: expected names or functions f(y, t), got {_checks.show(metric)}")
    return str(getattr(metric, "__name__", type(metric).__name__))


def names_of(metrics: tuple[Metric, ...]) -> list[str]:
    return [_name(metric) for metric in metrics]


def native_metrics(metrics: tuple[Metric, ...], loss_fn: Loss, t: Any) -> list[tuple[str, Native]]:
    """As the native training takes them; t are the targets for those that are not native."""
    return [(_name(metric), _for_fit(metric, loss_fn, t)) for metric in metrics]


def _for_fit(metric: Metric, loss_fn: Loss, t: Any) -> Native:
    if not isinstance(metric, str):
        return _bound(metric, loss_fn, to_host("t", t))
    if not isinstance(loss_fn, FunctionLoss):
        return _native(metric, loss_fn)
    targets = to_host("t", t)
    return lambda y: measured((metric,), loss_fn, y, targets, None)[metric]


def _native(name: str, loss_fn: Loss) -> _core.Metric:
    if (top := _TOP_K.fullmatch(name)) is not None:
        return _core.Metric("top_k_accuracy", k=int(top[1]))
    if name == "accuracy" and isinstance(loss_fn, BCELoss | BCEWithLogitsLoss):
        name = "binary_accuracy"  # of each output, as they are independent
    return _core.Metric(name, threshold=0.0 if isinstance(loss_fn, BCEWithLogitsLoss) else 0.5)


def _bound(
    metric: Callable[[Array, Array], Any], loss_fn: Loss, t: Any
) -> Callable[[Array], float]:
    name = _name(metric)

    def measure(y: Array) -> float:
        value = metric(y, _as_outputs(t, y, loss_fn))
        if isinstance(value, bool | np.bool_) or np.ndim(value) != 0:
            raise TypeError(f"metrics: expected a number from {name}, got {_checks.show(value)}")
        try:
            return float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"metrics: expected a number from {name}, got {_checks.show(value)}"
            ) from None

    return measure


def _as_outputs(t: Array, y: Array, loss_fn: Loss) -> Array:
    """Values in the outputs' shape: y - t of a column and a row would be a matrix."""
    if (
        t.shape == y.shape[:1]
        and y.shape[1] == 1
        and not isinstance(loss_fn, CrossEntropyLoss | NLLLoss)
    ):
        return t[:, None]
    return t


def measured(
    metrics: tuple[Metric, ...], loss_fn: Loss, y: Array, t: Array, sample_weight: Any
) -> dict[str, float]:
    """The metrics of these outputs, by name."""
    if isinstance(loss_fn, FunctionLoss):  # which does not tell what the targets are
        classes = t.ndim == 1 and t.dtype.kind in "iu" and y.shape[1] > 1
        known: Loss = CrossEntropyLoss() if classes else MSELoss()
    else:
        known = loss_fn
    return {
        _name(metric): _native(metric, known)(metric, known, y, t, sample_weight)
        if isinstance(metric, str)
        else _bound(metric, loss_fn, t)(y)
        for metric in metrics
    }


def check_mode(mode: Any) -> str | None:
    return None if mode in (None, "auto") else _checks.choice("mode", mode, ("min", "max"))


def grows(name: str, mode: str | None) -> bool:
    """Whether more is better; `mode` says it where the name does not."""
    if mode is not None:
        return mode == "max"
    if _GROWS.fullmatch(name):
        return True
    if _FALLS.fullmatch(name):
        return False
    raise ValueError(
        f'mode: expected "min" or "max", since the name {name!r} does not say whether more is'
        " better, got none"
    )


def check_monitor(
    owner: str, monitor: str, mode: str | None, validates: bool, metrics: list[str]
) -> bool:
    """Whether more is better, after checking that `monitor` will be measured."""
    known = ["loss", "validation_loss", *metrics]
    if monitor not in known:
        meant = monitor.replace("val_", "validation_", 1).removeprefix("validation_")
        hint = {"loss": "validation_loss"}.get(meant, meant)
        also = f"; did you mean {hint}?" if hint in known else _checks.similar(monitor, known)
        raise ValueError(
            f"{owner}: expected monitor to be one of {', '.join(known)}, got {monitor!r}{also}"
        )
    if monitor != "loss" and not validates:
        raise ValueError(
            f"{owner}: expected validation_data or validation_split for monitor={monitor!r}, got"
            ' none; or take monitor="loss"'
        )
    return grows(monitor, mode)
