"""The value that stands for a batch while a model's `forward` is traced.

It takes part in torch's and NumPy's protocols for functions, and has torch's methods: all of them
are looked up by name in `FUNCTIONS`, which `traced_functions` fills. What is not there cannot be
compiled: `UncompilableError` says in which line it stands. Where the model is called, `forward`
runs as it stands then (see `direct`), unless it decides by values.
"""

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn, Protocol

from fastmlp import _checks, _core
from fastmlp.parameter import Parameter

FUNCTIONS: dict[str, Callable[..., Any]] = {}  # what can be done with a value, by torch's names
HINTS: dict[str, str] = {}  # what to write instead of other things

_NUMBERS = ("item", "tolist", "numpy")


class Tree(Protocol):
    """A module, as far as its name and those of its sub-modules go."""

    def modules(self) -> Iterator[Any]: ...
    def named_modules(self) -> Iterator[tuple[str, Any]]: ...


class Maker(NamedTuple):
    """The layer that decided on a value's width, and a parameter of its, if it has any."""

    module: Tree
    width: int
    parameter: Parameter | None


class UncompilableError(TypeError):
    """A `forward` that is no native program, but can be run as it stands."""


def refuse(what: str, hint: str = "", kind: type[TypeError] = UncompilableError) -> NoReturn:
    """An error for what cannot be compiled, with the line of `forward` where it stands."""
    raise kind(
        "forward: expected its argument to go through modules, activations, sums and scalings, got"
        f" {what}, which cannot be compiled{'; ' if hint else ''}{hint}{_checks.user_line()}"
    )


