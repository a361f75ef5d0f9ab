"""A short NumPy oracle in float64: chains of layers and losses, each formula once; clipping.

Every function here computes a value together with its pullback, the function that maps the gradient
of the result to the gradient of the argument. Speed does not matter; being obviously right does.
test_reference.py holds it against torch, so that tests against it mean the same without torch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Pullback = Callable[[Array], Array]
Function = Callable[[Array], tuple[Array, Pullback]]

_erf = np.vectorize(math.erf, otypes=[float])


# --- activations: z -> (y, pullback)


def identity(z: Array) -> tuple[Array, Pullback]:
    return z, lambda dy: dy


def relu(z: Array) -> tuple[Array, Pullback]:
    return np.maximum(z, 0), lambda dy: dy * (z > 0)


def leaky_relu(slope: float = 0.01) -> Function:
    def function(z: Array) -> tuple[Array, Pullback]:
        return np.where(z > 0, z, slope * z), lambda dy: dy * np.where(z > 0, 1, slope)

    return function


def sigmoid(z: Array) -> tuple[Array, Pullback]:
    e = np.exp(-np.abs(z))  # never overflows
    y = np.where(z >= 0, 1, e) / (1 + e)
    return y, lambda dy: dy * e / (1 + e) ** 2


def tanh(z: Array) -> tuple[Array, Pullback]:
    return np.tanh(z), lambda dy: dy / np.cosh(np.clip(z, -300, 300)) ** 2


def hardtanh(low: float = -1, high: float = 1) -> Function:
    def function(z: Array) -> tuple[Array, Pullback]:
        return np.clip(z, low, high), lambda dy: dy * ((z > low) & (z < high))

    return function


def gelu(z: Array) -> tuple[Array, Pullback]:
    cdf = 0.5 * (1 + _erf(z / math.sqrt(2)))
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return z * cdf, lambda dy: dy * (cdf + z * density)


def gelu_tanh(z: Array) -> tuple[Array, Pullback]:
    scale = math.sqrt(2 / math.pi)
    t, pull_tanh = tanh(scale * (z + 0.044715 * z**3))
    slope = scale * (1 + 3 * 0.044715 * z * z)
    return 0.5 * z * (1 + t), lambda dy: dy * 0.5 * (1 + t) + pull_tanh(dy * 0.5 * z) * slope


def silu(z: Array) -> tuple[Array, Pullback]:
    s, pull_sigmoid = sigmoid(z)
    return z * s, lambda dy: dy * s + pull_sigmoid(dy * z)


def elu(alpha: float = 1) -> Function:
    def function(z: Array) -> tuple[Array, Pullback]:
        negative = np.minimum(z, 0)
        y = np.where(z > 0, z, alpha * np.expm1(negative))
        return y, lambda dy: dy * np.where(z > 0, 1, alpha * np.exp(negative))

    return function


def softplus(beta: float = 1, threshold: float = 20) -> Function:
    def function(z: Array) -> tuple[Array, Pullback]:
        linear = beta * z > threshold
        y = np.where(linear, z, np.logaddexp(0, beta * z) / beta)
        return y, lambda dy: dy * np.where(linear, 1, sigmoid(beta * z)[0])

    return function


def selu(z: Array) -> tuple[Array, Pullback]:
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    y, pull_elu = elu(alpha)(z)
    return scale * y, lambda dy: scale * pull_elu(dy)


def celu(alpha: float = 1) -> Function:
    def function(z: Array) -> tuple[Array, Pullback]:
        y, pull_elu = elu(1)(z / alpha)
        return alpha * y, pull_elu

    return function


def mish(z: Array) -> tuple[Array, Pullback]:
    inner, pull_softplus = softplus()(z)
    t, pull_tanh = tanh(inner)
    return z * t, lambda dy: dy * t + pull_softplus(pull_tanh(dy * z))


def hardsigmoid(z: Array) -> tuple[Array, Pullback]:
    return np.clip(z + 3, 0, 6) / 6, lambda dy: dy * ((z > -3) & (z < 3)) / 6


def hardswish(z: Array) -> tuple[Array, Pullback]:
    share, pull_share = hardsigmoid(z)
    return z * share, lambda dy: dy * share + pull_share(dy * z)


def log_sigmoid(z: Array) -> tuple[Array, Pullback]:
    return -np.logaddexp(0, -z), lambda dy: dy * sigmoid(-z)[0]


def softsign(z: Array) -> tuple[Array, Pullback]:
    return z / (1 + np.abs(z)), lambda dy: dy / (1 + np.abs(z)) ** 2


def softmax(z: Array) -> tuple[Array, Pullback]:
    y = np.exp(z - z.max(axis=1, keepdims=True))
    y = y / y.sum(axis=1, keepdims=True)
    return y, lambda dy: y * (dy - (dy * y).sum(axis=1, keepdims=True))


def log_softmax(z: Array) -> tuple[Array, Pullback]:
    shifted = z - z.max(axis=1, keepdims=True)
    y = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return y, lambda dy: dy - np.exp(y) * dy.sum(axis=1, keepdims=True)


# --- losses: (y, t) -> (one value per item, gradient of their sum with respect to y)


def mse(y: Array, t: Array) -> tuple[Array, Array]:
    return (y - t) ** 2, 2 * (y - t)


def l1(y: Array, t: Array) -> tuple[Array, Array]:
    return np.abs(y - t), np.sign(y - t)


def huber(delta: float = 1) -> Callable[[Array, Array], tuple[Array, Array]]:
    def function(y: Array, t: Array) -> tuple[Array, Array]:
        e = y - t
        far = np.abs(e) > delta
        value = np.where(far, delta * (np.abs(e) - 0.5 * delta), 0.5 * e * e)
        return value, np.clip(e, -delta, delta)

    return function


def smooth_l1(beta: float = 1) -> Callable[[Array, Array], tuple[Array, Array]]:
    def function(y: Array, t: Array) -> tuple[Array, Array]:
        value, slope = huber(beta)(y, t)
        return value / beta, slope / beta

    return function


def poisson_nll(
    log_input: bool, full: bool, eps: float = 1e-8
) -> Callable[[Array, Array], tuple[Array, Array]]:
    def function(y: Array, t: Array) -> tuple[Array, Array]:
        stirling = np.zeros_like(t)
        if full:
            many = t > 1
            n = t[many]
            stirling[many] = n * np.log(n) - n + 0.5 * np.log(2 * math.pi * n)
        if log_input:
            return np.exp(y) - t * y + stirling, np.exp(y) - t
        return y - t * np.log(y + eps) + stirling, 1 - t / (y + eps)

    return function


def gaussian_nll(y: Array, t: Array) -> tuple[Array, Array]:
    mean, variance = np.split(y, 2, axis=1)
    v, e = np.maximum(variance, 1e-6), mean - t
    value = 0.5 * (np.log(v) + e * e / v + math.log(2 * math.pi))
    return value, np.concatenate([e / v, 0.5 * (1 / v - (e / v) ** 2)], axis=1)


def kl_div(y: Array, t: Array) -> tuple[Array, Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.where(t > 0, t * np.log(t), 0)
    return entropy - t * y, -t


def kl_div_log(y: Array, t: Array) -> tuple[Array, Array]:
    return np.exp(t) * (t - y), -np.exp(t)


def quantile(quantiles: Sequence[float]) -> Callable[[Array, Array], tuple[Array, Array]]:
    q = np.array(quantiles)

    def function(y: Array, t: Array) -> tuple[Array, Array]:
        e = t - y
        return np.where(e > 0, q * e, (q - 1) * e), np.where(e > 0, -q, 1 - q) * (e != 0)

    return function


def bce(y: Array, t: Array) -> tuple[Array, Array]:
    with np.errstate(divide="ignore"):
        log_y, log_rest = np.maximum(np.log(y), -100), np.maximum(np.log1p(-y), -100)
    return -(t * log_y + (1 - t) * log_rest), (y - t) / np.maximum(y * (1 - y), 1e-12)


def bce_with_logits(y: Array, t: Array) -> tuple[Array, Array]:
    return np.logaddexp(0, y) - t * y, sigmoid(y)[0] - t


def nll(y: Array, t: Array) -> tuple[Array, Array]:
    chosen = one_hot(t, y.shape[1])
    return -(chosen * y).sum(axis=1), -chosen


def cross_entropy(y: Array, t: Array) -> tuple[Array, Array]:
    chosen = one_hot(t, y.shape[1]) if t.ndim == 1 else t
    log_probability, pullback = log_softmax(y)
    return -(chosen * log_probability).sum(axis=1), pullback(-chosen)


def smoothed_cross_entropy(eps: float) -> Callable[[Array, Array], tuple[Array, Array]]:
    def function(y: Array, t: Array) -> tuple[Array, Array]:
        chosen = one_hot(t, y.shape[1])
        return cross_entropy(y, (1 - eps) * chosen + eps / y.shape[1])

    return function


def one_hot(classes: Array, count: int) -> Array:
    return np.eye(count)[classes]


# --- chains


class Affine:
    """y = x W^T + b with torch's W (out x in); `grads` holds dW and db after the pullback."""

    def __init__(self, weight: Array, bias: Array | None = None) -> None:
        self.parameters = [weight] if bias is None else [weight, bias]
        self.grads: list[Array] = []

    def __call__(self, x: Array) -> tuple[Array, Pullback]:
        weight, *bias = self.parameters

        def pullback(dy: Array) -> Array:
            self.grads = [dy.T @ x, dy.sum(axis=0)][: len(self.parameters)]
            return dy @ weight

        return x @ weight.T + (bias[0] if bias else 0), pullback


