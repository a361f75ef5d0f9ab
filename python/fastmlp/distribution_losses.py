"""Losses of models that predict a distribution: of counts, its moments, or its quantiles."""

from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp._types import Array
from fastmlp.arithmetic.functions import cast
from fastmlp.arithmetic.operands import array_of, shape_of
from fastmlp.arithmetic.places import cat, expand, reshape, unsqueeze
from fastmlp.losses import Loss, vector
from fastmlp.tensor import Tensor


class PoissonNLLLoss(Loss):
    """The negative log-likelihood of counts whose distribution is Poisson's.

    Parameters
    ----------
    log_input : bool
        Whether the input is the logarithm of the expected count, with the loss exp(y) - t y, or the
        count itself, with y - t log(y + eps). Fixed.
    full : bool
        Whether to add Stirling's approximation of log t!, t log t - t + log(2 pi t) / 2 for t > 1.
    eps : float
        At least 0; what keeps the logarithm finite.
    reduction : {"mean", "sum", "none"}
    """

    log_input: bool
    full: bool
    eps: float
    _options = ("reduction", "full", "eps")
    _fixed = ("log_input",)

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        log_input = _checks.flag("log_input", log_input)
        name = "poisson_nll_log" if log_input else "poisson_nll"
        super().__init__(name, reduction, log_input=log_input, full=full, eps=eps)


class GaussianNLLLoss(Loss):
    """The negative log-likelihood of a normal distribution (Nix and Weigend, 1994).

    A model for k targets has 2k outputs: k means, then k variances, made positive by a `Softplus`,
    say. `loss_fn(output, target)`, and `Trainer`, take such an output with targets of shape
    (rows, k). Arrays may also come apart, as in torch: `loss_fn(mean, target, var)`, with a
    variance for each mean, for each row, or a single one.

    Parameters
    ----------
    full : bool
        Whether to add the constant log(2 pi) / 2.
    eps : float
        Variances below it count as eps, so that the loss stays finite. `loss_fn` refuses negative
        ones; in `Trainer` they count as eps, too.
    reduction : {"mean", "sum", "none"}
        Over the targets.
    """

    full: bool
    eps: float
    _options = ("reduction", "full", "eps")

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__("gaussian_nll", reduction, full=full, eps=eps)

    def __call__(
        self, input: Any, target: Any, var: Any = None, sample_weight: Any = None
    ) -> Tensor:
        if var is None:
            return super().__call__(input, target, sample_weight=sample_weight)
        shape, own = shape_of(input), shape_of(var)
        if len(shape) not in (1, 2):
            raise ValueError(f"input: expected one or two dimensions, got shape {shape}")
        dtype = array_of(input, "input").dtype
        mean, variance = (cast(v, dtype if dtype.kind == "f" else np.float64) for v in (input, var))
        if not np.all(np.asarray(variance) >= 0):
            raise ValueError("var: expected numbers of at least 0, got a negative one or NaN")
        if own and len(own) == len(shape) - 1 and own[0] == shape[0]:
            variance = unsqueeze(variance, 1)  # one for each row, as in torch
        try:
            variance = expand(variance, *shape)
        except ValueError:
            raise ValueError(
                f"var: expected shape {shape} like the input, or one for each row, got {own}"
            ) from None
        columns = (shape[0], -1)
        both = cat([reshape(mean, columns), reshape(variance, columns)], 1)
        values = super().__call__(both, target, sample_weight=sample_weight)
        return reshape(values, shape) if self.reduction == "none" else values


class KLDivLoss(Loss):
    """The Kullback-Leibler divergence of targets from exp(input), element by element.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}
        "batchmean" divides the sum by the rows, as the divergence of distributions wants it.
    log_target : bool
        Whether targets are logarithms of probabilities, or probabilities. Fixed.
    """

    log_target: bool
    _fixed = ("log_target",)
    _reductions = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        log_target = _checks.flag("log_target", log_target)
        name = "kl_div_log" if log_target else "kl_div"
        super().__init__(name, reduction, log_target=log_target)


class QuantileLoss(Loss):
    """The pinball loss: each output column learns a quantile of the target (Koenker and Bassett).

    A column for the quantile q has the value q (t - y) where the target is above the output, and
    (1 - q) (y - t) where it is below. Targets have shape (rows,) or (rows, 1).

    Parameters
    ----------
    quantiles : array_like, shape (columns,)
        Between 0 and 1, one for each output of the model. Fixed.
    reduction : {"mean", "sum", "none"}
        Over all rows and quantiles.
    """

    quantiles: Array
    _fixed = ("quantiles",)

    def __init__(self, quantiles: Any, reduction: str = "mean") -> None:
        if quantiles is None:
            raise TypeError("quantiles: expected numbers between 0 and 1, got None")
        quantiles = vector("quantiles", quantiles, scalar=True, above=0, below=1)
        super().__init__("quantile", reduction, quantiles=quantiles)
