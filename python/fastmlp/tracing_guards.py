"""What a compiled `forward` has read that can change without any module noticing.

Setting an attribute of a module makes it trace again. Globals, variables of enclosing functions,
attributes of classes, and what lists, dicts and other objects hold, are looked at before each call
of a model whose `forward`, or a function that it names, reads such.
"""

import dis
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from fastmlp import _core
from fastmlp.parameter import Parameter

_LIBRARIES = ("fastmlp", "torch", "numpy", "math", "builtins", "functools", "collections")
_ITEMS = 256  # of a container or array with more, its length alone is looked at
_DEPTH = 8  # of containers in one another
_GENERATORS = ("Generator", "RandomState", "Random")  # of random numbers
_MISSING = object()


class Guards:
    """The places that the code of modules reads, and what they held when it was traced."""

    def __init__(self, modules: Iterable[Any]) -> None:
        self.effects: list[str] = []
        self._reads: list[Callable[[], Any]] = []
        self._seen: set[Any] = set()
        for module in modules:
            self._look_at(module.forward, module)
        self._held = [_content(read()) for read in self._reads]

    def __bool__(self) -> bool:
        return bool(self._reads)

    def hold(self) -> bool:
        """Whether all is as it was."""
        return all(
            _content(read()) == held for read, held in zip(self._reads, self._held, strict=True)
        )

    def settle(self) -> bool:
        """After the trace, whether it has changed what is looked at, other than adding to a log."""
        kept = []
        for read, held in zip(self._reads, self._held, strict=True):
            if not isinstance(read(), list | dict | set) or _content(read()) == held:
                kept.append((read, held))
        self._reads, self._held = [read for read, _ in kept], [held for _, held in kept]
        return not self.hold()

    def _look_at(self, function: Any, module: Any) -> None:
        """Find what a function reads, and those that it calls; `module` is its self."""
        if isinstance(function, MethodType):
            function = function.__func__
        function = getattr(function, "__wrapped__", function)
        if not isinstance(function, FunctionType) or _is_of_library(function.__module__):
            return
        if "site-packages" in function.__code__.co_filename:  # installed, so not the user's
            return
        if (function, id(module)) in self._seen:
            return
        self._seen.add((function, id(module)))
        names, attributes = _names(function.__code__)
        for name in names:
            if name.startswith("@"):  # which pytest puts into code that asserts
                continue
            value = function.__globals__.get(name)
            if type(value) is not ModuleType:
                self._watch(module, function.__globals__, name)
            elif not _is_of_library(name := value.__name__):
                for attribute in attributes & vars(value).keys():
                    self._watch(module, vars(value), attribute)
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            if name != "__class__":
                self._watch(module, cell, "cell_contents")
        for name in attributes:
            own = module.__dict__.get(name, _MISSING)
            if own is _MISSING:
                self._look_at_class(type(module), name, module)
            elif isinstance(own, FunctionType | MethodType):
                self._look_at(own, module)
            elif not isinstance(own, _Plain):
                self._watch(module, module.__dict__, name)

    def _look_at_class(self, kind: type, name: str, module: Any) -> None:
        """A method, a property or a constant of a model's class."""
        owner = next((base for base in kind.__mro__ if name in base.__dict__), None)
        if owner is None or _is_of_library(owner.__module__):
            return
        found = owner.__dict__[name]
        found = getattr(found, "fget", None) or getattr(found, "__func__", found)
        if isinstance(found, FunctionType):
            self._look_at(found, module)
        else:
            self._watch(module, owner, name)

    def _watch(self, module: Any, place: Any, name: str) -> None:
        """Remember a place, unless what it holds is code."""
        read = _reader(place, name)
        value = read()
        if isinstance(value, FunctionType):
            self._look_at(value, module)
            if _is_of_library(value.__module__):
                return
        elif value is _MISSING or isinstance(value, type | _core.Model) or _is_code(value):
            return
        if (id(place), name) not in self._seen:
            self._seen.add((id(place), name))
            self._reads.append(read)
            if hasattr(value, "__next__") or type(value).__name__ in _GENERATORS:
                self.effects.append(f"forward draws from {name!r}, whose state changes")


_Plain = int | float | complex | str | bytes | None


def _reader(place: Any, name: str) -> Callable[[], Any]:
    if isinstance(place, dict):
        return lambda: place.get(name, _MISSING)
    return lambda: getattr(place, name, _MISSING)


def _is_of_library(module: Any) -> bool:
    return str(module).split(".")[0] in _LIBRARIES


def _is_code(value: Any) -> bool:
    """A module, or a function that is not written in Python."""
    return type(value) is ModuleType or (callable(value) and not hasattr(value, "__dict__"))


@lru_cache(maxsize=1024)
def _names(code: CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """The globals and the attributes that code reads, that of inner functions included."""
    names: set[str] = set()
    attributes: set[str] = set()
    for part in _codes(code):
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.add(str(instruction.argval))
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                attributes.add(str(instruction.argval))
    return frozenset(names), frozenset(attributes)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _content(value: Any, depth: int = _DEPTH) -> Any:
    """What can be compared of a value: numbers and texts, those in containers, and identities."""
    if isinstance(value, _Plain):
        return type(value), value
    if isinstance(value, np.ndarray) and value.size <= _ITEMS:
        return id(value), value.tobytes()
    if type(value).__module__ == "torch" and hasattr(value, "numel") and value.numel() <= _ITEMS:
        return id(value), value.tolist()
    if depth and isinstance(value, list | tuple | set | frozenset | dict):
        if len(value) > _ITEMS:
            return id(value), len(value)
        parts = value.items() if isinstance(value, dict) else value
        return type(value), [_content(part, depth - 1) for part in parts]
    if depth and _is_record(value):
        return id(value), _content(value.__dict__, depth - 1)
    return id(value)


def _is_record(value: Any) -> bool:
    """Whether it is an object of attributes, such as a namespace of options."""
    apart = isinstance(value, _core.Model | Parameter | np.ndarray | FunctionType | type)
    return not apart and hasattr(value, "__dict__") and not _is_of_library(type(value).__module__)
