"""The options of an optimizer: as attributes, and as a group of parameters by torch's names."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NoReturn, Protocol, TypeVar, overload

import numpy as np

from fastmlp import _checks

T = TypeVar("T")

# What torch's optimizers and their groups have beside our options.
TORCH_ONLY = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}


class HasOptions(Protocol):
    """An optimizer, as far as its options go."""

    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def parameters(self) -> Sequence[Any]: ...
    def set_option(self, name: str, value: Any) -> None: ...


class Option(Generic[T]):
    """An option of an optimizer: reads what was set, and writes through to the native object."""

    def __init__(self, check: Callable[[str, Any], T]) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, optimizer: None, owner: type) -> "Option[T]": ...
    @overload
    def __get__(self, optimizer: HasOptions, owner: type) -> T: ...
    def __get__(self, optimizer: HasOptions | None, owner: type) -> Any:
        return self if optimizer is None else optimizer.options[self.name]

    def __set__(self, optimizer: HasOptions, value: T) -> None:
        optimizer.set_option(self.name, value)


class ParameterGroup(dict[str, Any]):
    """An optimizer's options and parameters; what is assigned takes effect at the next step.

    A copy is a plain dict.
    """

    def __init__(self, optimizer: HasOptions) -> None:
        super().__init__(params=list(optimizer.parameters), **optimizer.options)
        self._optimizer = optimizer

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            raise TypeError("params: an optimizer's parameters are fixed; make a new optimizer")
        known = self._optimizer.options
        if name not in known:
            raise KeyError(f"unknown option {name!r}{_checks.similar(name, known)}")
        self._optimizer.set_option(name, value)

    def update(self, *values: Any, **options: Any) -> None:
        changes = dict(*values, **options)
        if "params" in changes and changes["params"] is self["params"]:
            del changes["params"]
        for name, value in changes.items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default  # which says that there is no such option
        return self[name]

    def __ior__(self, other: Any) -> "ParameterGroup":  # type: ignore[override,misc]
        self.update(other)
        return self

    def _keep(self, *arguments: Any) -> NoReturn:
        raise TypeError("options of an optimizer can be changed, but not removed")

    __delitem__ = pop = popitem = clear = _keep

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


# Checks


def not_negative(name: str, value: Any) -> float:
    return _checks.real(name, value, at_least=0)


def number(name: str, value: Any) -> float:
    return _checks.real(name, value)


def share(name: str, value: Any) -> float:
    return _checks.real(name, value, at_least=0, at_most=1)


def check_betas(name: str, value: Any) -> tuple[float, float]:
    """Two shares, each at least 0 and below 1."""
    array = isinstance(value, np.ndarray) or type(value).__module__ == "torch"
    if not (isinstance(value, Sequence) or array) or isinstance(value, str | bytes):
        raise TypeError(f"{name}: expected two numbers, got {_checks.show(value)}")
    if getattr(value, "shape", None) == () or len(value) != 2:
        raise TypeError(f"{name}: expected two numbers, got {_checks.show(value)}")
    first, second = (
        _checks.real(f"{name}[{i}]", beta, at_least=0, below=1) for i, beta in enumerate(value)
    )
    return first, second


def check_nesterov(nesterov: bool, momentum: float, dampening: float) -> None:
    """Nesterov's step is defined for a momentum and without dampening."""
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(
            "nesterov: expected momentum > 0 and dampening 0 with it,"
            f" got momentum {momentum} and dampening {dampening}"
        )


def check_torch_only(kind: str, options: dict[str, Any], known: Sequence[str]) -> None:
    """Arguments of torch's optimizers that ask for nothing here; TypeError for all others."""
    for name, value in options.items():
        if name not in TORCH_ONLY:
            similar = _checks.similar(name, known)
            raise TypeError(f"{kind}() has no argument {name!r}{similar}")
        if value is not None and not isinstance(value, bool):
            raise TypeError(f"{name}: expected True or False, got {_checks.show(value)}")
        if value and name in ("capturable", "differentiable"):
            raise ValueError(f"{name}: expected False, for there is no such step here, got True")
