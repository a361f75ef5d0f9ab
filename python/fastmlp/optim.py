"""The optimizers, with torch's names, mathematics and checks."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, overload

from fastmlp import _checks, _core
from fastmlp.parameter import Parameter

T = TypeVar("T")


class Option(Generic[T]):
    """An option of an optimizer: reads what was set, and writes through to the native object."""

    def __init__(self, check: Callable[[str, Any], T]) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, optimizer: None, owner: type) -> "Option[T]": ...
    @overload
    def __get__(self, optimizer: "Optimizer", owner: type) -> T: ...
    def __get__(self, optimizer: "Optimizer | None", owner: type) -> Any:
        return self if optimizer is None else optimizer.options[self.name]

    def __set__(self, optimizer: "Optimizer", value: T) -> None:
        optimizer.set_option(self.name, value)


def _not_negative(name: str, value: Any) -> float:
    return _checks.real(name, value, at_least=0)


def _number(name: str, value: Any) -> float:
    return _checks.real(name, value)


def _share(name: str, value: Any) -> float:
    return _checks.real(name, value, at_least=0, at_most=1)


def check_betas(name: str, value: Any) -> tuple[float, float]:
    """Two shares, each at least 0 and below 1."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name}: expected two numbers, got {_checks.show(value)}")
    first, second = (
        _checks.real(f"{name}[{i}]", beta, at_least=0, below=1) for i, beta in enumerate(value)
    )
    return first, second


def _native_options(name: str, value: Any) -> dict[str, float]:
    if name == "betas":
        return {"beta1": value[0], "beta2": value[1]}
    return {name: float(value)}


class Optimizer(_core.Optimizer):
    """Base of the optimizers.

    Parameters
    ----------
    params : iterable of Parameter
        Such as `model.parameters()`.

    Raises
    ------
    TypeError
        If `params` holds anything but parameters, or they differ in dtype.
    ValueError
        If `params` is empty or names a parameter twice, or an option is out of range.
    """

    def __init__(self, kind: str, params: Iterable[Parameter], options: dict[str, Any]) -> None:
        self.parameters = _check_parameters(params)
        self.options = {name: self._check_option(name, value) for name, value in options.items()}
        self._check_together(self.options)
        native: dict[str, float] = {}
        for name, value in self.options.items():
            native |= _native_options(name, value)
        super().__init__(kind, [p._native for p in self.parameters], native)

    def set_option(self, name: str, value: Any) -> None:
        """Change an option; the same as assigning to the attribute of that name."""
        value = self._check_option(name, value)
        options = {**self.options, name: value}
        self._check_together(options)
        for native_name, number in _native_options(name, value).items():
            super().set_option(native_name, number)
        self.options = options

    def _check_option(self, name: str, value: Any) -> Any:
        option: Option[Any] = getattr(type(self), name)
        return option.check(name, value)

    def _check_together(self, options: dict[str, Any]) -> None:
        """Check what depends on several options."""

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{type(self).__name__}({options})"


class SGD(Optimizer):
    """Stochastic gradient descent (momentum: Sutskever et al., 2013).

    Parameters
    ----------
    params : iterable of Parameter
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
    """

    lr = Option(_not_negative)
    momentum = Option(_not_negative)
    dampening = Option(_number)
    weight_decay = Option(_not_negative)
    nesterov = Option(_checks.flag)
    maximize = Option(_checks.flag)

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__("sgd", params, options)

    def _check_together(self, options: dict[str, Any]) -> None:
        check_nesterov(options["nesterov"], options["momentum"], options["dampening"])


def check_nesterov(nesterov: bool, momentum: float, dampening: float) -> None:
    """Nesterov's step is defined for a momentum and without dampening."""
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(
            "nesterov: expected momentum > 0 and dampening 0 with it,"
            f" got momentum {momentum} and dampening {dampening}"
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv 1412.6980).

    Parameters
    ----------
    params : iterable of Parameter
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
    """

    _kind = "adam"
    lr = Option(_not_negative)
    betas = Option(check_betas)
    eps = Option(_not_negative)
    weight_decay = Option(_not_negative)
    amsgrad = Option(_checks.flag)
    maximize = Option(_checks.flag)

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(self._kind, params, options)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter, arXiv 1711.05101).

    Parameters are those of `Adam`; each step first scales the parameters by 1 - lr * weight_decay.
    """

    _kind = "adamw"

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012).

    Parameters
    ----------
    params : iterable of Parameter
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
    """

    lr = Option(_not_negative)
    alpha = Option(_share)
    eps = Option(_not_negative)
    weight_decay = Option(_not_negative)
    momentum = Option(_not_negative)
    centered = Option(_checks.flag)
    maximize = Option(_checks.flag)

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
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
        super().__init__("rmsprop", params, options)


def clip_grad_norm_(parameters: Iterable[Parameter] | Parameter, max_norm: float) -> float:
    """Scale the gradients so that their common norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Parameter, or one
        Those without a gradient count as zero.
    max_norm : float
        Not negative; infinite to measure only. The factor is max_norm / (norm + 1e-6), where that
        is below 1, as in torch.

    Returns
    -------
    float
        The norm before scaling.
    """
    endless = isinstance(max_norm, float) and max_norm == math.inf
    limit = max_norm if endless else _checks.real("max_norm", max_norm, at_least=0)
    if isinstance(parameters, Parameter):
        parameters = [parameters]
    return _core.clip_grad_norm([p._native for p in _check_each("parameters", parameters)], limit)


def _check_each(name: str, params: Any) -> tuple[Parameter, ...]:
    is_model = hasattr(params, "parameters")
    if is_model or isinstance(params, Parameter) or not hasattr(params, "__iter__"):
        hint = "; write model.parameters()" if is_model else ""
        raise TypeError(f"{name}: expected parameters, got {_checks.show(params)}{hint}")
    found = tuple(params)
    for item in found:
        if not isinstance(item, Parameter):
            raise TypeError(f"{name}: expected parameters, got {_checks.show(item)}")
    return found


def _check_parameters(params: Any) -> tuple[Parameter, ...]:
    found = _check_each("params", params)
    if not found:
        raise ValueError("params: expected at least one parameter, got none")
    if len({id(parameter) for parameter in found}) < len(found):
        raise ValueError("params: expected each parameter once, got one of them twice")
    if len(dtypes := sorted({str(parameter.dtype) for parameter in found})) > 1:
        raise TypeError(f"params: expected parameters of one dtype, got {' and '.join(dtypes)}")
    return found
