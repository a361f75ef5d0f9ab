"""Containers of modules: Sequential, and lists and dicts for models with their own `forward`."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload

from fastmlp import _checks, _core
from fastmlp.modules import Module
from fastmlp.symbolic import UncompilableError
from fastmlp.tracing import Trace

Q = TypeVar("Q", bound="Sequential")
L = TypeVar("L", bound="ModuleList")


class Sequential(Module):
    """Modules that run one after another.

    Parameters
    ----------
    *modules : Module, or one list of them, or one dict of name and module
        Without names of their own they are called "0", "1", ... Each can be reached by index and,
        if its name allows, by attribute.
    dtype : {"float32", "float64"}, optional
        Converts the parameters of all modules, in place. Make optimizers afterwards.
    device, precision : str, optional
        Move all modules; see `Module.to`.

    Raises
    ------
    TypeError
        If an argument is no module, or layers differ in their dtype.
    ValueError
        If a layer takes another number of features than the one before it gives, or lies on another
        device.
    """

    def __init__(
        self,
        *modules: Any,
        dtype: Any = None,
        device: str | None = None,
        precision: str | None = None,
    ) -> None:
        super().__init__()
        for name, module in _named(modules):
            self._insert(name, module)
        if dtype is not None:
            self.to(dtype=dtype)
        if device is not None or precision is not None:
            self.to(device=device, precision=precision)
        if not modules:
            return  # there is nothing to fit together
        # Not self.forward, which a subclass may define, and which may need what it sets up later.
        with suppress(UncompilableError):
            Trace(self).run(lambda x: Sequential.forward(self, x))

    def _insert(self, name: str, module: Any) -> None:
        if not isinstance(module, Module):
            hint = f"; write {module.__name__}()" if isinstance(module, type) else ""
            got = f"{_checks.show(module)}{_checks.origin(module)}"
            raise TypeError(f"modules: expected modules, got {got}{hint}")
        if not isinstance(name, str) or not name or "." in name or hasattr(type(self), name):
            raise ValueError(f"modules: expected names free for attributes, got {name!r}")
        setattr(self, name, module)

    if TYPE_CHECKING:  # modules by their names

        def __getattr__(self, name: str) -> Any: ...

    def forward(self, x: Any) -> Any:
        """Pass x through all modules."""
        for module in self.children():
            x = module(x)
        return x

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...
    def __getitem__(self, index: int | slice) -> Any:
        items = list(self.named_children())
        return Sequential(dict(items[index])) if isinstance(index, slice) else items[index][1]

    def __setitem__(self, index: int, module: Module) -> None:
        items = list(self.named_children())
        items[index] = items[index][0], module
        self._replace(items)

    def __delitem__(self, index: int | slice) -> None:
        items = list(self.named_children())
        del items[index]
        self._replace(items)

    def __add__(self, other: "Sequential") -> "Sequential":
        if not isinstance(other, Sequential):
            raise TypeError(f"other: expected a Sequential, got {_checks.show(other)}")
        return Sequential(*self, *other)

    def __iadd__(self, other: "Sequential") -> "Sequential":
        return self.extend(other)

    def append(self: Q, module: Module) -> Q:
        """Add a module at the end; returns this one."""
        return self.insert(len(self), module)

    def extend(self: Q, modules: Iterable[Module]) -> Q:
        """Add modules at the end; returns this one."""
        if not hasattr(modules, "__iter__"):
            raise TypeError(f"modules: expected modules, got {_checks.show(modules)}")
        self._replace([*self.named_children(), *(("", module) for module in modules)])
        return self

    def insert(self: Q, index: int, module: Module) -> Q:
        """Add a module in front of that at `index`; returns this one."""
        items = list(self.named_children())
        items.insert(_checks.integer("index", index, at_least=-len(items)), ("", module))
        self._replace(items)
        return self

    def pop(self, index: int = -1) -> Module:
        """Remove a module, and return it."""
        module: Module = self[index]
        del self[index]
        return module

    def _replace(self, items: list[tuple[str, Any]]) -> None:
        """Take other modules, if they fit together. Numbers are given anew, names stay."""
        Sequential(*(module for _, module in items))  # or an error, before anything changes
        named = [
            (name if name and not name.isdecimal() else str(number), module)
            for number, (name, module) in enumerate(items)
        ]
        if any(self is inner for _, module in named for inner in module.modules()):
            raise ValueError("module: expected one that does not contain this Sequential")
        for name, _ in list(self.named_children()):
            del self.__dict__[name]
        for name, module in named:
            self._insert(name, module)
        _core.structure_changed()


class ModuleList(Module):
    """A list of modules whose parameters belong to the model.

    It has no `forward`: the model's own passes values through its items.

    Parameters
    ----------
    modules : iterable of Module, optional
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self: L, module: Module) -> L:
        """Add a module at the end; returns this one."""
        return self.extend([module])

    def extend(self: L, modules: Iterable[Module]) -> L:
        """Add modules at the end; returns this one."""
        new = list(modules)
        for module in new:
            _check_module(module)
        for module in new:
            setattr(self, str(len(self)), module)
        return self

    def __iadd__(self: L, modules: Iterable[Module]) -> L:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> "ModuleList":
        return ModuleList([*self, *other])

    def pop(self, index: int = -1) -> Any:
        """Remove a module, and return it."""
        module = self[index]
        del self[index]
        return module

    def insert(self, index: int, module: Module) -> None:
        """Add a module in front of that at `index`."""
        items = list(self)
        items.insert(index, _check_module(module))
        self._replace(items)

    def _replace(self, items: list[Module]) -> None:
        for name, _ in list(self.named_children()):
            del self.__dict__[name]
        self.extend(items)

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Any]:
        return self.children()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "ModuleList": ...
    def __getitem__(self, index: int | slice) -> Any:
        items = list(self.children())
        return ModuleList(items[index]) if isinstance(index, slice) else items[index]

    def __setitem__(self, index: int, module: Module) -> None:
        items = list(self)
        items[index] = _check_module(module)
        self._replace(items)

    def __delitem__(self, index: int | slice) -> None:
        items = list(self)
        del items[index]
        self._replace(items)


