"""The optimizers, with torch's names, mathematics and checks."""

from collections.abc import Mapping
from typing import Any

from fastmlp import _checks
from fastmlp.optimizer import Optimizer, Params
from fastmlp.options import Option, check_betas, check_nesterov, not_negative, number, share

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Lion", "NAdam", "Optimizer", "RMSprop"]


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


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, "Incorporating Nesterov momentum into Adam", 2016).

    In step i the momentum is m = betas[0] * (1 - 0.96 ** (i * momentum_decay) / 2), and that of the
    next step n. With p, the product of the momenta so far, the step is along
    (1 - m) / (1 - p) * gradient + n / (1 - p * n) * mean gradient.

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
    momentum_decay : float
        How fast the momentum grows from half of betas[0] to all of it.
    decoupled_weight_decay : bool
        Each step first scales the parameters by 1 - lr * weight_decay, as in `AdamW`, and the
        gradient stays as it is.
    maximize : bool
        Climb instead of descending.
    **torch_only
        For torch's sake: `foreach` and `fused` change nothing, `capturable` and `differentiable`
        have to be false.
    """

    lr = Option(not_negative)
    betas = Option(check_betas)
    eps = Option(not_negative)
    weight_decay = Option(not_negative)
    momentum_decay = Option(not_negative)
    decoupled_weight_decay = Option(_checks.flag)
    maximize = Option(_checks.flag)

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **torch_only: Any,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__("nadam", params, options, torch_only)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011): steps get smaller where gradients have been large.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr : float
        The learning rate.
    lr_decay : float
        In step i, counted from 0, the rate is lr / (1 + i * lr_decay).
    weight_decay : float
        Adds weight_decay * parameter to the gradient.
    initial_accumulator_value : float
        Where the sums of squares begin. As in torch, what the optimizer was made with counts, for
        all groups and also for those that are added later.
    eps : float
        Added to the root of the sum of squares.
    maximize : bool
        Climb instead of descending.
    **torch_only
        For torch's sake: `foreach` and `fused` change nothing, `capturable` and `differentiable`
        have to be false.
    """

    lr = Option(not_negative)
    lr_decay = Option(not_negative)
    weight_decay = Option(not_negative)
    initial_accumulator_value = Option(not_negative)
    eps = Option(not_negative)
    maximize = Option(_checks.flag)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **torch_only: Any,
    ) -> None:
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        super().__init__("adagrad", params, options, torch_only)

    def _native_options(self, options: Mapping[str, Any]) -> dict[str, float]:
        native = super()._native_options(options)
        if (name := "initial_accumulator_value") in native:
            native[name] = self._defaults[name]
        return native


class Lion(Optimizer):
    """Lion (Chen et al., arXiv 2302.06675): each step is lr long in every direction.

    With m, the mean gradient so far, it goes against the sign of
    betas[0] * m + (1 - betas[0]) * gradient; then m becomes
    betas[1] * m + (1 - betas[1]) * gradient. torch has no Lion; the state is called `exp_avg`, as
    in the authors' code.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr : float
        The learning rate: the length of a step. A third to a tenth of Adam's is usual.
    betas : pair of float
        How much of the mean gradient counts in the step, and is kept for the next one.
    weight_decay : float
        Each step first scales the parameters by 1 - lr * weight_decay.
    maximize : bool
        Climb instead of descending.
    **torch_only
        For torch's sake: `foreach` and `fused` change nothing, `capturable` and `differentiable`
        have to be false.
    """

    lr = Option(not_negative)
    betas = Option(check_betas)
    weight_decay = Option(not_negative)
    maximize = Option(_checks.flag)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **torch_only: Any,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__("lion", params, options, torch_only)
