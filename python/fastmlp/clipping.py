"""Limits of gradients: their common norm, or each value."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp._types import Array
from fastmlp.parameter import Parameter, check_each


def clip_grad_norm_(
    parameters: Iterable[Parameter] | Parameter,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> np.float64:
    """Scale the gradients so that their common norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Parameter, or one
        Those without a gradient count as zero.
    max_norm : float
        Not negative; infinite to measure only. The factor is max_norm / (norm + 1e-6), where that
        is below 1, as in torch.
    norm_type : float
        The exponent of the norm, positive; infinite for the largest magnitude.
    error_if_nonfinite : bool
        Whether a norm that is NaN or infinite is an error. Otherwise, as in torch, gradients become
        NaN with it, or zero but for the infinite ones.
    foreach : bool, optional
        Taken for torch's sake.

    Returns
    -------
    float
        The norm before scaling, of NumPy's type, which has `item()`.

    Raises
    ------
    RuntimeError
        With `error_if_nonfinite`. The gradients are as before then.
    ValueError
        If there is no parameter, as with a generator that something else has used up.
    """
    limit = _checks.real_or_infinity("max_norm", max_norm, at_least=0)
    norm_type = _checks.real_or_infinity("norm_type", norm_type, above=0)
    _checks.flag("error_if_nonfinite", error_if_nonfinite)
    found = _gradients_of(parameters)
    native = [p._native for p in found]
    if norm_type != 2:
        norm = _norm([p.grad for p in found if p.grad is not None], norm_type)
    elif error_if_nonfinite:
        norm = _core.clip_grad_norm(native, math.inf)
    else:
        return np.float64(_core.clip_grad_norm(native, limit))
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(
            f"parameters: expected gradients of a finite norm, got {norm}; with"
            " error_if_nonfinite=False they are scaled all the same"
        )
    if norm_type == 2:
        return np.float64(_core.clip_grad_norm(native, limit))
    factor = limit / (norm + 1e-6)
    if not (factor >= 1 or limit == math.inf):
        with np.errstate(invalid="ignore"):  # an infinite gradient times 0
            for parameter in found:
                if (grad := parameter.grad) is not None:
                    parameter.grad = (grad.astype(np.float64) * factor).astype(grad.dtype)
    return np.float64(norm)


def clip_grad_value_(
    parameters: Iterable[Parameter] | Parameter, clip_value: float, foreach: bool | None = None
) -> None:
    """Clamp each gradient to [-clip_value, clip_value], in place, as torch does.

    Parameters
    ----------
    parameters : iterable of Parameter, or one
    clip_value : float
        Not negative.
    foreach : bool, optional
        Taken for torch's sake.
    """
    limit = _checks.real("clip_value", clip_value, at_least=0)
    for parameter in _gradients_of(parameters):
        if (grad := parameter.grad) is not None:
            parameter.grad = np.clip(grad, -limit, limit)


def _norm(grads: list[Array], order: float) -> float:
    """The common norm, in float64 of magnitudes relative to the largest."""
    largest = max((float(np.max(np.abs(grad))) for grad in grads), default=0.0)
    if order == math.inf or largest == 0 or not math.isfinite(largest):
        nan = any(np.isnan(grad).any() for grad in grads)
        return math.nan if nan else largest
    total = sum(float(np.sum((np.abs(g.astype(np.float64)) / largest) ** order)) for g in grads)
    return float(largest * total ** (1 / order))


def _gradients_of(parameters: Iterable[Parameter] | Parameter) -> tuple[Parameter, ...]:
    if isinstance(parameters, Parameter):
        parameters = [parameters]
    found = check_each("parameters", parameters)
    if not found:
        raise ValueError(f"parameters: expected at least one, got none{_used_up(parameters)}")
    return found


def _used_up(params: Any) -> str:
    return "; the generator has been used up before" if isinstance(params, Iterator) else ""