class ModuleDict(Module):
    """Modules by name, whose parameters belong to the model.

    It has no `forward`: the model's own passes values through its items.

    Parameters
    ----------
    modules : mapping of str to Module, or iterable of pairs, optional
    """

    def __init__(
        self, modules: "Mapping[str, Module] | Iterable[tuple[str, Module]] | None" = None
    ) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: "Mapping[str, Module] | Iterable[tuple[str, Module]]") -> None:
        """Add modules, or replace those of the same names."""
        named: dict[str, Module] = dict(modules)
        for name, module in named.items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        taken = isinstance(name, str) and hasattr(type(self), name)
        if not isinstance(name, str) or not name or "." in name or taken:
            raise ValueError(f"name: expected one that is free for an attribute, got {name!r}")
        setattr(self, name, _check_module(module))

    def __getitem__(self, name: str) -> Any:
        return dict(self.named_children())[name]

    def __delitem__(self, name: str) -> None:
        self[name]  # or KeyError
        delattr(self, name)

    def pop(self, name: str) -> Any:
        """Remove a module, and return it."""
        module = self[name]
        del self[name]
        return module

    def clear(self) -> None:
        """Remove all modules."""
        for name in self.keys():
            del self[name]

    def __contains__(self, name: object) -> bool:
        return name in dict(self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        """The names."""
        return [name for name, _ in self.named_children()]

    def values(self) -> list[Any]:
        """The modules."""
        return list(self.children())

    def items(self) -> list[tuple[str, Any]]:
        """The names and modules."""
        return list(self.named_children())


def _check_module(module: Any) -> Module:
    if not isinstance(module, Module):
        raise TypeError(f"modules: expected modules, got {_checks.show(module)}")
    return module


def _named(modules: tuple[Any, ...]) -> list[tuple[str, Any]]:
    if len(modules) == 1 and isinstance(modules[0], Mapping):
        return list(modules[0].items())
    if len(modules) == 1 and isinstance(modules[0], list | tuple):
        modules = tuple(modules[0])
    return [(str(index), module) for index, module in enumerate(modules)]
