"""The value that stands for a batch while a model's `forward` is traced.

It takes part in torch's and NumPy's protocols for functions, and has torch's methods: all of them
are looked up by name in `FUNCTIONS`, which `traced_functions` fills. What is not there cannot be
compiled, and is an error that says in which line it stands.
"""

import linecache
import math
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn, Protocol

from fastmlp import _checks, _core
from fastmlp.parameter import Parameter

FUNCTIONS: dict[str, Callable[..., Any]] = {}  # what can be done with a value, by torch's names
HINTS: dict[str, str] = {}  # what to write instead of other things

_LIBRARIES = ("fastmlp", "torch", "numpy")


class Tree(Protocol):
    """A module, as far as its name and those of its sub-modules go."""

    def modules(self) -> Iterator[Any]: ...
    def named_modules(self) -> Iterator[tuple[str, Any]]: ...


class Maker(NamedTuple):
    """The layer that decided on a value's width, and a parameter of its, if it has any."""

    module: Tree
    width: int
    parameter: Parameter | None


def refuse(what: str, hint: str = "") -> NoReturn:
    """TypeError for what cannot be compiled, with the line of `forward` where it stands."""
    raise TypeError(
        "forward: expected its argument to go through modules, activations, sums and scalings, got"
        f" {what}, which cannot be compiled{'; ' if hint else ''}{hint}{user_line()}"
    )


def user_line() -> str:
    """Where the code that is traced has come to."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__", "").split(".")[0] in _LIBRARIES:
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line).strip()
    shown = f": {text[:80]}{'...' * (len(text) > 80)}" if text else ""
    return f" (line {line} of {file}{shown})"


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
        refuse(f"its attribute {name!r}", HINTS.get(name.rstrip("_"), ""))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in Symbolic.__slots__:
            refuse(f"its attribute {name!r} set")
        object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return operator.index(Rows(self.trace))

    def __hash__(self) -> int:
        return id(self)


def _call(name: str, what: str, args: Any, options: Any) -> Any:
    """Do what the function of that name does; `name_` does it in place."""
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


def _refused(name: str) -> Any:
    def method(self: Symbolic, *others: Any) -> NoReturn:
        refuse(f"the operation {name}", HINTS.get(name, ""))

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
for _name in ("bool", "iter", "float", "int", "array", "index", "contains", "invert", "dlpack"):
    setattr(Symbolic, f"__{_name}__", _refused(_name))


# torch asks for the device first.
Symbolic.__dlpack_device__ = _refused("array")  # type: ignore[attr-defined]


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
