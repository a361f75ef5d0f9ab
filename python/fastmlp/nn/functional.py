"""Activations and losses as functions, under torch's names.

Activations take what a layer takes: a batch, a model's recorded output, whose gradient they pass
on, and in a model's `forward` the value that is traced. Losses take what the classes of losses do.
"""

import sys
from functools import lru_cache
from typing import Any

from fastmlp import _checks, _conversions, activations, distribution_losses, losses
from fastmlp.arithmetic import compositions
from fastmlp.arithmetic.compositions import cosine_similarity as cosine_similarity
from fastmlp.arithmetic.compositions import glu as glu
from fastmlp.arithmetic.compositions import layer_norm as layer_norm
from fastmlp.arithmetic.compositions import normalize as normalize
from fastmlp.arithmetic.compositions import pairwise_distance as pairwise_distance
from fastmlp.arithmetic.compositions import prelu as prelu
from fastmlp.arithmetic.functions import mean, multiply, sum
from fastmlp.arithmetic.operands import shape_of
from fastmlp.layers import Dropout
from fastmlp.symbolic import Symbolic
from fastmlp.tensor import Tensor


@lru_cache(maxsize=256, typed=True)
def _kept(kind: Any, *arguments: Any) -> Any:
    return kind(*arguments)


def _made(kind: Any, *arguments: Any) -> Any:
    """One object for each kind and its options: making modules would end all traces."""
    try:
        hash(arguments)
    except TypeError:  # no option is of such a type: let the class say so
        return kind(*arguments)
    return _kept(kind, *arguments)


def _activation(kind: Any, x: Any, *options: Any) -> Any:
    return _made(kind, *options)(x)


def relu(input: Any, inplace: bool = False) -> Any:
    """max(input, 0)."""
    return _activation(activations.ReLU, input, inplace)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """See `fastmlp.LeakyReLU`."""
    return _activation(activations.LeakyReLU, input, negative_slope, inplace)


def sigmoid(input: Any) -> Any:
    """1 / (1 + exp(-input))."""
    return _activation(activations.Sigmoid, input)


def tanh(input: Any) -> Any:
    """The hyperbolic tangent."""
    return _activation(activations.Tanh, input)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """See `fastmlp.Hardtanh`."""
    return _activation(activations.Hardtanh, input, min_val, max_val, inplace)


def gelu(input: Any, approximate: str = "none") -> Any:
    """See `fastmlp.GELU`."""
    return _activation(activations.GELU, input, approximate)


def silu(input: Any, inplace: bool = False) -> Any:
    """input * sigmoid(input)."""
    return _activation(activations.SiLU, input, inplace)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """See `fastmlp.ELU`."""
    return _activation(activations.ELU, input, alpha, inplace)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """See `fastmlp.Softplus`."""
    return _activation(activations.Softplus, input, beta, threshold)


def relu6(input: Any, inplace: bool = False) -> Any:
    """input clamped to [0, 6]."""
    return _activation(activations.ReLU6, input, inplace)


def selu(input: Any, inplace: bool = False) -> Any:
    """See `fastmlp.SELU`."""
    return _activation(activations.SELU, input, inplace)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """See `fastmlp.CELU`."""
    return _activation(activations.CELU, input, alpha, inplace)


def mish(input: Any, inplace: bool = False) -> Any:
    """input * tanh(softplus(input))."""
    return _activation(activations.Mish, input, inplace)


def hardswish(input: Any, inplace: bool = False) -> Any:
    """input * hardsigmoid(input)."""
    return _activation(activations.Hardswish, input, inplace)


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """(input + 3) / 6, clamped to [0, 1]."""
    return _activation(activations.Hardsigmoid, input, inplace)


def logsigmoid(input: Any) -> Any:
    """log(1 / (1 + exp(-input)))."""
    return _activation(activations.LogSigmoid, input)


def softsign(input: Any) -> Any:
    """input / (1 + abs(input))."""
    return _activation(activations.Softsign, input)


def softmax(input: Any, dim: int = 1) -> Any:
    """See `fastmlp.Softmax`."""
    return _activation(activations.Softmax, input, dim)


def log_softmax(input: Any, dim: int = 1) -> Any:
    """See `fastmlp.LogSoftmax`."""
    return _activation(activations.LogSoftmax, input, dim)


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """See `fastmlp.Dropout`; without `training`, input itself."""
    if not _checks.flag("training", training):
        return input
    return _activation(Dropout, input, p, inplace)


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """`input @ weight.T + bias`; in a model's `forward`, with parameters of its own."""
    if isinstance(input, Symbolic):
        return input.trace.add_linear(input, weight, bias)
    return compositions.linear(input, weight, bias)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """See `fastmlp.MSELoss`."""
    return _loss(losses.MSELoss, input, target, reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """See `fastmlp.L1Loss`."""
    return _loss(losses.L1Loss, input, target, reduction)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """See `fastmlp.HuberLoss`."""
    return _loss(losses.HuberLoss, input, target, reduction, delta)


def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """See `fastmlp.SmoothL1Loss`."""
    return _loss(losses.SmoothL1Loss, input, target, reduction, beta)


def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """See `fastmlp.BCELoss`; a weight may be one for each element, too."""
    return _weighted(losses.BCELoss, input, target, weight, reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """See `fastmlp.BCEWithLogitsLoss`; a weight may be one for each element, too."""
    options = _hashable(pos_weight)
    return _weighted(losses.BCEWithLogitsLoss, input, target, weight, reduction, options)


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """See `fastmlp.NLLLoss`."""
    return _loss(losses.NLLLoss, input, target, _hashable(weight), ignore_index, reduction)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """See `fastmlp.CrossEntropyLoss`."""
    options = _hashable(weight), ignore_index, reduction, label_smoothing
    return _loss(losses.CrossEntropyLoss, input, target, *options)


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """See `fastmlp.PoissonNLLLoss`."""
    return _loss(distribution_losses.PoissonNLLLoss, input, target, log_input, full, eps, reduction)


def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any = None,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """See `fastmlp.GaussianNLLLoss`."""
    return distribution_losses.GaussianNLLLoss(full=full, eps=eps, reduction=reduction)(
        input, target, var
    )


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """See `fastmlp.KLDivLoss`."""
    return _loss(distribution_losses.KLDivLoss, input, target, reduction, log_target)


def _weighted(
    kind: Any, input: Any, target: Any, weight: Any, reduction: str, *options: Any
) -> Tensor:
    if weight is None or len(shape_of(weight)) < 2:
        return _loss(kind, input, target, _hashable(weight), reduction, *options)
    _made(kind, None, reduction)  # which checks the reduction
    values = multiply(_loss(kind, input, target, None, "none", *options), weight)
    return values if reduction == "none" else sum(values) if reduction == "sum" else mean(values)


def _hashable(weight: Any) -> Any:
    """The numbers of an array, as the cache of losses wants them."""
    if weight is None or isinstance(weight, int | float):
        return weight
    array = _conversions.as_array(weight, "weight")
    return tuple(array.tolist()) if array.ndim == 1 else weight


def _loss(kind: Any, input: Any, target: Any, *options: Any) -> Tensor:
    result: Tensor = _made(kind, *options)(input, target)
    return result


def __getattr__(name: str) -> Any:
    """torch's own functions, where torch is there: they take our tensors."""
    module = sys.modules.get("torch.nn.functional")
    if module is None or name.startswith("_") or not hasattr(module, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