class Symbolic(_core.Symbolic):
    """Stands for a value while `forward` is traced.

    Parameters
    ----------
    trace : Trace
    number : int
        The value's: 0 is the input, operation i makes value i + 1.
    maker : Maker or None
        The layer that decided on its width; None: it is as wide as the input.
    flat : bool
        Whether it has two dimensions, however many the input has.
    squeezed : bool
        Whether its dimension of one feature is not there.
    """

    __slots__ = ("flat", "maker", "number", "squeezed", "trace")

    def __init__(
        self,
        trace: Any,
        number: int,
        maker: Maker | None,
        flat: bool = False,
        squeezed: bool = False,
    ) -> None:
        self.trace = trace
        self.number = number
        self.maker = maker
        self.flat = flat
        self.squeezed = squeezed

    def copy(self, **changes: Any) -> "Symbolic":
        """The same value, changed in how it is seen."""
        own = {name: getattr(self, name) for name in Symbolic.__slots__}
        return Symbolic(**{**own, **changes})

    def become(self, other: "Symbolic") -> "Symbolic":
        """Be another value from now on, as an operation in place wants it."""
        if self.number == 0 and self.flat:  # which is a view, in torch
            refuse("an operation in place on a view of the input", "write it without the _")
        for name in Symbolic.__slots__:
            setattr(self, name, getattr(other, name))
        return self

    def end_trace(self) -> NoReturn:
        """UncompilableError is a function of recorded tensors, which has got this."""
        refuse("arithmetic that is recorded, not compiled")

    @property
    def width(self) -> int:
        """How many features."""
        width: int = self.trace.width(self)
        return width

    @property
    def shape(self) -> "Shape":
        return Shape(self)

    @property
    def ndim(self) -> int:
        count: int = self.trace.ndim(self) - self.squeezed
        return count

    @property
    def device(self) -> Any:
        return self.trace.model_device

    @property
    def dtype(self) -> Any:
        return self.trace.model_dtype

    def __repr__(self) -> str:
        return f"<traced value of shape {self.shape}>"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "?")
        if name == "__get__":  # of a torch.Tensor's attribute
            refuse("an attribute of torch's tensors")
        return _call(name, f"torch's function {name}", args, kwargs or {})

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = function.__name__ if method == "__call__" else f"{function.__name__}.{method}"
        return _call(name, f"NumPy's function {name}", inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _call(function.__name__, f"NumPy's function {function.__name__}", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols that others probe for
            raise AttributeError(name)
        if name in FUNCTIONS or (name.endswith("_") and name[:-1] in FUNCTIONS):
            return lambda *args, **options: _call(
                name, f"its method {name}", (self, *args), options
            )
        if name in _NUMBERS:
            refuse(f"its attribute {name!r}", HINTS[name], TypeError)
        return _unknown(f"its attribute {name!r}", HINTS.get(name.rstrip("_"), ""))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in Symbolic.__slots__:
            refuse(f"its attribute {name!r} set")
        object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return operator.index(Rows(self.trace))

    def __hash__(self) -> int:
        return id(self)


class Unknown(Symbolic):
    """Stands for what cannot be compiled, to find out whether `forward` decides by it.

    Functions of it are as unknown; all other uses end the trace with the error that it holds.
    """

    __slots__ = ("error",)

    def __init__(self, error: UncompilableError) -> None:
        object.__setattr__(self, "error", error)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in Symbolic.__slots__:
            raise self.error
        if name == "item":
            self.decide()
        if name in _NUMBERS:
            raise self.error
        return self

    def end_trace(self) -> NoReturn:
        raise self.error

    def decide(self) -> NoReturn:
        """TypeError: `forward` decides by the value."""
        raise TypeError(*self.error.args)

    @property
    def shape(self) -> NoReturn:
        raise self.error

    ndim = dtype = device = shape

    def __call__(self, *args: Any, **options: Any) -> "Unknown":
        return self  # of its methods


def _unknown(what: str, hint: str) -> Unknown:
    try:
        refuse(what, hint)
    except UncompilableError as error:
        return Unknown(error)


def _find_unknown(values: Any) -> Unknown | None:
    """One among arguments, or in lists of these."""
    for value in values:
        if isinstance(value, Unknown):
            return value
        if isinstance(value, list | tuple) and (found := _find_unknown(value)) is not None:
            return found
    return None


def _call(name: str, what: str, args: Any, options: Any) -> Any:
    """Do what the function of that name does; `name_` does it in place."""
    if (unknown := _find_unknown((*args, *options.values()))) is not None:
        return unknown
    try:
        return _called(name, what, args, options)
    except UncompilableError as error:
        return Unknown(error.with_traceback(None))


def _called(name: str, what: str, args: Any, options: Any) -> Any:
    plain = name.strip("_")
    function = FUNCTIONS.get(plain)
    if function is None:
        refuse(what, HINTS.get(plain, ""))
    # torch hands over arguments that F's functions have and that say nothing here.
    given = {
        key: value
        for key, value in options.items()
        if key != "_stacklevel" and not (value is None and key in ("out", "dtype"))
    }
    if name.endswith("_") and not name.startswith("_"):
        if not isinstance(args[0], Symbolic):
            refuse(f"{what} on {_checks.show(args[0])}")
        return args[0].become(function(*args, **given))
    return function(*args, **given)


def _forward(name: str, turned: bool = False) -> Any:
    def method(self: Symbolic, *others: Any) -> Any:
        args = (*others, self) if turned else (self, *others)
        return _call(name, f"the operation {name}", args, {})

    return method


def _decision(name: str) -> Any:
    def method(self: Symbolic, *others: Any) -> NoReturn:
        if isinstance(self, Unknown):
            self.decide()
        refuse(f"the operation {name}", HINTS.get(name, ""), TypeError)

    return method


def _refused(name: str) -> Any:
    def method(self: Symbolic, *others: Any) -> NoReturn:
        if isinstance(self, Unknown):
            raise self.error
        lost = name == "array" and self.number  # with its gradient, unlike the input
        kind = TypeError if lost else UncompilableError
        refuse(f"the operation {name}", HINTS.get(name, ""), kind)

    return method


def _in_place(name: str) -> Any:
    def method(self: Symbolic, other: Any) -> Symbolic:
        return self.become(_call(name, f"the operation {name}", (self, other), {}))

    return method


for _name in ("add", "sub", "mul", "truediv", "matmul", "pow", "floordiv", "mod"):
    setattr(Symbolic, f"__{_name}__", _forward(_name))
    setattr(Symbolic, f"__r{_name}__", _forward(_name, turned=True))
    setattr(Symbolic, f"__i{_name}__", _in_place(_name))
for _name in ("neg", "pos", "abs", "getitem", "setitem", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Symbolic, f"__{_name}__", _forward(_name))
for _name in ("invert", "and", "or", "xor"):
    setattr(Symbolic, f"__{_name}__", _forward(_name))
for _name in ("bool", "float", "int", "index"):
    setattr(Symbolic, f"__{_name}__", _decision(_name))
for _name in ("iter", "contains"):
    setattr(Symbolic, f"__{_name}__", _refused(_name))
for _name in ("array", "dlpack", "dlpack_device"):  # torch asks for the device first
    setattr(Symbolic, f"__{_name}__", _refused("array"))


class Rows:
    """How many rows a batch has: any number, and known only where data are at hand.

    Whoever asks for the number gets a program for batches of so many rows.
    """

    __slots__ = ("_trace",)

    def __init__(self, trace: Any) -> None:
        self._trace = trace

    def __index__(self) -> int:
        rows: int = self._trace.given_rows()
        return rows

    __int__ = __index__

    def __repr__(self) -> str:
        return "batch"

    def __format__(self, spec: str) -> str:
        return format("batch" if not spec else int(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) or int(self) == other

    def __hash__(self) -> int:
        return id(self._trace)

    def __bool__(self) -> bool:
        return int(self) != 0


def _of_number(name: str, turned: bool = False) -> Any:
    function = getattr(operator, name)

    def method(self: Rows, other: Any) -> Any:
        numbers = int(self), int(other) if isinstance(other, Rows) else other
        return function(*(reversed(numbers) if turned else numbers))

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "lt", "le", "gt", "ge"):
    setattr(Rows, f"__{_name}__", _of_number(_name))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod"):
    setattr(Rows, f"__r{_name}__", _of_number(_name, turned=True))


class Shape:
    """The sizes of a value, each found when it is asked for.

    Sizes but for the number of rows are numbers.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Symbolic) -> None:
        self._value = value

    def __len__(self) -> int:
        return self._value.ndim

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        value = self._value
        if isinstance(index, slice):
            return tuple(self)[index]
        return value.trace.size(value, index)

    def numel(self) -> int:
        return int(math.prod(int(size) for size in self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape | tuple | list) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return id(self._value)

    def __add__(self, other: Any) -> tuple[Any, ...]:
        return tuple(self) + tuple(other)

    def __repr__(self) -> str:
        shown: str = self._value.trace.show_shape(self._value)
        return shown
