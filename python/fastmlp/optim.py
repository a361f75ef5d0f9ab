"""The optimizers, with torch's names, mathematics and checks."""

import copyreg
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, overload

import numpy as np

from fastmlp import _checks, _core
from fastmlp._types import Array
from fastmlp.parameter import Parameter, check_each

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


# The names of the native states of each kind in torch's state dicts; whether torch counts steps.
_STATES = {
    "sgd": (("momentum_buffer",), False),
    "adam": (("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), True),
    "adamw": (("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), True),
    "rmsprop": (("square_avg", "momentum_buffer", "grad_avg"), True),
}
# What torch's groups hold beside our options.
_TORCH_ONLY = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}


class _Group(dict[str, Any]):
    """An optimizer's options by name; what is assigned takes effect at the next step."""

    def __init__(self, optimizer: "Optimizer") -> None:
        super().__init__(params=list(optimizer.parameters), **optimizer.options)
        self._optimizer = optimizer

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self._optimizer.options:
            known = self._optimizer.options
            raise KeyError(f"unknown option {name!r}{_checks.similar(name, known)}")
        self._optimizer.set_option(name, value)

    def update(self, *values: Any, **options: Any) -> None:
        for name, value in dict(*values, **options).items():
            self[name] = value


class Optimizer(_core.Optimizer):
    """Base of the optimizers.

    Parameters
    ----------
    params : iterable of Parameter
        Such as `model.parameters()`.

    Attributes
    ----------
    param_groups : list of one dict
        The options by torch's names, and the parameters. Assigning to an option takes effect at the
        next step.

    Raises
    ------
    TypeError
        If `params` holds anything but parameters, or they differ in dtype.
    ValueError
        If `params` is empty or names a parameter twice, or an option is out of range.
    """

    parameters: tuple[Parameter, ...]
    options: dict[str, Any]
    param_groups: list[_Group]
    _native_kind: str

    def __init__(self, kind: str, params: Iterable[Parameter], options: dict[str, Any]) -> None:
        self.parameters = _check_parameters(params)
        self.options = {name: self._check_option(name, value) for name, value in options.items()}
        self._check_together(self.options)
        self._native_kind = kind
        self._make()

    def _make(self) -> None:
        native: dict[str, float] = {}
        for name, value in self.options.items():
            native |= _native_options(name, value)
        super().__init__(self._native_kind, [p._native for p in self.parameters], native)
        self.param_groups = [_Group(self)]

    def __setattr__(self, name: str, value: Any) -> None:
        # Subclasses of one's own have attributes of their own.
        if type(self).__module__ == __name__ and not hasattr(type(self), name):
            known = ("parameters", "options", "param_groups", "_native_kind")
            if name not in known:
                _checks.refuse_attribute(self, name, self.options)
        super().__setattr__(name, value)

    def set_option(self, name: str, value: Any) -> None:
        """Change an option; the same as assigning to the attribute of that name."""
        value = self._check_option(name, value)
        options = {**self.options, name: value}
        self._check_together(options)
        for native_name, number in _native_options(name, value).items():
            super().set_option(native_name, number)
        self.options = options
        dict.__setitem__(self.param_groups[0], name, value)

    def _check_option(self, name: str, value: Any) -> Any:
        option: Option[Any] = getattr(type(self), name)
        return option.check(name, value)

    def _check_together(self, options: dict[str, Any]) -> None:
        """Check what depends on several options."""

    # State

    def state_dict(self) -> dict[str, Any]:
        """The options, and what was gathered over the steps, in torch's layout.

        Returns
        -------
        dict
            `state`: by the parameter's number its `step` and arrays of its shape, such as
            `exp_avg`. `param_groups`: a list of one dict of options, with the numbers as `params`.
            Arrays are copies; `fastmlp.nn.utils.to_torch` makes tensors of them.
        """
        names, counts = _STATES[self._native_kind]
        state: dict[int, dict[str, Any]] = {}
        for number, (steps, arrays) in enumerate(self._state()):
            if steps == 0:
                continue
            entry: dict[str, Any] = {"step": float(steps)} if counts else {}
            for name, array in zip(names, arrays, strict=False):
                if array is not None:
                    entry[name] = _to_shape(array, self.parameters[number].shape)
            if entry:
                state[number] = entry
        group = {**self.options, **_TORCH_ONLY, "params": list(range(len(self.parameters)))}
        if self._native_kind in ("adam", "adamw"):
            group["decoupled_weight_decay"] = self._native_kind == "adamw"
        return {"state": state, "param_groups": [group]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict of this optimizer's kind, torch's or ours.

        Raises
        ------
        TypeError, ValueError
            If it is of another layout, or for other parameters. Nothing has changed then.
        """
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise TypeError(
                "state_dict: expected a mapping with state and param_groups, got"
                f" {_checks.show(state_dict)}"
            )
        groups = list(state_dict["param_groups"])
        if len(groups) != 1 or len(groups[0]["params"]) != len(self.parameters):
            sizes = [len(group["params"]) for group in groups]
            raise ValueError(
                f"state_dict: expected one group of {len(self.parameters)} parameters, got groups"
                f" of {sizes}"
            )
        options = {
            name: self._check_option(name, groups[0].get(name, value))
            for name, value in self.options.items()
        }
        self._check_together(options)
        state = dict(state_dict["state"])
        native = [
            self._native_state(state.get(key, {}), parameter)
            for key, parameter in zip(groups[0]["params"], self.parameters, strict=True)
        ]
        self._set_state(native)
        for name, value in options.items():
            self.set_option(name, value)

    def _native_state(
        self, entry: Mapping[str, Any], parameter: Parameter
    ) -> tuple[int, list[Array | None]]:
        names, counts = _STATES[self._native_kind]
        arrays: list[Array | None] = [None] * 3
        for place, name in enumerate(names):
            if (value := entry.get(name)) is None:
                continue
            array = parameter.checked(name, value).astype(parameter.dtype)
            arrays[place] = np.ascontiguousarray(array.T).reshape(-1)
        gathered = any(array is not None for array in arrays)
        return int(entry.get("step", 0)) if counts else int(gathered), arrays

    def __getstate__(self) -> dict[str, Any]:
        own = {name: v for name, v in self.__dict__.items() if name != "param_groups"}
        return {"attributes": own, "native": self._state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        self._make()
        self._set_state(state["native"])

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{type(self).__name__}({options})"


def _to_shape(flat: Array, shape: tuple[int, ...]) -> Array:
    """A native state, stored in x out, in the parameter's shape."""
    return flat.reshape(shape[::-1]).T.copy()


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


def _check_parameters(params: Any) -> tuple[Parameter, ...]:
    found = check_each("params", params)
    if not found:
        raise ValueError(
            "params: expected at least one parameter, got none: a model without parameters, or a"
            " generator that has been used up; layers in a plain list are not found, keep them in"
            " attributes, a Sequential or a ModuleList"
        )
    if len({id(parameter) for parameter in found}) < len(found):
        raise ValueError("params: expected each parameter once, got one of them twice")
    if len(dtypes := sorted({str(parameter.dtype) for parameter in found})) > 1:
        raise TypeError(f"params: expected parameters of one dtype, got {' and '.join(dtypes)}")
    return found