class Gradients(NamedTuple):
    y: Array
    loss: float
    inputs: list[Array]  # what each layer was given; the kinks are looked for here
    grads: list[Array]  # of the parameters, in order
    grad_x: Array


def forward(layers: Sequence[Function], x: Array) -> Array:
    for layer in layers:
        x, _ = layer(x)
    return x


def gradients(
    layers: Sequence[Function], loss: Callable[..., Any], reduction: str, x: Array, t: Array
) -> Gradients:
    """Loss of a chain of layers, and its gradient with respect to every parameter and x."""
    inputs, pullbacks = [], []
    y = x
    for layer in layers:
        inputs.append(y)
        y, pullback = layer(y)
        pullbacks.append(pullback)
    values, dy = loss(y, t)
    scale = 1 / values.size if reduction == "mean" else 1.0
    dy = dy * scale
    for pullback in reversed(pullbacks):
        dy = pullback(dy)
    grads = [g for layer in layers if isinstance(layer, Affine) for g in layer.grads]
    return Gradients(y, float(values.sum() * scale), inputs, grads, dy)


def clip_grad_norm(grads: Sequence[Array], max_norm: float) -> float:
    """Scale `grads` in place to a common norm of at most `max_norm`; returns the norm before."""
    norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
    for g in grads:
        g *= min(1.0, max_norm / (norm + 1e-6))
    return norm
