"""Lists and dicts of parameters, for models that compute with them in their own `forward`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastmlp import _checks
from fastmlp.modules import Module
from fastmlp.parameter import Parameter


class _Parameters(Module):
    """What the two share: values are parameters, or become such, and are found by name."""

    def _named(self) -> dict[str, Parameter]:
        return dict(self.named_parameters(recurse=False))

    def _keep(self, name: str, value: Any) -> None:
        taken = isinstance(name, str) and hasattr(type(self), name)
        if not isinstance(name, str) or not name or "." in name or taken:
            raise ValueError(f"name: expected one that is free for an attribute, got {name!r}")
        setattr(self, name, value if isinstance(value, Parameter) else Parameter(value))

    def __len__(self) -> int:
        return len(self._named())

    def extra_repr(self) -> str:
        """The names and shapes."""
        return ", ".join(f"{name}: {value.shape}" for name, value in self._named().items())


class ParameterList(_Parameters):
    """A list of parameters that belong to the model.

    Parameters
    ----------
    values : iterable of Parameter, or of array_like that become such, optional
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(values)

    def append(self, value: Any) -> "ParameterList":
        """Add a parameter at the end; returns this list."""
        self._keep(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Any]) -> "ParameterList":
        """Add parameters at the end; returns this list."""
        if not hasattr(values, "__iter__") or isinstance(values, Parameter):
            raise TypeError(f"values: expected several parameters, got {_checks.show(values)}")
        for value in values:
            self.append(value)
        return self

    __iadd__ = extend

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._named().values())

    def __getitem__(self, index: Any) -> Any:
        found = list(self)[index]
        return ParameterList(found) if isinstance(index, slice) else found

    def __setitem__(self, index: int, value: Any) -> None:
        self._keep(list(self._named())[index], value)


class ParameterDict(_Parameters):
    """Parameters by name that belong to the model.

    Parameters
    ----------
    values : mapping of str to Parameter or array_like, or iterable of pairs, optional
    """

    def __init__(self, values: "Mapping[str, Any] | Iterable[tuple[str, Any]]" = ()) -> None:
        super().__init__()
        self.update(values)

    def update(self, values: "Mapping[str, Any] | Iterable[tuple[str, Any]]") -> None:
        """Add parameters, or replace those of the same names."""
        named = dict(values)
        for name in sorted(named) if type(values) is dict else named:  # as torch orders them
            self[name] = named[name]

    def __getitem__(self, name: str) -> Parameter:
        return self._named()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._keep(name, value)

    def __delitem__(self, name: str) -> None:
        self[name]  # or KeyError
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._named()

    def __iter__(self) -> Iterator[str]:
        return iter(self._named())

    def keys(self) -> list[str]:
        """The names."""
        return list(self._named())

    def values(self) -> list[Parameter]:
        """The parameters."""
        return list(self._named().values())

    def items(self) -> list[tuple[str, Parameter]]:
        """The names and parameters."""
        return list(self._named().items())
