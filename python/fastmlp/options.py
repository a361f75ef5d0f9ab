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
    def set_option(self, name: str, value: Any) -> None: ...


class HasGroups(Protocol):
    """An optimizer, as a group sees it."""

    @property
    def defaults(self) -> Mapping[str, Any]: ...
    def _set_group(self, number: int, changes: Mapping[str, Any]) -> None: ...
    def _set_rate(self, number: int, rate: Any) -> None: ...


class Option(Generic[T]):
    """An option of an optimizer: reads the first group's, and sets that of all groups."""

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
    """The options and parameters of a group; what is assigned takes effect at the next step.

    It may also hold what schedules keep with a group, such as `initial_lr`, and a `name`. A copy is
    a plain dict.
    """

    def __init__(
        self, optimizer: HasGroups, number: int, params: Sequence[Any], options: Mapping[str, Any]
    ) -> None:
        super().__init__(params=list(params), **options)
        self._optimizer = optimizer
        self._number = number
        self._natives = [parameter._native for parameter in params]  # that the core has of it

    @property
    def is_current(self) -> bool:
        """Whether no parameter was converted to another dtype since, which an error will tell."""
        return all(p._native is own for p, own in zip(self["params"], self._natives, strict=True))

    @property
    def options(self) -> dict[str, Any]:
        """The optimizer's options alone."""
        return {name: self[name] for name in self._optimizer.defaults}

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "lr":
            self._optimizer._set_rate(self._number, value)
        else:
            self.update({name: value})

    def update(self, *values: Any, **options: Any) -> None:
        changes = dict(*values, **options)
        if "params" in changes and changes.pop("params") is not self["params"]:
            raise TypeError("params: a group's parameters are fixed; see add_param_group")
        known = self._optimizer.defaults
        for name in changes:
            if name not in known and name not in NOTES:
                raise KeyError(f"unknown option {name!r}{_checks.similar(name, known)}")
        notes = {name: NOTES[name](name, changes[name]) for name in changes if name not in known}
        self._optimizer._set_group(
            self._number, {name: value for name, value in changes.items() if name in known}
        )
        super().update(notes)

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


class ParameterGroups(list[ParameterGroup]):
    """An optimizer's groups; what would change the list without the optimizer is refused.

    A copy is a plain list.
    """

    def _keep(self, *arguments: Any, **options: Any) -> NoReturn:
        raise TypeError("param_groups: groups cannot be exchanged or removed; see add_param_group")

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _keep
    append = extend = insert = pop = remove = clear = sort = reverse = _keep

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


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


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {_checks.show(value)}")
    return value


# What a group may hold beside options and parameters: a name, and what schedules keep there.
NOTES: dict[str, Callable[[str, Any], Any]] = {
    "name": text,
    **dict.fromkeys(("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"), number),
}


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
