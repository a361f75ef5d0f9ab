"""The optimizers of the NumPy oracle, in float64: each formula once.

step(w, g, state) changes w in place; `state` is a dict per parameter. test_reference.py holds them
against torch.
"""

from typing import Any

import numpy as np

Array = np.ndarray


def sgd(
    w: Array,
    g: Array,
    state: dict[str, Any],
    *,
    lr: float = 1e-3,
    momentum: float = 0,
    dampening: float = 0,
    weight_decay: float = 0,
    nesterov: bool = False,
    maximize: bool = False,
) -> None:
    g = (-g if maximize else g) + weight_decay * w
    if momentum:
        first = "buffer" not in state
        state["buffer"] = g if first else momentum * state["buffer"] + (1 - dampening) * g
        g = g + momentum * state["buffer"] if nesterov else state["buffer"]
    w -= lr * g


def adam(
    w: Array,
    g: Array,
    state: dict[str, Any],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled: bool = False,
) -> None:
    g = -g if maximize else g
    if decoupled:
        w *= 1 - lr * weight_decay
    else:
        g = g + weight_decay * w
    step = state["step"] = state.get("step", 0) + 1
    mean = state["mean"] = betas[0] * state.get("mean", 0) + (1 - betas[0]) * g
    square = state["square"] = betas[1] * state.get("square", 0) + (1 - betas[1]) * g * g
    if amsgrad:
        square = state["largest"] = np.maximum(state.get("largest", 0), square)
    root = np.sqrt(square / (1 - betas[1] ** step))
    w -= lr * mean / (1 - betas[0] ** step) / (root + eps)


def adamw(
    w: Array, g: Array, state: dict[str, Any], *, weight_decay: float = 1e-2, **options: Any
) -> None:
    adam(w, g, state, weight_decay=weight_decay, decoupled=True, **options)


def rmsprop(
    w: Array,
    g: Array,
    state: dict[str, Any],
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0,
    momentum: float = 0,
    centered: bool = False,
    maximize: bool = False,
) -> None:
    g = (-g if maximize else g) + weight_decay * w
    square = state["square"] = alpha * state.get("square", 0) + (1 - alpha) * g * g
    if centered:
        mean = state["mean"] = alpha * state.get("mean", 0) + (1 - alpha) * g
        square = square - mean * mean
    state["buffer"] = momentum * state.get("buffer", 0) + g / (np.sqrt(square) + eps)
    w -= lr * state["buffer"]


def nadam(
    w: Array,
    g: Array,
    state: dict[str, Any],
    *,
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> None:
    g = -g if maximize else g
    if decoupled_weight_decay:
        w *= 1 - lr * weight_decay
    else:
        g = g + weight_decay * w
    step = state["step"] = state.get("step", 0) + 1
    now, following = (betas[0] * (1 - 0.5 * 0.96 ** (i * momentum_decay)) for i in (step, step + 1))
    product = state["product"] = state.get("product", 1) * now
    mean = state["mean"] = betas[0] * state.get("mean", 0) + (1 - betas[0]) * g
    square = state["square"] = betas[1] * state.get("square", 0) + (1 - betas[1]) * g * g
    root = np.sqrt(square / (1 - betas[1] ** step)) + eps
    w -= lr * (1 - now) / (1 - product) * g / root
    w -= lr * following / (1 - product * following) * mean / root


def adagrad(
    w: Array,
    g: Array,
    state: dict[str, Any],
    *,
    lr: float = 1e-2,
    lr_decay: float = 0,
    weight_decay: float = 0,
    initial_accumulator_value: float = 0,
    eps: float = 1e-10,
    maximize: bool = False,
) -> None:
    g = (-g if maximize else g) + weight_decay * w
    step = state["step"] = state.get("step", 0) + 1
    total = state["sum"] = state.get("sum", initial_accumulator_value) + g * g
    w -= lr / (1 + (step - 1) * lr_decay) * g / (np.sqrt(total) + eps)


def lion(
    w: Array,
    g: Array,
    state: dict[str, Any],
    *,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0,
    maximize: bool = False,
) -> None:
    g = -g if maximize else g
    mean = state.get("mean", 0)
    w *= 1 - lr * weight_decay
    w -= lr * np.sign(betas[0] * mean + (1 - betas[0]) * g)
    state["mean"] = betas[1] * mean + (1 - betas[1]) * g
