"""torch's functions on tensors and parameters of ours: torch sees the numbers alone.

It gets tensors of its own on their memory; what it returns has no gradient. Where a graph ends
that way, `backward` of the result says so; of what is computed from the result, torch's own message
comes.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import numpy as np

from fastmlp import _checks
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.arithmetic.tape import Variable, recording

_thread = threading.local()


@contextmanager
def gradients_needed() -> Iterator[None]:
    """Refuse, meanwhile, what would lose the gradient of a recorded tensor."""
    before = getattr(_thread, "strict", False)
    _thread.strict = True
    try:
        yield
    finally:
        _thread.strict = before


class _Memory:
    """An array's memory without the note that it is read-only, which torch would warn of."""

    def __init__(self, array: Array) -> None:
        self._array = array
        address = array.__array_interface__["data"][0]
        self.__array_interface__ = array.__array_interface__ | {"data": (address, False)}


class _Arguments:
    """Puts torch's tensors in the place of ours, and remembers which."""

    def __init__(self, torch: Any, changing: bool, in_order: bool) -> None:
        self._torch = torch
        self._in_order = in_order
        self._changing = changing
        self.pairs: list[tuple[Any, Any]] = []

    def of_torch(self, value: Any) -> Any:
        """The same, be it within lists, tuples and dicts."""
        if isinstance(value, Tensor | Variable):
            array = np.asarray(value)
            if self._in_order:
                array = np.ascontiguousarray(array)
            if any(stride < 0 for stride in array.strides):
                array = array.copy()
            elif self._changing and not isinstance(value, np.ndarray):
                array = array.copy("C")  # in torch's layout; to be written back
            elif not array.flags.writeable:
                array = np.asarray(_Memory(array))
            self.pairs.append((value, self._torch.from_numpy(array)))
            return self.pairs[-1][1]
        if type(value) in (list, tuple):
            return type(value)(self.of_torch(item) for item in value)
        if type(value) is dict:
            return {key: self.of_torch(item) for key, item in value.items()}
        return value


def is_in_place(name: str) -> bool:
    """Whether torch's function of that name changes its first argument."""
    return name.endswith("_") and not name.endswith("__")


def fallback(function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """The result of a function of torch's on arguments some of which are ours.

    What the function changes in place is changed; of ours, it returns the object that it got.

    Raises
    ------
    ValueError
        If it would change what is read-only, such as the recorded output of a model.
    """
    torch = sys.modules["torch"]
    options = dict(kwargs or {})
    name = getattr(function, "__name__", "function")
    in_place = is_in_place(name) or bool(options.get("inplace"))
    alike = name.endswith("_like")  # of the same shape, and, with random numbers, the same layout
    arguments = _Arguments(torch, in_place or "out" in options, alike)
    given, options = arguments.of_torch(tuple(args)), arguments.of_torch(options)
    targets = [options.get("out")]
    if in_place:
        targets += [*given[:1], options.get("input"), options.get("tensor")]
    changed = [(ours, alias) for ours, alias in arguments.pairs if _is_in(alias, targets)]
    if any(isinstance(ours, np.ndarray) and not ours.flags.writeable for ours, _ in changed):
        raise ValueError(
            f"{name}: expected a tensor that may be changed, got a read-only one, such as the"
            " recorded output of a model; write .detach().clone()"
        )
    result = function(*given, **options)
    taken = not alike and any(ours.requires_grad for ours, _ in arguments.pairs)
    recorded = taken and recording()
    if recorded and getattr(_thread, "strict", False):
        _check_none_lost(torch, name, result)
    for ours, alias in changed:
        if not isinstance(ours, np.ndarray):
            ours.copy_(alias.detach())
    for ours, alias in arguments.pairs:
        if result is alias:
            return ours
    if recorded:
        known = [*given, *options.values()]
        for new in result if isinstance(result, tuple | list) else [result]:
            if isinstance(new, torch.Tensor) and not _is_in(new, known) and new.is_floating_point():
                new.backward = partial(_refuse_backward, name)
    return result


def _check_none_lost(torch: Any, name: str, result: Any) -> None:
    for new in result if isinstance(result, tuple | list) else [result]:
        if isinstance(new, torch.Tensor) and new.is_floating_point():
            raise TypeError(
                f"forward: expected functions that fastmlp can record, got torch's {name}, whose"
                " result would have no gradient; write it with arithmetic and fastmlp's functions,"
                f" or {name} of x.detach() if no gradient is wanted{_checks.user_line()}"
            )


def _is_in(value: Any, values: list[Any]) -> bool:
    return any(value is one for one in values)


def _refuse_backward(name: str, *args: Any, **options: Any) -> NoReturn:
    functional = sys.modules["fastmlp.nn.functional"]
    hint = f"fastmlp.nn.functional.{name}" if hasattr(functional, name) else "fastmlp's functions"
    raise RuntimeError(
        f"backward: torch's {name} got a fastmlp tensor, of whose graph torch knows nothing, and"
        f" gave numbers without a gradient; write {hint}, or arithmetic on the tensor"
    )
