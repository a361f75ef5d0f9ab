"""The optimizers, with torch's names, mathematics and checks."""

from typing import Any

from fastmlp import _checks
from fastmlp.optimizer import Optimizer, Params
from fastmlp.options import Option, check_betas, check_nesterov, not_negative, number, share

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]


class SGD(Optimizer):
    """Stochastic gradient descent (momentum: Sutskever et al., 2013).

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr : float
        The learning rate.
    momentum, dampening : float
        buffer = momentum * buffer + (1 - dampening) * gradient; the step is along the buffer.
    weight_decay : float
        Adds weight_decay * parameter to the gradient.
    nesterov : bool
        The step is along gradient + momentum * buffer. Needs momentum and no dampening.
    maximize : bool
        Climb instead of descending.
    **torch_only
        For torch's sake: `foreach` and `fused` change nothing, `capturable` and `differentiable`
        have to be false.
    """

    lr = Option(not_negative)
    momentum = Option(not_negative)
    dampening = Option(number)
    weight_decay = Option(not_negative)
    nesterov = Option(_checks.flag)
    maximize = Option(_checks.flag)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
        **torch_only: Any,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__("sgd", params, options, torch_only)

    def _check_together(self, options: dict[str, Any]) -> None:
        check_nesterov(options["nesterov"], options["momentum"], options["dampening"])


class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv 1412.6980).

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr : float
        The learning rate.
    betas : pair of float
        How much of the mean gradient and of the mean square is kept at each step.
    eps : float
        Added to the root of the mean square.
    weight_decay : float
        Adds weight_decay * parameter to the gradient.
    amsgrad : bool
        Divide by the root of the largest mean square so far (Reddi et al., 2018).
    maximize : bool
        Climb instead of descending.
    **torch_only
        For torch's sake: `foreach` and `fused` change nothing, `capturable` and `differentiable`
        have to be false.
    """

    _kind = "adam"
    lr = Option(not_negative)
    betas = Option(check_betas)
    eps = Option(not_negative)
    weight_decay = Option(not_negative)
    amsgrad = Option(_checks.flag)
    maximize = Option(_checks.flag)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
        **torch_only: Any,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(self._kind, params, options, torch_only)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter, arXiv 1711.05101).

    Parameters are those of `Adam`; each step first scales the parameters by 1 - lr * weight_decay.
    """

    _kind = "adamw"

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
        **torch_only: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize, **torch_only)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012).

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr : float
        The learning rate.
    alpha : float
        How much of the mean square is kept at each step.
    eps : float
        Added to the root of the mean square.
    weight_decay : float
        Adds weight_decay * parameter to the gradient.
    momentum : float
        Of a buffer of scaled gradients, along which the step goes.
    centered : bool
        Divide by the root of the variance instead of the mean square (Graves, arXiv 1308.0850).
    maximize : bool
        Climb instead of descending.
    **torch_only
        For torch's sake: `foreach` and `fused` change nothing, `capturable` and `differentiable`
        have to be false.
    """

    lr = Option(not_negative)
    alpha = Option(share)
    eps = Option(not_negative)
    weight_decay = Option(not_negative)
    momentum = Option(not_negative)
    centered = Option(_checks.flag)
    maximize = Option(_checks.flag)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
        **torch_only: Any,
    ) -> None:
        options = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__("rmsprop", params, options, torch_only)
