"""The fused kernels themselves, for study and for tests.

Weights are in x out here, as the core keeps them.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from fastmlp import _checks, _core
from fastmlp._types import Array
from fastmlp.activations import Activation, as_activation
from fastmlp.options import check_betas, check_nesterov

T = TypeVar("T", bound=Array)


def affine_forward(
    x: Any, weight: Any, bias: Any = None, activation: str | Activation = "identity"
) -> Array:
    """`activation(x @ weight + bias)` in one pass.

    Parameters
    ----------
    x : array_like, shape (rows, in_features)
    weight : array_like, shape (in_features, out_features)
    bias : array_like, shape (out_features,), optional
    activation : str or Activation
        One that works element by element.

    Returns
    -------
    ndarray, shape (rows, out_features)
    """
    return _core.affine_forward(x, weight, bias, *_elementwise(activation))


def affine_backward(
    grad_output: Any,
    x: Any,
    weight: Any,
    bias: Any = None,
    activation: str | Activation = "identity",
) -> tuple[Array, Array, Array]:
    """The gradients of `affine_forward`.

    Parameters
    ----------
    grad_output : array_like, shape (rows, out_features)
        The gradient with respect to the result.
    x, weight, bias, activation
        As given to `affine_forward`.

    Returns
    -------
    grad_x : ndarray, shape (rows, in_features)
    grad_weight : ndarray, shape (in_features, out_features)
    grad_bias : ndarray, shape (out_features,)
        Also where `bias` is None.
    """
    return _core.affine_backward(grad_output, x, weight, bias, *_elementwise(activation))


def sgd_(
    param: T,
    grad: Array,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    momentum_buffer: Array | None = None,
) -> T:
    """One step of SGD, in place; see `fastmlp.SGD`.

    Parameters
    ----------
    param, grad : ndarray
        Of one shape and dtype.
    lr, momentum, dampening, weight_decay, nesterov
        As for `fastmlp.SGD`.
    momentum_buffer : ndarray, optional
        Needed with momentum, and updated. It counts as the state after an earlier step; before
        the first one, torch's buffer is the first gradient itself.

    Returns
    -------
    ndarray
        `param`.
    """
    options = {
        "lr": _checks.real("lr", lr, at_least=0),
        "momentum": _checks.real("momentum", momentum, at_least=0),
        "dampening": _checks.real("dampening", dampening),
        "weight_decay": _checks.real("weight_decay", weight_decay, at_least=0),
        "nesterov": float(_checks.flag("nesterov", nesterov)),
    }
    check_nesterov(nesterov, options["momentum"], options["dampening"])
    if options["momentum"] and momentum_buffer is None:
        raise ValueError("momentum_buffer: expected an array where there is momentum, got None")
    state = [] if momentum_buffer is None else [momentum_buffer]
    return _update("sgd", param, grad, state, 2, options)


def adam_(
    param: T,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    max_exp_avg_sq: Array | None = None,
) -> T:
    """One step of Adam, in place; see `fastmlp.Adam`.

    Parameters
    ----------
    param, grad : ndarray
        Of one shape and dtype.
    exp_avg, exp_avg_sq : ndarray
        The running means of the gradient and its square, zero at first, and updated.
    step : int
        The number of this step, from 1.
    lr, betas, eps, weight_decay
        As for `fastmlp.Adam`.
    max_exp_avg_sq : ndarray, optional
        Turns AMSGrad on: the largest mean square so far, zero at first, and updated.

    Returns
    -------
    ndarray
        `param`.
    """
    beta1, beta2 = check_betas("betas", betas)
    options = {
        "lr": _checks.real("lr", lr, at_least=0),
        "beta1": beta1,
        "beta2": beta2,
        "eps": _checks.real("eps", eps, at_least=0),
        "weight_decay": _checks.real("weight_decay", weight_decay, at_least=0),
        "amsgrad": float(max_exp_avg_sq is not None),
    }
    state = [exp_avg, exp_avg_sq]
    if max_exp_avg_sq is not None:
        state.append(max_exp_avg_sq)
    number = _checks.integer("step", step, at_least=1)
    return _update("adam", param, grad, state, number, options)


def _elementwise(activation: Any) -> tuple[str, float, float]:
    native = as_activation("activation", activation).native()
    _checks.choice("activation", native[0], _core.ACTIVATIONS)
    return native


def _update(
    kind: str, param: T, grad: Array, state: Sequence[Array], step: int, options: dict[str, float]
) -> T:
    for name, value in (("param", param), ("grad", grad), *(("state", array) for array in state)):
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{name}: expected an ndarray, got {_checks.show(value)}")
        if value.dtype != param.dtype:
            raise TypeError(f"{name}: expected {param.dtype} like param, got {value.dtype}")
    _core.update(kind, param, grad, state, step, options)
    return param
